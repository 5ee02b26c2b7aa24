"""Names and number of the files that keep read prompts; what the machine has to offer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from planner_service.generation.embedded.engine import EngineFailed, check_memory
from planner_service.generation.embedded.machine import available_memory_bytes, usable_cores
from planner_service.generation.embedded.prompt_cache import forget_oldest, state_name
from planner_service.generation.embedded.settings import EmbeddedSettings

MESSAGES = [{"role": "system", "content": "a"}]


def test_a_state_belongs_to_weights_and_messages(tmp_path: Path) -> None:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF")
    name = state_name(weights, MESSAGES)
    assert name == state_name(weights, [dict(message) for message in MESSAGES])
    assert name != state_name(weights, [{"role": "system", "content": "b"}])
    weights.write_bytes(b"GGUF and more")
    assert name != state_name(weights, MESSAGES)


def test_the_files_used_last_are_kept(tmp_path: Path) -> None:
    for age in range(12):
        path = tmp_path / f"{age:02d}.state"
        path.touch()
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "other").touch()
    forget_oldest(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(f"{age:02d}.state" for age in range(8)), "other"]


def test_a_container_limits_cores_and_memory(tmp_path: Path) -> None:
    cores = usable_cores(tmp_path)
    assert cores >= 1
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path) == cores
    meminfo = tmp_path / "meminfo"
    assert available_memory_bytes(tmp_path, meminfo) is None
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:    4000 kB\n")
    assert available_memory_bytes(tmp_path, meminfo) == 4000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\nfile 500000\nfile_mapped 7\n")
    assert available_memory_bytes(tmp_path, meminfo) == 2_500_000


def test_too_little_memory_is_said_before_loading(tmp_path: Path) -> None:
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF")
    settings = EmbeddedSettings(path=weights)
    with pytest.raises(EngineFailed, match=r"it needs 0\.9 GB, 0\.1 GB are free"):
        check_memory(weights, settings, available_bytes=100_000_000)
    check_memory(weights, settings, available_bytes=8_000_000_000)
