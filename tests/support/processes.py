"""The two servers as real processes: started as a person would, on free ports, killed and started again at will."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

_LISTENING = re.compile(r"listening on (\S+)")
START_SECONDS = 30.0
STOP_SECONDS = 20.0


class ServerProcess:
    """`python -m MODULE` with an environment of its own. `address` is known after start()."""

    def __init__(
        self, module: str, environment: Mapping[str, str], log_file: Path, launcher: Sequence[str] = ()
    ) -> None:
        self.module = module
        self.launcher = tuple(launcher)
        self.environment = dict(environment)
        self.log_file = log_file
        self.address = ""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        """Returns when the server says that it listens. AssertionError with its log when it does not."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PLANGATE_")}
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.launcher,
                sys.executable,
                "-m",
                self.module,
                env={**clean, **self.environment},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                while line := await self._process.stdout.readline():
                    if match := _LISTENING.search(line.decode()):
                        self.address = match[1]
                        return
                await self._process.wait()
        except TimeoutError:
            await self.kill()
        raise AssertionError(f"{self.module} did not start:\n{self.log()[-4000:]}")

    async def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM, then wait for the orderly end; returns the exit status."""
        return await self._end(signal.SIGTERM)

    async def ended(self) -> int:
        """Waits until it ends by itself; returns the exit status."""
        assert self._process is not None
        await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode

    async def restart(self) -> None:
        """Start again on the address it had, as a supervisor would."""
        setting = (
            "PLANGATE_PLANNER_LISTEN" if "PLANGATE_PLANNER_LISTEN" in self.environment else "PLANGATE_STORE_LISTEN"
        )
        self.environment[setting] = self.address
        await self.start()

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode


@contextlib.asynccontextmanager
async def store_process(
    directory: Path,
    environment: Mapping[str, str] | None = None,
    *,
    start: bool = True,
    module: str = "store_service",
    launcher: Sequence[str] = (),
) -> AsyncIterator[ServerProcess]:
    """A store on `directory`/plangate.db unless the environment names another database."""
    settings = {
        "PLANGATE_STORE_LISTEN": "127.0.0.1:0",
        "PLANGATE_DATABASE_URL": f"sqlite+aiosqlite:///{directory}/plangate.db",
        **(environment or {}),
    }
    async with _running(ServerProcess(module, settings, directory / "store.log", launcher), start) as process:
        yield process


@contextlib.asynccontextmanager
async def planner_process(
    directory: Path, store_address: str, catalogue_file: Path, environment: Mapping[str, str], *, start: bool = True
) -> AsyncIterator[ServerProcess]:
    """A planner in front of a store. The environment says which model."""
    settings = {
        "PLANGATE_PLANNER_LISTEN": "127.0.0.1:0",
        "PLANGATE_STORE_TARGET": store_address,
        "PLANGATE_CATALOGUE_FILE": str(catalogue_file),
        **environment,
    }
    async with _running(ServerProcess("planner_service", settings, directory / "planner.log"), start) as process:
        yield process


@contextlib.asynccontextmanager
async def _running(process: ServerProcess, start: bool) -> AsyncIterator[ServerProcess]:
    try:
        if start:
            await process.start()
        yield process
    finally:
        if process._process is not None and process.returncode is None:
            await process.stop()
