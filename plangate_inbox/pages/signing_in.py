"""Signing in and out."""

from __future__ import annotations

import getpass
import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from plangate_client.errors import PlangateError, Unauthenticated
from plangate_core.rpc.channel import ChannelRefused
from plangate_core.rpc.identity.caller import IDENTITY
from plangate_inbox.web.openid import OpenIdProvider, OpenIdRefused
from plangate_inbox.web.protection import read_form
from plangate_inbox.web.rendering import render


def cookie_name(*, secure: bool) -> str:
    """A browser takes a `__Host-` cookie from this very host over TLS only."""
    return "__Host-plangate" if secure else "plangate_session"


async def show_sign_in(request: Request) -> Response:
    """The form: for a token, or for a name where the servers do not authenticate."""
    return await _form(request, target=_local(request.query_params.get("next", "/")))


async def sign_in(request: Request) -> Response:
    """Check the credentials with the store and begin a session."""
    state = request.app.state
    form = await read_form(request, None)
    target = _local(form.get("next", "/"))
    if await state.sessions.must_prove():
        token = form.get("token", "").strip()
        if not token or not token.isascii():
            return await _form(request, target=target, error="Enter the token that you were given.", status=422)
        return await _open(request, target, token=token)
    if not state.settings.is_loopback:
        return await _form(request, target=target, status=403)
    name, roles = form.get("name", "").strip(), form.get("roles", "")
    if not IDENTITY.fullmatch(name) or not roles.isascii():
        return await _form(request, target=target, error="Enter a name in ASCII characters.", status=422)
    names = [role.strip() for role in roles.split(",") if role.strip()]
    return await _open(request, target, name=name, roles=names)


async def go_to_provider(request: Request) -> Response:
    """Send the browser to the OpenID provider."""
    target = _local(request.query_params.get("next", "/"))
    try:
        key, location = await _provider(request).begin(_callback(request), target)
    except OpenIdRefused as error:
        return await _form(request, target=target, error=str(error), status=502)
    return _with_cookie(request, location, _sign_in_cookie(request), key)


async def come_back(request: Request) -> Response:
    """Back from the OpenID provider, with a code for a token."""
    key = request.cookies.get(_sign_in_cookie(request))
    try:
        token, target = await _provider(request).finish(key, request.query_params)
    except OpenIdRefused as error:
        return await _form(request, target="/", error=str(error), status=403)
    response = await _open(request, target, token=token)
    _delete_cookie(request, response, _sign_in_cookie(request))
    return response


def _provider(request: Request) -> OpenIdProvider:
    provider = request.app.state.provider
    if not isinstance(provider, OpenIdProvider):
        raise HTTPException(404, "There is no such page.")
    return provider


def _callback(request: Request) -> str:
    # Without a URL of its own the page is on loopback, where it answers to no other name.
    base = request.app.state.settings.inbox_url or f"{request.url.scheme}://{request.url.netloc}"
    return f"{base.rstrip('/')}/sign-in/callback"


def _sign_in_cookie(request: Request) -> str:
    return f"{cookie_name(secure=request.app.state.settings.is_secure)}_sign_in"


def _with_cookie(request: Request, location: str, name: str, value: str) -> Response:
    """To another page, with a cookie that scripts and other sites cannot use."""
    response = RedirectResponse(location, status_code=303)
    secure = request.app.state.settings.is_secure
    response.set_cookie(name, value, path="/", httponly=True, secure=secure, samesite="lax")
    return response


def _delete_cookie(request: Request, response: Response, name: str) -> None:
    secure = request.app.state.settings.is_secure
    response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")


async def _open(request: Request, target: str, **credentials: Any) -> Response:
    """Begin a session, if the store knows the credentials: those of Sessions.open."""
    try:
        key = await request.app.state.sessions.open(**credentials)
    except Unauthenticated:
        return await _form(request, target=target, error="The store does not know this token.", status=403)
    except ChannelRefused as error:
        return await _form(request, target=target, error=str(error), status=422)
    except PlangateError as error:
        return await _form(request, target=target, error=error.message, status=422)
    return _with_cookie(request, target, cookie_name(secure=request.app.state.settings.is_secure), key)


async def sign_out(request: Request) -> Response:
    """End the session."""
    state = request.app.state
    await read_form(request, request.state.session)
    name = cookie_name(secure=state.settings.is_secure)
    await state.sessions.end(request.cookies.get(name))
    response = RedirectResponse("/sign-in", status_code=303)
    _delete_cookie(request, response, name)
    return response


async def _form(request: Request, *, target: str, error: str = "", status: int = 200) -> Response:
    state = request.app.state
    authenticates = await state.sessions.must_prove()
    if not authenticates and not state.settings.is_loopback:
        error = "The store does not authenticate its callers: this page then serves loopback only."
    provider = state.provider.name if state.provider is not None and authenticates else ""
    context = {
        "authenticates": authenticates,
        "error": error,
        "target": target,
        "login": _login(),
        "provider": provider,
    }
    return render(request, "sign_in.html", context, status=status)


def _local(target: str) -> str:
    """The target if it is a path of this site, else the start page."""
    return target if re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", target) and "\\" not in target else "/"


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
