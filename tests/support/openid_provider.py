"""An OpenID provider for tests, over HTTP: discovery, sign-in page, token endpoint and keys."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from plangate_inbox.server import listen

CLIENT_ID = "plangate-page"
CLIENT_SECRET = "page:secret+1"


class OpenIdServer:
    """`lifetime_seconds`: of the tokens that it gives from now on. `nonce`: what they say instead of the right one.
    `discovered`: what else its discovery document says. `discoveries`: how often it was asked for."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.lifetime_seconds = 300
        self.nonce: str | None = None
        # More than one read of a socket gives.
        self.discovered: dict[str, str] = {"service_documentation": "x" * 200_000}
        self.discoveries = 0
        self.codes: dict[str, dict[str, str]] = {}
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/authorize", self._authorize),
                Route("/continue", self._continue),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )

    async def _discovery(self, _request: Request) -> Response:
        self.discoveries += 1
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                **self.discovered,
            }
        )

    async def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        assert (query["response_type"], query["client_id"]) == ("code", CLIENT_ID)
        assert query["code_challenge_method"] == "S256"
        links = "".join(
            f"<p><a href='/continue?{urlencode({**query, 'login': login})}'>Continue as {login}</a></p>"
            for login in ("lea", "nobody")
        )
        refusal = urlencode({"error": "access_denied", "error_description": "You said no.", "state": query["state"]})
        links += f"<p><a href='{query['redirect_uri']}?{refusal}'>Cancel</a></p>"
        return HTMLResponse(f"<!doctype html><link rel=icon href='data:,'><title>Provider</title>{links}")

    async def _continue(self, request: Request) -> Response:
        query = dict(request.query_params)
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        back = urlencode({"code": code, "state": query["state"], "iss": self.issuer})
        return RedirectResponse(f"{query['redirect_uri']}?{back}")

    async def _token(self, request: Request) -> Response:
        async with request.form() as fields:
            form = {name: str(value) for name, value in fields.items()}
        granted = self.codes.pop(form["code"], None)
        pair = "plangate-page:page%3Asecret%2B1"
        expected = f"Basic {base64.b64encode(pair.encode()).decode()}"
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if (
            granted is None
            or request.headers.get("authorization") != expected
            or form["redirect_uri"] != granted["redirect_uri"]
            or challenge.decode() != granted["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": granted["login"],
            "groups": ["leads"],
            "nonce": granted["nonce"] if self.nonce is None else self.nonce,
            "exp": int(time.time()) + self.lifetime_seconds,
        }
        token = jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "one"})
        return JSONResponse({"token_type": "Bearer", "id_token": token, "access_token": "opaque"})

    async def _keys(self, _request: Request) -> Response:
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return JSONResponse({"keys": [{**key, "kid": "one", "use": "sig"}]})


@contextlib.asynccontextmanager
async def open_provider() -> AsyncIterator[OpenIdServer]:
    """Serve one on a free port, until the end of the block."""
    listening = listen("127.0.0.1:0")
    provider = OpenIdServer(f"http://127.0.0.1:{listening.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(provider.app, log_config=None, access_log=False, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield provider
    finally:
        server.should_exit = True
        await serving
        listening.close()
