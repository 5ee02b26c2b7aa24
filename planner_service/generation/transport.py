"""HTTP by aiohttp under the SDKs, which speak httpx2.

Why not httpx2's own transport: for every request it looks at every idle connection, which with hundreds of plans in
flight took more CPU than all the rest. Why not the adapter that OpenAI's SDK brings: it calls a server that hangs up
"connect timeout", and a request that meets a connection the server just closed fails. Local servers do close theirs
after a streamed reply, so the next plan would begin with a failed attempt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

KEEPALIVE_SECONDS = 30.0
_STALE_CONNECTIONS = 8
"""Connections found dead in a row before a request fails."""


@dataclasses.dataclass(slots=True)
class _Sending:
    """What is known of one request on its way. reused: its connection had served another before."""

    reused: bool = False


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Keeps connections open and uses them again. The proxy settings of the environment are respected."""

    def __init__(self, max_connections: int, connect_timeout_seconds: float, read_timeout_seconds: float) -> None:
        self._max_connections = max_connections
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout_seconds, sock_read=read_timeout_seconds
        )
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[tuple[str, str], str | None] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._send(request, await request.aread())
        return httpx2.Response(
            response.status, headers=response.raw_headers, stream=_ReplyStream(response, request), request=request
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _send(self, request: httpx2.Request, body: bytes) -> aiohttp.ClientResponse:
        """Sends until a connection is found that the server has not closed meanwhile.

        Nothing is sent twice to a server that may have begun to answer: asking a model has no effect but its cost,
        and only a connection that was idle before is given up for another.
        """
        for _ in range(_STALE_CONNECTIONS):
            sending = _Sending()
            try:
                return await self._opened().request(
                    request.method,
                    str(request.url),
                    headers=request.headers.multi_items(),
                    data=body or None,
                    allow_redirects=False,
                    trace_request_ctx=sending,
                    proxy=self._proxy(request.url),
                )
            except TimeoutError as error:
                raise httpx2.TimeoutException("", request=request) from error
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError) as error:
                if sending.reused and not isinstance(error, aiohttp.ClientConnectorError):
                    continue
                raise httpx2.ConnectError("", request=request) from error
            except (aiohttp.ClientError, ValueError) as error:
                raise httpx2.ProtocolError("", request=request) from error
        raise httpx2.ConnectError("", request=request)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_note_reuse)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=KEEPALIVE_SECONDS),
                timeout=self._timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("accept-encoding", "user-agent"),
                trace_configs=[trace],
            )
        return self._session

    def _proxy(self, url: httpx2.URL) -> str | None:
        """The environment's proxy for this server.

        aiohttp can look itself, but does so for every request, and into .netrc too, in a thread each. A thread of a
        busy process waits 5 ms for the interpreter, so 64 requests that were to go out together took 150 ms longer.
        """
        origin = (url.scheme, url.host)
        if origin not in self._proxies:
            address = None if proxy_bypass(url.host) else getproxies().get(url.scheme)
            self._proxies[origin] = f"http://{address}" if address and "://" not in address else address
        return self._proxies[origin]


async def _note_reuse(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
    sending: _Sending = context.trace_request_ctx
    sending.reused = True


class _ReplyStream(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, request: httpx2.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._response.content.iter_any():
                yield part
        except TimeoutError as error:
            raise httpx2.ReadTimeout("", request=self._request) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx2.ReadError("", request=self._request) from error

    async def aclose(self) -> None:
        # Gives the connection back when the reply was read to its end, else closes it.
        self._response.release()
