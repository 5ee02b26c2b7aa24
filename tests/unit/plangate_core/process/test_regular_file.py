"""Reading files whose place something else has taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plangate_core.process.regular_file import read_regular_file


def test_reads_no_more_than_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_regular_file(file) == b"12345"
    assert read_regular_file(file, 3) == b"123"


def test_a_pipe_a_device_and_a_directory_keep_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "missing"):
        with pytest.raises(OSError, match=r"\S"):
            read_regular_file(path)
