"""The embedded model's weights, fetched in the background."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from plangate_core.process.settings import read_settings
from planner_service.generation.embedded.settings import EmbeddedSettings
from planner_service.generation.embedded.weights import QWEN_CODER_1_5B, ModelMissing, find_weights

_PRIORITY = 15
_PROGRAM = (sys.executable, "-m", "planner_service", "model", "pull")


class ModelFailed(Exception):
    """The weights did not come; the message says why."""


class ArrivingModel:
    """Fetches the weights unless they are here. An async context manager that ends what it began."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._settings = read_settings(EmbeddedSettings)
        self._pull: asyncio.subprocess.Process | None = None
        self._said: asyncio.Task[bytes] | None = None

    @property
    def is_here(self) -> bool:
        """Whether the weights are complete."""
        try:
            find_weights(self._settings)
        except ModelMissing:
            return False
        return True

    @property
    def progress(self) -> str:
        """How much has come: "34 % of 1.12 GB"."""
        size = QWEN_CODER_1_5B.size_bytes
        partial = self._settings.dir / f"{QWEN_CODER_1_5B.file_name}.partial"
        with suppress(OSError):
            return f"{partial.stat().st_size * 100 // size} % of {size / 1e9:.2f} GB"
        return f"0 % of {size / 1e9:.2f} GB"

    async def begin(self) -> None:
        """Fetch in the background. `model pull` goes on where an earlier one stopped."""
        self._pull = await asyncio.create_subprocess_exec(
            *_PROGRAM,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        # The servers, which somebody looks at, come first.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._pull.pid, _PRIORITY)
        assert self._pull.stderr is not None
        self._said = asyncio.create_task(self._pull.stderr.read())

    async def wait(self, seconds: float) -> bool:
        """Whether it has come, after at most so many seconds. Raises ModelFailed."""
        if self._pull is None or self._said is None:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._pull.wait()
        if self._pull.returncode is None:
            return False
        if self._pull.returncode != 0:
            lines = (await self._said).decode("utf-8", "replace").strip().splitlines()
            raise ModelFailed(lines[-1] if lines else f"model pull ended with status {self._pull.returncode}")
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pull is not None and self._pull.returncode is None:
            # As Ctrl-C at the terminal would: it keeps what it has and goes on with it next time.
            self._pull.send_signal(signal.SIGINT)
            await self._pull.wait()
        if self._said is not None:
            await self._said
