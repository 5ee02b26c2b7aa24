"""Both servers, and the review page where it is wanted, as one group of processes: started and stopped together.

The store comes first, because the planner needs its address. If one ends, the others are stopped. If this process is
killed, both end by themselves: see bound_process.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from plangate_core.process.tasks import cancel_and_wait
from plangate_core.rpc.address import AddressInvalid, split_host_port, with_port
from plangate_core.rpc.tls_diagnosis import certificate_names

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_KEPT_LINES = 60
_LAST_PORT = 65_535
_LINE_BYTES = 1 << 20
# On top of the servers' own drain time.
_EXTRA_STOP_SECONDS = 5.0


class ServerEnded(Exception):
    """A server ended by itself. `log` holds its last lines."""

    def __init__(self, name: str, exit_status: int, log: list[str]) -> None:
        ended = f"was ended by signal {-exit_status}" if exit_status < 0 else f"ended with status {exit_status}"
        super().__init__(f"the {name} {ended}")
        self.name = name
        self.exit_status = exit_status
        self.log = log


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers listen, as host:port."""

    store: str
    planner: str
    inbox: str = ""
    """The review page; empty when it is not served."""


def metrics_addresses(listen: str) -> dict[str, str]:
    """Server -> where it serves its metrics: processes cannot share one port, so the planner takes the next, and the
    review page the one after it. Empty where there are none, or the address is none: the server says what is wrong."""
    try:
        _, port = split_host_port(listen)
    except AddressInvalid:
        return {}
    return {
        name: with_port(listen, port + place if 0 < port <= _LAST_PORT - place else 0)
        for place, name in enumerate(("store", "planner", "inbox"))
    }


def dial_target(listening: str, names: Sequence[str] = ()) -> str:
    """The address to dial for a server that announced that it listens at `listening`.

    :param names: what its certificate is good for; empty: it does not use TLS.
    """
    try:
        host, port = split_host_port(listening)
    except AddressInvalid:
        # A Unix socket.
        return listening
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    wanted = [*_LOOPBACK, *names] if everywhere or host in _LOOPBACK else [host, *names]
    if not names:
        return f"127.0.0.1:{port}" if everywhere else listening
    # One that it is good for by name; a wildcard stands for none in particular.
    chosen = next((name for name in wanted if name in names and not name.startswith("*")), host)
    return f"[{chosen}]:{port}" if ":" in chosen else f"{chosen}:{port}"


def _names_in(file: str | None) -> list[str]:
    """As certificate_names, of a file that may not be there: the server itself says what is wrong with it."""
    if not file:
        return []
    try:
        return certificate_names(Path(file).read_bytes())
    except (OSError, ValueError):
        return []


