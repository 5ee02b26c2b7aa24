"""An HTTP/2 connection that sends what a gRPC client never would, frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Sequence

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES = 9
Header = tuple[str, str]


class RawConnection:
    """Frames go out as they are given; frames of the server are read in the background, pings and settings answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._encoder = Encoder()
        self._next_stream = 1
        self.answering = True
        self._task = asyncio.create_task(self._read())
        self.settings: dict[int, int] = {}
        self.goaway: GoAwayFrame | None = None
        self.reset: dict[int, int] = {}
        self.answers: dict[int, list[tuple[str, str]]] = {}
        self.ended: set[int] = set()
        self._decoder = Decoder()
        self.closed = asyncio.Event()

    def stream(self) -> int:
        """A new stream id."""
        number = self._next_stream
        self._next_stream += 2
        return number

    def send(self, *frames: Frame) -> None:
        """Put frames on the connection. OSError when the server has closed it."""
        if self.closed.is_set() or self._writer.is_closing():
            raise ConnectionResetError("the server closed the connection")
        self._writer.write(b"".join(frame.serialize() for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    def call_headers(self, method: str, extra: Sequence[Header] = ()) -> bytes:
        """The header block of a call, HPACK-encoded; a repeated long header becomes an index of the dynamic table."""
        block: bytes = self._encoder.encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", method),
                (":authority", "localhost"),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                *extra,
            ],
            huffman=False,
        )
        return block

    def open_call(self, method: str, extra: Sequence[Header] = (), *, stream: int | None = None) -> tuple[int, Frame]:
        """HEADERS of a call in one frame."""
        number = self.stream() if stream is None else stream
        frame = HeadersFrame(number, data=self.call_headers(method, extra))
        frame.flags.add("END_HEADERS")
        return number, frame

    def large_call(self, method: str, extra: Sequence[Header]) -> tuple[int, list[Frame]]:
        """HEADERS and as many CONTINUATION frames as it takes."""
        number, block = self.stream(), self.call_headers(method, extra)
        pieces = [block[start : start + 16_000] for start in range(0, len(block), 16_000)]
        frames: list[Frame] = [HeadersFrame(number, data=pieces[0])]
        frames += [ContinuationFrame(number, data=piece) for piece in pieces[1:]]
        frames[-1].flags.add("END_HEADERS")
        return number, frames

    def message(self, stream: int, payload: bytes, *, end: bool = True) -> Frame:
        """One gRPC message as a DATA frame."""
        frame = DataFrame(stream, data=struct.pack(">BI", 0, len(payload)) + payload)
        if end:
            frame.flags.add("END_STREAM")
        return frame

    def statuses(self, stream: int) -> list[str]:
        """What the server said as grpc-status of this stream."""
        return [value for key, value in self.answers.get(stream, []) if key == "grpc-status"]

    async def close(self) -> None:
        # First what needs no waiting: whoever waits may be cancelled.
        self._writer.transport.abort()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame, length = Frame.parse_frame_header(memoryview(await self._reader.readexactly(FRAME_HEADER_BYTES)))
                frame.parse_body(memoryview(await self._reader.readexactly(length)))
                self._received(frame)
        self.closed.set()

    def _received(self, frame: Frame) -> None:
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.settings.update(frame.settings)
            if not self.answering:
                return
            acknowledged = SettingsFrame(0)
            acknowledged.flags.add("ACK")
            self._writer.write(acknowledged.serialize())
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags and self.answering:
            answer = PingFrame(0, opaque_data=frame.opaque_data)
            answer.flags.add("ACK")
            self._writer.write(answer.serialize())
        elif isinstance(frame, GoAwayFrame):
            self.goaway = frame
        elif isinstance(frame, RstStreamFrame):
            self.reset[frame.stream_id] = frame.error_code
        elif isinstance(frame, HeadersFrame):
            self.answers.setdefault(frame.stream_id, []).extend(self._decoder.decode(frame.data))
            if "END_STREAM" in frame.flags:
                self.ended.add(frame.stream_id)


@contextlib.asynccontextmanager
async def raw_connection(
    address: str, *, settings: dict[int, int] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawConnection]:
    """Connect and exchange prefaces."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    writer.write(PREFACE + SettingsFrame(0, settings=settings or {}).serialize())
    connection = RawConnection(reader, writer)
    try:
        yield connection
    finally:
        await connection.close()
