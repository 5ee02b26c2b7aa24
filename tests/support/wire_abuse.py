"""Abuse of a server over raw HTTP/2 and gRPC: each kind goes on until it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from plangate.planner.v1 import planner_service_pb2
from plangate.store.v1 import identity_service_pb2, store_service_pb2

from tests.support.message_mutation import mutated, random_message
from tests.support.raw_http2 import raw_connection

_CALL = "/grpc.health.v1.Health/Check"
# A literal header field of 8,000 bytes, not indexed.
_FIELD = b"\x00\x04x-zz\x7f\xc1\x3d" + b"v" * 8_000
_FAULTS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DATA_LOSS)
# Described in this process, for random messages.
CONTRACT = (planner_service_pb2, identity_service_pb2, store_service_pb2)
Abuse = Callable[[str, random.Random], Awaitable[None]]


async def rapid_reset(address: str, _: random.Random) -> None:
    async with raw_connection(address) as connection:
        while True:
            for _ in range(100):
                stream, headers = connection.open_call(_CALL)
                connection.send(headers, RstStreamFrame(stream, error_code=8))
            await connection.drain()
            await asyncio.sleep(0)


async def continuation_flood(address: str, _: random.Random) -> None:
    async with raw_connection(address) as connection:
        connection.answering = False
        stream = connection.stream()
        connection.send(HeadersFrame(stream, data=connection.call_headers(_CALL)))
        while True:
            connection.send(*[ContinuationFrame(stream, data=_FIELD) for _ in range(20)])
            await connection.drain()
            await asyncio.sleep(0)


async def settings_flood(address: str, _: random.Random) -> None:
    async with raw_connection(address) as connection:
        while True:
            connection.send(*[SettingsFrame(0, settings={3: 100}) for _ in range(100)])
            await connection.drain()
            await asyncio.sleep(0)


async def ping_flood(address: str, _: random.Random) -> None:
    async with raw_connection(address) as connection:
        while True:
            connection.send(*[PingFrame(0, opaque_data=b"12345678") for _ in range(100)])
            await connection.drain()
            await asyncio.sleep(0)


async def window_stall(address: str, _: random.Random) -> None:
    """Many calls whose answers are never read: the window is closed."""
    async with raw_connection(address, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}) as connection:
        for _ in range(200):
            stream, headers = connection.open_call(_CALL)
            connection.send(headers, connection.message(stream, b""))
        await connection.drain()
        await asyncio.sleep(5)


async def slow_writer(address: str, _: random.Random) -> None:
    """A request of which one byte comes at a time."""
    async with raw_connection(address) as connection:
        stream, headers = connection.open_call(_CALL)
        connection.send(headers)
        for byte in b"\x00\x00\x00\x10\x00" + b"\x00" * 200:
            connection.send(DataFrame(stream, data=bytes([byte])))
            await connection.drain()
            await asyncio.sleep(0.02)


async def large_metadata(address: str, _: random.Random) -> None:
    async with raw_connection(address) as connection:
        connection.answering = False
        for _ in range(20):
            _stream, frames = connection.large_call(_CALL, [("x-large", "a" * 480_000)])
            connection.send(*frames)
            await connection.drain()
        await asyncio.sleep(1)


async def garbage(address: str, chance: random.Random) -> None:
    """Frames of random kinds, flags and content after a good beginning, or nothing but noise."""
    async with raw_connection(address) as connection:
        connection.answering = False
        for _ in range(50):
            payload = chance.randbytes(chance.randrange(200))
            header = len(payload).to_bytes(3, "big") + bytes([chance.randrange(12), chance.randrange(256)])
            connection.send_bytes(header + chance.randrange(9).to_bytes(4, "big") + payload)
            await connection.drain()
        await asyncio.sleep(0.05)


async def window_overflow(address: str, _: random.Random) -> None:
    async with raw_connection(address) as connection:
        connection.send(
            WindowUpdateFrame(0, window_increment=2**31 - 1), WindowUpdateFrame(0, window_increment=2**31 - 1)
        )
        await connection.drain()
        await asyncio.sleep(0.05)


async def connection_churn(address: str, _: random.Random) -> None:
    """A hundred connections that say nothing, opened and dropped."""
    host, _, port = address.rpartition(":")
    sockets = [socket.socket() for _ in range(100)]
    try:
        for opened in sockets:
            opened.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                opened.connect((host, int(port)))
        await asyncio.sleep(0.1)
    finally:
        for opened in sockets:
            opened.close()


RAW: dict[str, Abuse] = {
    abuse.__name__: abuse
    for abuse in (
        rapid_reset,
        continuation_flood,
        settings_flood,
        ping_flood,
        window_stall,
        slow_writer,
        large_metadata,
        garbage,
        window_overflow,
        connection_churn,
    )
}


async def keep_on(abuse: Abuse, address: str, chance: random.Random) -> None:
    """One connection after the other, as the server closes them."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await abuse(address, chance)
        await asyncio.sleep(0.01)


async def methods_of(channel: grpc.aio.Channel) -> list[MethodDescriptor]:
    """Every method that the server says it has and that is described in this process."""
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    await call.done_writing()
    assert isinstance(answer, reflection_pb2.ServerReflectionResponse)
    methods = []
    for service in answer.list_services_response.service:
        # Its v1 is v1alpha under another name.
        if service.name != "grpc.reflection.v1.ServerReflection":
            methods += descriptor_pool.Default().FindServiceByName(service.name).methods
    return methods


@dataclass
class Answers:
    """How calls with made-up requests ended: the methods, and what no request may bring about."""

    methods: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def note(self, method: str, payload: bytes, error: grpc.aio.AioRpcError | None = None) -> None:
        self.methods.add(method)
        if error is None or error.code() not in _FAULTS:
            return
        cause = error.debug_error_string()
        # grpcio's own client says so of a stream whose time was over before it had sent its request.
        if 'Failed "execute_batch"' not in cause:
            self.faults.append(f"{method} {payload!r}: {cause}")


async def random_calls(
    channel: grpc.aio.Channel, method: MethodDescriptor, chance: random.Random, answers: Answers
) -> None:
    """One call with a random message, one with a mutated one, one with noise."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    message = random_message(method.input_type, chance).SerializeToString()
    for payload in (message, mutated(message, chance), chance.randbytes(chance.randrange(64))):
        if method.server_streaming or method.client_streaming:
            call = channel.stream_stream(path)(iter([payload]), timeout=0.3)
        else:
            call = channel.unary_unary(path)(payload, timeout=2.0)
        try:
            if method.server_streaming or method.client_streaming:
                await call.read()
                call.cancel()
            else:
                await call
            answers.note(path, payload)
        except grpc.aio.AioRpcError as error:
            answers.note(path, payload, error)
