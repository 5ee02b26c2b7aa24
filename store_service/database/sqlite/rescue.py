"""A copy of a database whose file was moved, removed or replaced while it was served."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection


class RescueFailed(Exception):
    """No copy could be made; the message says why."""


async def rescue(connection: AsyncConnection, path: str) -> Path:
    """Copy a database from a connection that still has its file open, log of writes included.

    Returns the copy, whole and on the disk: a new file beside the path, or in the directory for temporary files when
    that one is gone. Raises RescueFailed.
    """
    problem = ""
    for directory in (Path(path).parent, Path(tempfile.gettempdir())):
        try:
            return await _copy(connection, Path(path).name, directory)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            problem = str(error)
    raise RescueFailed(problem)


async def _copy(connection: AsyncConnection, name: str, directory: Path) -> Path:
    descriptor, copied = tempfile.mkstemp(".rescued", f"{name}.", directory)
    try:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        # The copy is made in the thread of the other connection.
        with closing(sqlite3.connect(copied, check_same_thread=False)) as copy:
            copy.execute("PRAGMA journal_mode = OFF")
            await driver.backup(copy, pages=-1)
        os.fsync(descriptor)
    except BaseException:
        os.unlink(copied)
        raise
    finally:
        os.close(descriptor)
    return Path(copied)
