"""HTTP to models: what a request and a reply are here, and aiohttp as the way to send them.

Why not httpx2, which the SDKs speak: for every request it looks at every idle connection, which with hundreds of plans
in flight took more CPU than all the rest, and its requests and replies a tenth of what a plan costs. Why not the
adapter that OpenAI's SDK brings: it calls a server that hangs up "connect timeout", and a request that meets a
connection the server just closed fails. Local servers do close theirs after a streamed
reply, so the next plan would begin with a failed attempt. Exceptions are httpx2's: every SDK knows them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

KEEPALIVE_SECONDS = 30.0
_STALE_CONNECTIONS = 8
"""Connections found dead in a row before a request fails."""
_STALE_SECONDS = 2.0
"""A dead connection shows within a way there and back. A server that took longer to hang up was at work."""


@dataclasses.dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Body(Protocol):
    """A reply's body as it comes. Ends early with an httpx2.TransportError, or what a layer above has against it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Let the connection go: back to be used again when all was read, else closed."""


@dataclasses.dataclass(slots=True)
class HttpReply:
    """What came back. headers: found by their names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: Body

    async def read(self) -> bytes:
        """All of the body; the connection is let go."""
        try:
            return b"".join([part async for part in self.body])
        finally:
            await self.body.aclose()


class Transport(Protocol):
    """A way to send requests."""

    async def send(self, request: HttpRequest) -> HttpReply:
        """The reply, its body not read yet. Redirects are not followed. Raises httpx2.TransportError."""

    async def aclose(self) -> None:
        """Close all connections."""


EVENTS_TAIL = 256
"""How many of the last bytes of server-sent events are looked at for their end."""
_DONE = re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\][ \t]*(?:[\r\n]|$)")


def events_are_done(tail: bytes) -> bool:
    """Whether OpenAI's last event is among the end of what was read, perhaps with a comment after it."""
    return _DONE.search(tail) is not None


@dataclasses.dataclass(slots=True)
class _Sending:
    """What is known of one request on its way. reused: its connection had served another before."""

    reused: bool = False


class AiohttpTransport:
    """Keeps connections open and uses them again. The proxy settings of the environment are respected."""

    def __init__(self, max_connections: int, connect_timeout_seconds: float, read_timeout_seconds: float) -> None:
        self._max_connections = max_connections
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout_seconds, sock_read=read_timeout_seconds
        )
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def send(self, request: HttpRequest) -> HttpReply:
        """Sends until a connection is found that the server has not closed meanwhile.

        Nothing is sent twice to a server that may have begun to answer: asking a model has no effect but its cost,
        and only a connection that was idle before is given up for another.
        """
        clock = asyncio.get_running_loop().time
        for _ in range(_STALE_CONNECTIONS):
            sending = _Sending()
            sent_at = clock()
            try:
                response = await self._opened().request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    data=request.body or None,
                    allow_redirects=False,
                    trace_request_ctx=sending,
                    proxy=self._proxy(request.url),
                )
            except TimeoutError as error:
                raise httpx2.TimeoutException("") from error
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
                stale = sending.reused and clock() - sent_at < _STALE_SECONDS
                if stale and not isinstance(error, aiohttp.ClientConnectorError):
                    continue
                raise httpx2.ConnectError("") from error
            except (aiohttp.ClientError, ValueError) as error:
                raise httpx2.ProtocolError("") from error
            return HttpReply(response.status, response.headers, _Body(response))
        raise httpx2.ConnectError("")

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_note_reuse)
            trace.on_connection_create_start.append(_note_new)
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=self._max_connections, keepalive_timeout=KEEPALIVE_SECONDS),
                timeout=self._timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("accept-encoding", "user-agent"),
                trace_configs=[trace],
            )
        return self._session

    def _proxy(self, url: str) -> str | None:
        """The environment's proxy for this server.

        aiohttp can look itself, but does so for every request, and into .netrc too, in a thread each. A thread of a
        busy process waits 5 ms for the interpreter, so 64 requests that were to go out together took 150 ms longer.
        """
        scheme, host = (parts := urlsplit(url)).scheme, parts.hostname or ""
        if (scheme, host) not in self._proxies:
            address = None if proxy_bypass(host) else getproxies().get(scheme)
            self._proxies[scheme, host] = f"http://{address}" if address and "://" not in address else address
        return self._proxies[scheme, host]


class _Connector(aiohttp.TCPConnector):
    """Uses no connection again on which something came while nobody asked: it would be taken for the next answer."""

    async def _get(self, *arguments: Any, **options: Any) -> Any:
        while (found := await super()._get(*arguments, **options)) is not None:
            if found.protocol is not None and not found.protocol.should_close:
                return found
            found.close()
        return None


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
    sending: _Sending = context.trace_request_ctx
    sending.reused = True


async def _note_new(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
    sending: _Sending = context.trace_request_ctx
    sending.reused = False


class _Body:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._response.content.iter_any():
                yield part
        except TimeoutError as error:
            raise httpx2.ReadTimeout("") from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.ReadError("") from error

    async def aclose(self) -> None:
        self._response.release()
