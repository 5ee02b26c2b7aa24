"""What every answer and every form is protected with against other sites.

Forms are taken only from this site: by the browser's own word (Sec-Fetch-Site, else Origin) and by a token of the
session in the form. Pages cannot be framed, and no script or style runs but this site's own files.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plangate_inbox.web.sessions import Session

MAX_FORM_BYTES = 2 * 1024 * 1024
_MAX_FORM_FIELDS = 1_000
CSRF_FIELD = "csrf_token"

_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class ProtectiveHeaders:
    """ASGI middleware: the headers above on every answer, and no cache for pages."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        """`secure`: people reach the site over TLS."""
        self._app = app
        self._headers = dict(_HEADERS)
        if secure:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                # Links to static files change with their content.
                static = scope["path"].startswith("/static/")
                headers["Cache-Control"] = "public, max-age=31536000, immutable" if static else "no-store"
            await send(message)

        await self._app(scope, receive, send_protected)


def hosts_allowed(listen_host: str, url: str, *, loopback: bool) -> Sequence[str]:
    """Names that requests may give as Host: a name that another site points at this address is not among them."""
    hosts = {listen_host} if listen_host not in ("0.0.0.0", "::") else set()  # noqa: S104 - compared, not bound
    if loopback:
        hosts |= {"127.0.0.1", "localhost", "[::1]"}
    if url:
        hosts.add(urlsplit(url).hostname or "")
    return sorted(hosts) if hosts else ["*"]


async def read_form(request: Request, session: Session | None) -> dict[str, str]:
    """The form's fields, if it was sent from this site, and by this session when there is one.

    Raises HTTPException 403, 413, 400.
    """
    if not comes_from_this_site(request.headers):
        raise HTTPException(403, "This form was not sent from this site.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413, "The form is too large.")
    try:
        fields = dict(
            parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS, errors="strict")
        )
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None
    if session is not None and not hmac.compare_digest(
        fields.get(CSRF_FIELD, "").encode(), session.csrf_token.encode()
    ):
        raise HTTPException(403, "This form is from an earlier session. Go back, load the page again and repeat it.")
    return fields


def comes_from_this_site(headers: Mapping[str, str]) -> bool:
    """Whether the browser says that a page of this site sent the request."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    # Browsers leave Sec-Fetch-Site out where the site is neither TLS nor loopback.
    return urlsplit(headers.get("origin", "")).netloc == headers.get("host", "") != ""
