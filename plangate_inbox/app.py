"""The web application: routes, sessions and protection, put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeAlias
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from plangate_client.errors import PlangateError, Unauthenticated
from plangate_core.rpc.address import split_host_port
from plangate_inbox.pages import decisions, listing, live, plans, policy, proposal, revising, signing_in
from plangate_inbox.settings import InboxSettings
from plangate_inbox.web.failures import failed_call, failed_request
from plangate_inbox.web.openid import OpenIdProvider
from plangate_inbox.web.protection import ProtectiveHeaders, hosts_allowed
from plangate_inbox.web.sessions import Sessions

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def build_app(settings: InboxSettings) -> Starlette:
    """The application. `app.state.stopping` is an asyncio.Event that ends its streams when it is set."""
    app = Starlette(
        routes=[
            Route("/sign-in", signing_in.show_sign_in, methods=["GET"]),
            Route("/sign-in", signing_in.sign_in, methods=["POST"]),
            Route("/sign-in/provider", signing_in.go_to_provider, methods=["GET"]),
            Route("/sign-in/callback", signing_in.come_back, methods=["GET"]),
            Route("/healthz", _healthz, methods=["GET"]),
            *_signed_in_routes(),
            Mount("/static", StaticFiles(packages=[("plangate_inbox", "static")])),
        ],
        middleware=[
            Middleware(ProtectiveHeaders, secure=settings.is_secure),
            Middleware(
                TrustedHostMiddleware,
                allowed_hosts=hosts_allowed(
                    split_host_port(settings.inbox_listen)[0], settings.inbox_url, loopback=settings.is_loopback
                ),
                www_redirect=False,
            ),
        ],
        exception_handlers={PlangateError: failed_call, HTTPException: failed_request},
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.sessions = Sessions(settings)
    app.state.provider = OpenIdProvider(settings) if settings.inbox_oidc_issuer else None
    app.state.stopping = asyncio.Event()
    return app


def _signed_in_routes() -> list[Route]:
    pages: list[tuple[str, Handler]] = [
        ("/", listing.show_waiting),
        ("/proposals/{id:uuid}", proposal.show_proposal),
        ("/proposals", listing.show_proposals),
        ("/proposals/{id:uuid}/revise", revising.show_revision),
        ("/plans/{id:uuid}", plans.show_plan),
        ("/requests", plans.show_requests),
        ("/requests/new", plans.show_new_request),
        ("/log", listing.show_log),
        ("/policy", policy.show_policy),
        ("/live", live.stream_changes),
    ]
    forms: list[tuple[str, Handler]] = [
        ("/sign-out", signing_in.sign_out),
        *(
            (f"/proposals/{{id:uuid}}/{decision}", partial(decisions.decide, decision=decision))
            for decision in decisions.DECISIONS
        ),
        ("/proposals/{id:uuid}/revise", revising.revise),
        ("/plans/{id:uuid}/cancel", plans.cancel_plan),
        ("/requests/new", plans.make_request),
        ("/policy", policy.simulate_policy),
    ]
    return [
        *(Route(path, _signed_in(handler), methods=["GET"]) for path, handler in pages),
        *(Route(path, _signed_in(handler), methods=["POST"]) for path, handler in forms),
    ]


def _signed_in(handler: Handler) -> Handler:
    """The handler for who is signed in; everybody else is sent to sign in first."""

    async def handle(request: Request) -> Response:
        state = request.app.state
        name = signing_in.cookie_name(secure=state.settings.is_secure)
        session = state.sessions.find(request.cookies.get(name))
        if session is not None:
            request.state.session = session
            try:
                return await handler(request)
            except Unauthenticated:
                # The token was struck off meanwhile.
                await state.sessions.end(request.cookies.get(name))
                request.state.session = None
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        target = path if request.method == "GET" else "/"
        location = f"/sign-in?next={quote(target)}"
        if request.headers.get("hx-request"):
            return Response(status_code=204, headers={"HX-Redirect": location})
        return RedirectResponse(location, status_code=303)

    return handle


async def _healthz(_request: Request) -> Response:
    """For probes: the process serves."""
    return PlainTextResponse("ok\n")


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    await app.state.sessions.close()