class _Server:
    def __init__(self, name: str, process: asyncio.subprocess.Process, on_line: Callable[[str, str], None]) -> None:
        self.name = name
        self.process = process
        self.log: deque[str] = deque(maxlen=_KEPT_LINES)
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._on_line = on_line
        assert process.stdout is not None
        assert process.stderr is not None
        self.reading = [
            asyncio.create_task(self._read(process.stdout)),
            asyncio.create_task(self._read(process.stderr)),
        ]
        self.ended = asyncio.create_task(process.wait())

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await _line(stream):
            text = line.decode("utf-8", "replace").rstrip()
            announcement = f"plangate-{self.name} listening on "
            if text.startswith(announcement) and not self.address.done():
                self.address.set_result(text.removeprefix(announcement))
                continue
            self.log.append(text)
            self._on_line(self.name, text)

    async def listening(self) -> str:
        """The address, once it listens. Raises ServerEnded."""
        waiting: set[asyncio.Future[Any]] = {self.ended, self.address}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not self.address.done():
            # The address may be the last thing in a pipe, not read yet.
            await asyncio.gather(*self.reading)
        if self.address.done():
            return self.address.result()
        raise self.failure()

    def failure(self) -> ServerEnded:
        return ServerEnded(self.name, self.process.returncode or 0, list(self.log))


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line, empty at the end. One that is too long is left out."""
    while True:
        with contextlib.suppress(ValueError):
            return await stream.readline()


class ServerPair:
    """Runs `store_service`, `planner_service` and `plangate_inbox`. An async context manager that stops them."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        inbox: bool = False,
        drain_seconds: float = 20.0,
        on_line: Callable[[str, str], None] = lambda _, __: None,
        on_start: Callable[[str], None] = lambda _: None,
    ) -> None:
        """:param environment: all that the servers see; the addresses of those started before are added.
        :param inbox: serve the review page too.
        :param on_line: gets every line that a server logs: (its name, the line).
        :param on_start: gets the name of each server that is about to start.
        """
        self._environment = dict(environment)
        self._inbox = inbox
        self._stop_seconds = drain_seconds + _EXTRA_STOP_SECONDS
        self._on_line = on_line
        self._on_start = on_start
        self._servers: list[_Server] = []

    async def start(self) -> Addresses:
        """Start all and wait until all listen. Raises ServerEnded."""
        # Each is dialled by a name that the certificate is good for: 0.0.0.0 never is one.
        names = _names_in(self._environment.get("PLANGATE_TLS_CERT_FILE"))
        store = await self._listening("store", "store_service", {})
        targets = {"PLANGATE_STORE_TARGET": dial_target(store, names)}
        planner = await self._listening("planner", "planner_service", targets)
        if not self._inbox:
            return Addresses(store, planner)
        targets["PLANGATE_PLANNER_TARGET"] = dial_target(planner, names)
        inbox = await self._listening("inbox", "plangate_inbox", targets)
        return Addresses(store, planner, inbox)

    async def first_end(self) -> ServerEnded:
        """Wait until one of them ends by itself."""
        await asyncio.wait({server.ended for server in self._servers}, return_when=asyncio.FIRST_COMPLETED)
        ended = next(server for server in self._servers if server.ended.done())
        await asyncio.wait(ended.reading, timeout=1.0)
        return ended.failure()

    async def stop(self) -> None:
        """Ask all to drain and end, the last one first: it needs the others. What does not end in time is killed."""
        try:
            for server in reversed(self._servers):
                await self._stop(server)
        finally:
            self.kill()
            for server in self._servers:
                await server.ended
                await asyncio.wait(server.reading, timeout=1.0)
                for task in server.reading:
                    task.cancel()
                await asyncio.wait(server.reading)

    def kill(self) -> None:
        """End all now."""
        for server in self._servers:
            if server.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._servers[0].process.pid, signal.SIGKILL)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _listening(self, name: str, module: str, additions: Mapping[str, str]) -> str:
        """Start one more and wait until it listens; its address. Raises ServerEnded, also when another one ends."""
        self._on_start(name)
        before = [*self._servers]
        server = await self._start(name, module, additions)
        listening = asyncio.create_task(server.listening())
        waiting: set[asyncio.Future[Any]] = {listening, *(other.ended for other in before)}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for other in before:
                if other.ended.done():
                    raise other.failure()
            return await listening
        finally:
            await cancel_and_wait(listening)

    async def _start(self, name: str, module: str, additions: Mapping[str, str]) -> _Server:
        metrics = metrics_addresses(self._environment.get("PLANGATE_METRICS_LISTEN", ""))
        if name in metrics:
            additions = {**additions, "PLANGATE_METRICS_LISTEN": metrics[name]}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            # Not from the current directory: a file http.py that lies there would be run in place of Python's own.
            "-P",
            "-m",
            "plangate_client.servers.bound_process",
            str(self._stop_seconds),
            module,
            env={**self._environment, **additions},
            # Never written to; its end tells the server that this process is gone.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A group of their own: Ctrl-C reaches this process only, which then stops them in order.
            process_group=self._servers[0].process.pid if self._servers else 0,
            limit=_LINE_BYTES,
        )
        server = _Server(name, process, self._on_line)
        self._servers.append(server)
        return server

    async def _stop(self, server: _Server) -> None:
        if server.ended.done():
            return
        with contextlib.suppress(ProcessLookupError):
            server.process.send_signal(signal.SIGTERM)
        await asyncio.wait({server.ended}, timeout=self._stop_seconds)
