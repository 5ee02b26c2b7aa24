"""How one call is made: deadline, repetition where that is safe, typed errors.

This is the client's only retry layer. A call is repeated, until its time is over, when the failure says that nothing
was done (UNAVAILABLE from the connection, a draining server, a database that is away) or that repeating finds out
(COMMIT_UNKNOWN). Every call is safe to repeat: a read, or a write that carries a request_id. Everything else is the
caller's to decide.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypedDict, TypeVar

import grpc
import uuid6
from google.protobuf.duration_pb2 import Duration

from plangate_client.errors import (
    CommitUnknown,
    DatabaseUnavailable,
    DeadlineExceeded,
    Draining,
    PlangateError,
    Unavailable,
    error_from_rpc,
)

PAGE_SIZE = 500
"""Of lists of all, unless the caller says otherwise."""

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
ItemT = TypeVar("ItemT")


class PageRequest(Protocol):
    """A request for one page of a list."""

    page_size: int
    page_token: str


class Page(Protocol):
    """One page of a list."""

    next_page_token: str


PageRequestT = TypeVar("PageRequestT", bound=PageRequest)
PageT = TypeVar("PageT", bound=Page)


class WriteOptions(TypedDict, total=False):
    """What writes take besides their own arguments."""

    request_id: str | None
    """The same id again gives the first answer. Absent: a new one."""
    validate_only: bool
    """Check, and answer what would come of it; change nothing."""


class ListOptions(TypedDict, total=False):
    """What lists take."""

    filter: str
    order_by: str
    page_size: int
    show_deleted: bool


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """How long calls may take and how often they are repeated."""

    timeout_seconds: float = 10.0
    # The planner thinks: a model on a busy CPU may need minutes.
    planning_timeout_seconds: float = 300.0
    # First call included. 1 turns repetition off; None: as often as the time allows, which a restart of a server is
    # shorter than.
    attempts: int | None = None
    first_delay_seconds: float = 0.05
    longest_delay_seconds: float = 1.0

    def delay_seconds(self, failed_attempts: int) -> float:
        """Exponential with full jitter, so that many clients of a restarted server do not come back as one."""
        ceiling = min(self.longest_delay_seconds, self.first_delay_seconds * 2**failed_attempts)
        return random.uniform(ceiling / 4, ceiling)  # noqa: S311 - spreads load, guards nothing


@dataclass(frozen=True, slots=True)
class Calls:
    """Makes calls with one call_policy and one set of metadata."""

    call_policy: CallPolicy = field(default_factory=CallPolicy)
    metadata: tuple[tuple[str, str], ...] = ()
    service: str = ""
    """What errors say was called: "store" or "planner"."""

    def with_metadata(self, *pairs: tuple[str, str]) -> Calls:
        """The same, with metadata added to every call."""
        return replace(self, metadata=self.metadata + pairs)

    async def unary(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        timeout_seconds: float | None = None,
        first_metadata: tuple[tuple[str, str], ...] = (),
    ) -> ResponseT:
        """Call and wait for the answer.

        :param timeout_seconds: for all attempts together; None means the call_policy's.
        :param first_metadata: sent with the first attempt only.
        :raises PlangateError: the failure as its type.
        """
        deadline = time.monotonic() + (self.call_policy.timeout_seconds if timeout_seconds is None else timeout_seconds)
        failed_attempts = 0
        away: PlangateError | None = None
        metadata = self.metadata + first_metadata
        while True:
            try:
                remaining_seconds = max(0.001, deadline - time.monotonic())
                return await rpc(request, timeout=remaining_seconds, metadata=metadata or None)
            except grpc.aio.AioRpcError as rpc_error:
                error = error_from_rpc(rpc_error, self.service)
                failed_attempts += 1
                if away and isinstance(error, DeadlineExceeded) and not error.reason:
                    # Time ran out in the middle of yet another try: what was wrong says more.
                    raise away from rpc_error
                if not may_be_repeated(error) or failed_attempts == self.call_policy.attempts:
                    raise error from rpc_error
                away = error
                delay_seconds = max(self.call_policy.delay_seconds(failed_attempts), error.retry_after_seconds or 0.0)
                if time.monotonic() + delay_seconds >= deadline:
                    raise error from rpc_error
            await asyncio.sleep(delay_seconds)
            metadata = self.metadata

    async def pages(
        self,
        rpc: grpc.aio.UnaryUnaryMultiCallable[PageRequestT, PageT],
        request: PageRequestT,
        items: Callable[[PageT], Iterable[ItemT]],
    ) -> AsyncIterator[ItemT]:
        """Yield the items of all pages, from the one that `request` asks for. Without a size a page has PAGE_SIZE."""
        request.page_size = request.page_size or PAGE_SIZE
        while True:
            page = await self.unary(rpc, request)
            for item in items(page):
                yield item
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def stream(
        self,
        rpc: grpc.aio.UnaryStreamMultiCallable[RequestT, ResponseT],
        request: RequestT,
        *,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[ResponseT, None]:
        """Call and yield the answers as they come. Never repeated: the reader knows where to resume.

        :param timeout_seconds: for the whole stream; None means without end.
        :raises PlangateError: the failure as its type.
        """
        call = rpc(request, timeout=timeout_seconds, metadata=self.metadata or None)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as rpc_error:
            raise error_from_rpc(rpc_error, self.service) from rpc_error
        finally:
            call.cancel()


def may_be_repeated(error: PlangateError) -> bool:
    """True when repeating an idempotent call can help.

    The planner's own UNAVAILABLE (model's provider or store away) is left out: it has its own retry layer, and one on
    top of the other would multiply.
    """
    return isinstance(error, Draining | DatabaseUnavailable | CommitUnknown) or type(error) is Unavailable


def duration(seconds: float | None) -> Duration | None:
    """A Duration, or None (the server's default) for None."""
    if seconds is None:
        return None
    result = Duration()
    result.FromNanoseconds(round(seconds * 1e9))
    return result


def new_request_id() -> str:
    """A UUID for a write's `request_id`: version 7, whose order is that of time, as the store's index likes it."""
    return str(uuid6.uuid7())


def identified(options: WriteOptions) -> dict[str, Any]:
    """The options as fields of a request that has a request_id in any case."""
    return {**options, "request_id": options.get("request_id") or new_request_id()}
