"""A network that goes silent: connections stay open, nothing passes any more, nobody is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class SilentNetwork:
    """A TCP proxy in front of a server, until `silence` is called."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._passing = asyncio.Event()
        self._passing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._closed_by_server = 0
        self.connections = 0
        self._server: asyncio.Server
        self.address = ""

    @property
    def closed_by_server(self) -> int:
        """How many connections the server has given up. Its clients are not told."""
        return self._closed_by_server

    def silence(self) -> None:
        """From now on nothing passes, in neither direction, not even the end of a connection."""
        self._passing.clear()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"{host}:{port}"

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        self._writers += [writer, server_writer]
        self.connections += 1
        for source, sink, from_server in ((reader, server_writer, False), (server_reader, writer, True)):
            task = asyncio.create_task(self._pass(source, sink, from_server=from_server))
            self._tasks.add(task)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, from_server: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if not self._passing.is_set():
                    # Swallowed, so that the end behind it is seen.
                    continue
                sink.write(data)
                await sink.drain()
        self._closed_by_server += from_server
        if self._passing.is_set():
            sink.close()


@contextlib.asynccontextmanager
async def silent_network(target: str) -> AsyncIterator[SilentNetwork]:
    """A proxy in front of this address until the end of the block."""
    network = SilentNetwork(target)
    await network.start()
    try:
        yield network
    finally:
        await network.close()
