"""A bare grpc.aio server that passes each created proposal to every watcher: what is left of the store when all that it
does is taken away. The ceiling of the watch benchmark.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import uvloop
from plangate.store.v1 import event_pb2, proposal_pb2, store_service_pb2_grpc
from plangate.store.v1 import store_service_pb2 as rpc

from bench.processes import serve


class Fanout(store_service_pb2_grpc.EventServiceServicer, store_service_pb2_grpc.ProposalServiceServicer):
    """Remembers the messages of the run, and nothing of their content."""

    def __init__(self) -> None:
        self._messages: list[rpc.WatchEventsResponse] = []
        self._news = asyncio.Event()

    async def CreateProposal(self, request: rpc.CreateProposalRequest, context: Any) -> proposal_pb2.Proposal:
        event = event_pb2.Event(revision=len(self._messages) + 1, snapshot=request.SerializeToString())
        event.time.FromNanoseconds(time.time_ns())
        self._messages.append(rpc.WatchEventsResponse(event=event))
        news, self._news = self._news, asyncio.Event()
        news.set()
        return request.proposal

    async def WatchEvents(self, request: rpc.WatchEventsRequest, context: Any) -> None:  # type: ignore[override]
        sent = len(self._messages)
        await context.write(rpc.WatchEventsResponse(progress=rpc.WatchProgress(revision=sent)))
        while True:
            while sent < len(self._messages):
                await context.write(self._messages[sent])
                sent += 1
            await self._news.wait()


async def main() -> None:
    server = grpc.aio.server()
    fanout = Fanout()  # type: ignore[abstract]  # only what the benchmark calls
    store_service_pb2_grpc.add_EventServiceServicer_to_server(fanout, server)
    store_service_pb2_grpc.add_ProposalServiceServicer_to_server(fanout, server)
    await serve(server)


if __name__ == "__main__":
    uvloop.run(main())
