"""The embedded model as a local provider: started, warmed up, watched and closed by the planner.

It runs in a process of its own (docs/decisions/0012-model-in-its-own-process.md): llama.cpp ends a process on
some errors, takes a gigabyte and all cores, and its OpenMP settings must be in the environment before it is loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2
import structlog

from plangate_core.process.tasks import cancel_and_wait
from planner_service.generation.embedded.correction.profile import ReviewProfile, profile_of
from planner_service.generation.embedded.machine import available_memory_bytes, usable_cores
from planner_service.generation.embedded.prompt_cache import forget_oldest, state_name
from planner_service.generation.embedded.settings import EmbeddedSettings
from planner_service.generation.embedded.weights import QWEN_CODER_1_5B
from planner_service.generation.settings import ModelEndpoint

_log = structlog.get_logger(__name__)

MODEL_NAME = "embedded"
_START_TIMEOUT_SECONDS = 120.0
_CLOSE_TIMEOUT_SECONDS = 5.0
_WARM_UP_TIMEOUT_SECONDS = 300.0
_RESTART_SECONDS = (0.0, 1.0, 5.0, 15.0, 60.0)
_HEALTHY_AFTER_SECONDS = 300.0
# Keys and values of one token's attention state in the 1.5B model at 16 bits, and what computing needs besides.
_BYTES_PER_CONTEXT_TOKEN = 28 * 1024
_COMPUTE_BYTES = 400 << 20
# A thread that waits for the others spins for a moment, then sleeps: docs/decisions/0012-model-in-its-own-process.md.
_OPENMP = {"GOMP_SPINCOUNT": "20000"}


class EngineFailed(Exception):
    """The engine cannot run here. The message says why and what to do."""


class EmbeddedEngine:
    """A running model. Made by `start`; `endpoint` stays the same over restarts of the process."""

    def __init__(self, path: Path, settings: EmbeddedSettings) -> None:
        self._path = path
        self._settings = settings
        self._states = settings.dir / "prompts"
        self._api_key = secrets.token_urlsafe(32)
        self.review_profile: ReviewProfile | None = None
        """How its replies are corrected; None for weights that were not measured."""
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._warm_messages: list[dict[str, str]] = []
        self._loaded = False

    @classmethod
    async def start(cls, path: Path, settings: EmbeddedSettings) -> EmbeddedEngine:
        """Load the model and return when it answers; a few seconds.

        :raises EngineFailed: engine not installed, too little memory, or not a model that llama.cpp can load
        """
        check_memory(path, settings)
        engine = cls(path, settings)
        pulled = QWEN_CODER_1_5B if settings.path is None else None
        engine.review_profile = await asyncio.to_thread(profile_of, path, pulled=pulled)
        try:
            await engine._launch()
        except BaseException:
            await engine.close()
            raise
        engine._supervisor = asyncio.create_task(engine._supervise(), name="embedded model")
        return engine

    @property
    def endpoint(self) -> ModelEndpoint:
        """Where the model answers, in OpenAI's protocol, on loopback, to the bearer of the key."""
        address = f"http://127.0.0.1:{self._port}/v1"
        return ModelEndpoint(address, self._api_key, MODEL_NAME, tells_logprobs=self.review_profile is not None)

    @property
    def process_id(self) -> int:
        """Of the process that holds the model; 0 when there is none at the moment."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    @property
    def ready(self) -> bool:
        """Whether the model is loaded. False while a process that died is being replaced."""
        return self._loaded and self.process_id != 0

    async def warm_up(self, messages: Sequence[Mapping[str, str]]) -> None:
        """Read the part that all prompts share, so that the first plan does not wait for it.

        `messages`: an opening as prompts.build_messages gives it, with any prompt. Call it again when the catalogue
        changes. A failure is logged and costs only time later.
        """
        self._warm_messages = [dict(message) for message in messages]
        try:
            await self._recall_or_read()
        except (OSError, httpx2.HTTPError) as error:
            _log.warning("the embedded model could not be warmed up", problem=str(error))

    async def close(self) -> None:
        """End the process. Calls in flight are cut off."""
        try:
            if self._supervisor is not None:
                await cancel_and_wait(self._supervisor)
        finally:
            await self._end_process()

    async def _end_process(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            if process.stdin:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _CLOSE_TIMEOUT_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._listener is not None:
            await cancel_and_wait(self._listener)

    async def _recall_or_read(self) -> None:
        messages, directory = self._warm_messages, self._states
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = state_name(self._path, messages)
        state = directory / name
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self._port}",
            headers={"authorization": f"Bearer {self._api_key}"},
            timeout=_WARM_UP_TIMEOUT_SECONDS,
            trust_env=False,  # a proxy of the environment has no business between a process and its child
        ) as client:
            if state.exists():
                if (await client.post("/slots/0?action=restore", json={"filename": name})).is_success:
                    state.touch()
                else:
                    state.unlink(missing_ok=True)
            # Also after a recall: what was recalled is compared with the prompt, and what is missing is read.
            read = {"messages": messages, "max_tokens": 1, "temperature": 0}
            (await client.post("/v1/chat/completions", json=read)).raise_for_status()
            if not state.exists():
                # Under another name first: a second planner may look for it at this moment.
                written = {"filename": f"{name}.{os.getpid()}"}
                (await client.post("/slots/0?action=save", json=written)).raise_for_status()
                (directory / written["filename"]).replace(state)
                forget_oldest(directory)

    async def _launch(self) -> None:
        """Start the process and wait until it has loaded the model."""
        self._loaded = False
        settings = self._settings
        configuration = {
            "path": str(self._path),
            "api_key": self._api_key,
            "port": self._port,
            "parallel": settings.parallel,
            "context_tokens": settings.context_tokens,
            "threads": settings.threads or usable_cores(),
            "prompt_cache_mib": settings.prompt_cache_mib,
            "states": str(self._states),
        }
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            # Nothing from the current directory.
            "-P",
            "-m",
            "planner_service.generation.embedded.inference",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**_OPENMP, **os.environ},
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr
        output: deque[str] = deque(maxlen=20)
        listener = self._listener = asyncio.create_task(_listen(process.stderr, output))
        try:
            process.stdin.write(json.dumps(configuration).encode() + b"\n")
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
            line = await asyncio.wait_for(process.stdout.readline(), _START_TIMEOUT_SECONDS)
        except TimeoutError:
            process.kill()
            raise EngineFailed(f"{self._path} was not loaded within {_START_TIMEOUT_SECONDS:.0f} seconds") from None
        if not line:
            await process.wait()
            await listener
            raise EngineFailed(_explain(self._path, output))
        try:
            self._port = int(json.loads(line)["address"].rsplit(":", 1)[1])
        except (ValueError, LookupError, TypeError):
            process.kill()
            raise EngineFailed(f"what runs {self._path} did not say where it listens") from None
        self._loaded = True

    async def _supervise(self) -> None:
        """Starts the process again when it dies, on the same port and with the same key."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            assert self._process
            begun = loop.time()
            status = await self._process.wait()
            failures = 0 if loop.time() - begun > _HEALTHY_AFTER_SECONDS else failures
            delay = _RESTART_SECONDS[min(failures, len(_RESTART_SECONDS) - 1)]
            failures += 1
            _log.error("the embedded model's process ended: starting it again", status=status, pause_seconds=delay)
            await asyncio.sleep(delay)
            try:
                await self._launch()
            except Exception as error:
                _log.error("the embedded model did not start again", problem=f"{type(error).__name__}: {error}")
                continue
            if self._warm_messages:
                await self.warm_up(self._warm_messages)


