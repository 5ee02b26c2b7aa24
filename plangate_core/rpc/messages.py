"""Requests from bytes and answers to bytes, so that what cannot be read ends a call with a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from plangate_core.rpc.status import RpcFailure

Behaviour: TypeAlias = Callable[[Any, Any], Any]
"""What serves a call: the request, or its stream of requests, and the context."""


class Unreadable:
    """Stands for a request whose bytes were not taken, until there is a context to abort with."""

    def __init__(self, why: str) -> None:
        self._why = why

    def failure(self) -> RpcFailure:
        return RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", self._why)


def decoding(deserialize: Callable[[bytes], Any] | None, limit: int) -> Callable[[bytes], Any]:
    """A deserializer that gives an Unreadable for what has more than `limit` bytes or is no such message."""

    def decode(data: bytes) -> Any:
        if len(data) > limit:
            return Unreadable(f"the request has {len(data)} bytes, more than the {limit} that are taken")
        try:
            return deserialize(data) if deserialize else data
        except DecodeError:
            return Unreadable("the request is not a message of this method, or is nested too deep")

    return decode


def encoding(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    """A serializer that also takes bytes: messages that are encoded already."""

    def encode(message: Any) -> bytes:
        return message if type(message) is bytes or serialize is None else serialize(message)

    return encode


def reading(behaviour: Behaviour) -> Behaviour:
    """For streams of requests: ends the call when one of them cannot be read."""

    async def readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            if isinstance(request, Unreadable):
                raise request.failure()
            yield request

    def run(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        return behaviour(readable(requests), context)

    return run


def writing(generate: Callable[[Any, Any], Any]) -> Behaviour:
    """Make a coroutine of an async generator, so that it is closed in the call's own task whatever happens."""

    async def run(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        async with aclosing(generate(request, context)) as messages:
            async for message in messages:
                await context.write(message)

    return run
