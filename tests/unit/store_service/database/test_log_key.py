"""The file of the key that the log is sealed with."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from store_service.database.maintenance.sealing import make_key, read_key
from store_service.domain.errors import StartRefused


def test_a_key_is_read_as_it_was_made_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made, read = make_key(path), read_key(path)
    assert read is not None
    assert read.seal(1, b"hash") == made.seal(1, b"hash")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_no_part_of_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StartRefused, match="No space left"):
        make_key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_exists_is_not_replaced_or_removed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("0" * 64)
    with pytest.raises(StartRefused, match="File exists"):
        make_key(path)
    assert path.read_text() == "0" * 64


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o440, False), (0o644, True)])
def test_a_key_that_everybody_can_read_is_warned_of(tmp_path: Path, mode: int, warned: bool) -> None:
    path = tmp_path / "key"
    make_key(path)
    path.chmod(mode)
    with capture_logs() as logs:
        read_key(path)
    assert bool(logs) is warned
