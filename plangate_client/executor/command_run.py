"""Runs one command: its own process group, a clean environment, a time limit, output cut to a limit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field

from plangate_client.executor.binding_forms import CommandForm
from plangate_client.executor.command_binding import CommandLine
from plangate_client.executor.outcome import Outcome
from rpckit.struct_codec import JsonObject

# Between asking a process group to end and ending it.
GRACE_SECONDS = 3.0
# A background process of the command may hold its output open; what comes later is not waited for.
_LAST_OUTPUT_SECONDS = 1.0
_CHUNK_BYTES = 64 * 1024


@dataclass(slots=True)
class _Tail:
    """The last bytes of an output."""

    limit_bytes: int
    kept: bytearray = field(default_factory=bytearray)
    total_bytes: int = 0

    def add(self, chunk: bytes) -> None:
        self.total_bytes += len(chunk)
        self.kept += chunk
        del self.kept[: -self.limit_bytes]

    @property
    def text(self) -> str:
        return self.kept.decode("utf-8", "replace").replace("\0", "\ufffd")

    @property
    def is_cut(self) -> bool:
        return self.total_bytes > len(self.kept)


async def run_command(line: CommandLine, form: CommandForm) -> Outcome:
    """Run it to its end. A cancelled call ends the whole process group before it returns.

    The result holds exit_status (negative: the signal that ended it), stdout and stderr (their last bytes),
    output_cut, and duration_seconds.
    """
    started = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            *line.argv,
            env=dict(line.environment),
            cwd=line.working_directory,
            stdin=asyncio.subprocess.DEVNULL if line.stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        return Outcome(reason="NOT_STARTED", message=f"{line.argv[0]} could not be started: {what}")
    stdout, stderr = _Tail(form.output_limit_bytes), _Tail(form.output_limit_bytes)
    assert process.stdout is not None
    assert process.stderr is not None
    copying = [
        asyncio.create_task(_collect(process.stdout, stdout)),
        asyncio.create_task(_collect(process.stderr, stderr)),
        asyncio.create_task(_feed(process, line.stdin)),
    ]
    timed_out = False
    try:
        async with asyncio.timeout(form.timeout_seconds):
            await process.wait()
    except TimeoutError:
        timed_out = True
    finally:
        await _end_group(process)
        await asyncio.wait(copying, timeout=_LAST_OUTPUT_SECONDS)
        for task in copying:
            task.cancel()
        await asyncio.gather(*copying, return_exceptions=True)
        _close(process)
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


async def _collect(stream: asyncio.StreamReader, tail: _Tail) -> None:
    while chunk := await stream.read(_CHUNK_BYTES):
        tail.add(chunk)


async def _feed(process: asyncio.subprocess.Process, data: bytes | None) -> None:
    if process.stdin is None or data is None:
        return
    # A command need not read what it is given.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


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


def _close(process: asyncio.subprocess.Process) -> None:
    # asyncio keeps the transport of a pipe that a stranger still holds open; it has no public way to let go of it.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    if not lines:
        return ""
    line = lines[-1].strip()
    return f": {line if len(line) <= 300 else line[:299] + '…'}"
