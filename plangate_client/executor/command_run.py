"""Runs one command: its own process group, a clean environment, a time limit, output cut to a limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from typing import IO

from plangate_client.executor.command_binding import CommandLine
from plangate_client.executor.outcome import Outcome
from plangate_core.catalogue.binding_forms import CommandForm
from plangate_core.contract.struct_codec import JsonObject
from plangate_core.text.truncation import truncate

# Between asking a process group to end and ending it.
GRACE_SECONDS = 3.0
# A background process of the command may hold its output open; what comes later is not waited for.
_LAST_OUTPUT_SECONDS = 1.0
_CHUNK_BYTES = 64 * 1024


class _Tail:
    """Reads an output and keeps its last bytes.

    A pipe of our own: asyncio's process.wait() does not return before every pipe that asyncio made is closed, and a
    background process that the command left behind may hold one open for ever.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.write_end = -1
        self._limit_bytes = limit_bytes
        self._kept = bytearray()
        self._total_bytes = 0
        self._transport: asyncio.ReadTransport | None = None
        self._copying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        read_end, self.write_end = os.pipe()
        stream = asyncio.StreamReader(limit=_CHUNK_BYTES)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(read_end, "rb", buffering=0)
        )
        self._copying = asyncio.create_task(self._copy(stream))

    def close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    async def close(self) -> None:
        """Take what is still in the pipe and let go of it."""
        self.close_write_end()
        if self._copying is not None:
            await asyncio.wait({self._copying}, timeout=_LAST_OUTPUT_SECONDS)
            self._copying.cancel()
            await asyncio.wait({self._copying})
        if self._transport is not None:
            self._transport.close()

    async def _copy(self, stream: asyncio.StreamReader) -> None:
        while chunk := await stream.read(_CHUNK_BYTES):
            self._total_bytes += len(chunk)
            self._kept += chunk
            del self._kept[: -self._limit_bytes]

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", "replace").replace("\0", "\ufffd")

    @property
    def is_cut(self) -> bool:
        return self._total_bytes > len(self._kept)


async def run_command(line: CommandLine, form: CommandForm) -> Outcome:
    """Run it to its end. A cancelled call ends the whole process group before it returns.

    The result holds exit_status (negative: the signal that ended it), stdout and stderr (their last bytes),
    output_cut, and duration_seconds.
    """
    started = time.monotonic()
    stdout, stderr = _Tail(form.output_limit_bytes), _Tail(form.output_limit_bytes)
    timed_out = False
    try:
        await stdout.open()
        await stderr.open()
        try:
            process = await _start(line, stdout.write_end, stderr.write_end)
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error)
            if isinstance(error, OSError) and error.filename == line.working_directory:
                what = f"{what}: its working directory {error.filename}"
            return Outcome(reason="NOT_STARTED", message=f"{line.argv[0]} could not be started: {what}")
        stdout.close_write_end()
        stderr.close_write_end()
        try:
            async with asyncio.timeout(form.timeout_seconds):
                await process.wait()
        except TimeoutError:
            timed_out = True
        finally:
            await _end_group(process)
    finally:
        await stdout.close()
        await stderr.close()
    result: JsonObject = {
        "exit_status": process.returncode,
        "stdout": stdout.text,
        "stderr": stderr.text,
        "output_cut": stdout.is_cut or stderr.is_cut,
        "duration_seconds": round(time.monotonic() - started, 3),
    }
    if timed_out:
        message = f"{line.argv[0]} did not end within {form.timeout_seconds:g} s and was stopped"
        return Outcome(result, reason="TIMED_OUT", message=message)
    status = process.returncode or 0
    if status == 0:
        return Outcome(result)
    ended = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return Outcome(
        result,
        reason="EXIT_STATUS",
        message=f"{line.argv[0]} {ended}{_last_line(stderr.text)}",
        retryable=status in form.retry_on_exit,
    )


async def _start(line: CommandLine, stdout: int, stderr: int) -> asyncio.subprocess.Process:
    with contextlib.ExitStack() as stack:
        stdin: int | IO[bytes] = asyncio.subprocess.DEVNULL
        if line.stdin is not None:
            # A file, not a pipe: a command need not read what it is given.
            stdin = stack.enter_context(tempfile.TemporaryFile())
            stdin.write(line.stdin)
            stdin.seek(0)
        return await asyncio.create_subprocess_exec(
            *line.argv,
            env=dict(line.environment),
            cwd=line.working_directory,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End what is left of the group: all of it after a time limit or a cancel, stragglers after a normal end."""
    try:
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            async with asyncio.timeout(GRACE_SECONDS):
                await process.wait()
    except TimeoutError:
        pass
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        # Reaped even when this task is cancelled a second time.
        await asyncio.shield(process.wait())


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    if not lines:
        return ""
    return f": {truncate(lines[-1].strip(), 300)}"