def check_memory(path: Path, settings: EmbeddedSettings, available_bytes: int | None = None) -> None:
    """:raises EngineFailed: the model would not fit into the memory that is free"""
    available = available_memory_bytes() if available_bytes is None else available_bytes
    context_bytes = settings.context_tokens * settings.parallel * _BYTES_PER_CONTEXT_TOKEN
    needed = path.stat().st_size + context_bytes + _COMPUTE_BYTES + (settings.prompt_cache_mib << 20)
    if available is not None and available < needed:
        raise EngineFailed(
            f"too little memory for the embedded model: it needs {needed / 1e9:.1f} GB, {available / 1e9:.1f} GB are "
            "free. Free some, lower PLANGATE_MODEL_CONTEXT_TOKENS, or name another model in PLANGATE_MODEL"
        )


async def _listen(stream: asyncio.StreamReader, output: deque[str]) -> None:
    """What llama.cpp says is for those who debug; the last of it explains a failure to start."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than the reader's limit
            continue
        if not line:
            return
        text = line.decode(errors="replace").rstrip()
        output.append(text)
        _log.debug("llama.cpp says", text=text)


def _explain(path: Path, output: deque[str]) -> str:
    everything = "\n".join(output)
    if "No module named 'xllamacpp'" in everything:
        return "the embedded engine needs the extra `embedded` (in a clone: pip install '.[embedded]')"
    if "libgomp" in everything:
        return "the embedded engine needs the system library libgomp.so.1 (Debian: apt install libgomp1)"
    last = next((line for line in reversed(output) if line.strip()), "it said nothing")
    return f"llama.cpp could not load {path}: {last[:300]}"
