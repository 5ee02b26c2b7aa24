"""Signing in at an OpenID provider: the authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636).

The token that comes of it is the session's credential. The page trusts nothing that it says: the servers check its
signature, issuer, audience and time on every call.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import aiohttp
import jwt

from plangate_inbox.settings import InboxSettings, may_be_called

_DISCOVERY = "/.well-known/openid-configuration"
_TIMEOUT_SECONDS = 10.0
_MAX_BYTES = 256 * 1024
_DISCOVERED_SECONDS = 600
_SIGN_IN_SECONDS = 600
_MAX_SIGN_INS = 1_000


class OpenIdRefused(Exception):
    """Nobody is signed in; the message says why, and quotes no token."""


@dataclass(frozen=True, slots=True)
class _Discovered:
    """What the provider says of itself. `basic`: whether it takes the page's secret as a header."""

    authorization_endpoint: str
    token_endpoint: str
    basic: bool


@dataclass(frozen=True, slots=True)
class _SignIn:
    """One browser on its way to the provider and back."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    target: str
    provider: _Discovered
    expires: float


class OpenIdProvider:
    """The provider of the settings. Browsers on their way are kept in memory, by the key in their cookie."""

    def __init__(self, settings: InboxSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self.issuer = settings.inbox_oidc_issuer.rstrip("/")
        self.name = urlsplit(self.issuer).netloc
        self._settings = settings
        self._clock = clock
        self._under_way: dict[str, _SignIn] = {}
        self._discovered: _Discovered | None = None
        self._discover_at = 0.0

    async def begin(self, redirect_uri: str, target: str) -> tuple[str, str]:
        """The key for the browser's cookie, and where to send it. Raises OpenIdRefused."""
        provider = await self._discover()
        sign_in = _SignIn(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            redirect_uri=redirect_uri,
            target=target,
            provider=provider,
            expires=self._clock() + _SIGN_IN_SECONDS,
        )
        challenge = hashlib.sha256(sign_in.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._settings.inbox_oidc_client_id,
            "redirect_uri": redirect_uri,
            "scope": self._settings.inbox_oidc_scopes,
            "state": sign_in.state,
            "nonce": sign_in.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        self._forget_old()
        key = secrets.token_urlsafe(32)
        self._under_way[key] = sign_in
        location = provider.authorization_endpoint
        return key, f"{location}{'&' if urlsplit(location).query else '?'}{urlencode(query)}"

    async def finish(self, key: str | None, answer: Mapping[str, str]) -> tuple[str, str]:
        """The token, and the page that was wanted first. `answer` is the query that the provider sent the browser back
        with; it counts once, and for the browser that has the key. Raises OpenIdRefused."""
        sign_in = self._under_way.pop(key, None) if key else None
        if sign_in is None or sign_in.expires < self._clock():
            raise OpenIdRefused("This sign-in was begun elsewhere or too long ago. Begin again.")
        if not hmac.compare_digest(answer.get("state", "").encode(), sign_in.state.encode()):
            raise OpenIdRefused("The answer belongs to another sign-in. Begin again.")
        if answer.get("iss", self.issuer).rstrip("/") != self.issuer:
            raise OpenIdRefused("The answer is another provider's.")
        if "error" in answer:
            reason = answer.get("error_description") or answer["error"]
            raise OpenIdRefused(f"{self.name} did not sign you in: {reason[:300]}")
        tokens = await self._redeem(sign_in, answer.get("code", ""))
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str) or not self._is_for(id_token, sign_in.nonce):
            raise OpenIdRefused("The provider's token was not made for this sign-in.")
        token = tokens.get(self._settings.inbox_oidc_token)
        if not isinstance(token, str) or not token.isascii():
            raise OpenIdRefused(f"The provider gave no {self._settings.inbox_oidc_token}.")
        return token, sign_in.target

    async def _discover(self) -> _Discovered:
        """What was found is kept for _DISCOVERED_SECONDS; what was refused is asked for again."""
        now = self._clock()
        if self._discovered is None or now >= self._discover_at:
            found = await self._document(self.issuer + _DISCOVERY)
            if str(found.get("issuer", "")).rstrip("/") != self.issuer:
                raise OpenIdRefused("The provider says that it is another one than it was asked for.")
            methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
            self._discovered = _Discovered(
                authorization_endpoint=_endpoint(found, "authorization_endpoint"),
                token_endpoint=_endpoint(found, "token_endpoint"),
                basic="client_secret_basic" in methods,
            )
            self._discover_at = now + _DISCOVERED_SECONDS
        return self._discovered

    async def _redeem(self, sign_in: _SignIn, code: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": sign_in.redirect_uri,
            "code_verifier": sign_in.verifier,
            "client_id": self._settings.inbox_oidc_client_id,
        }
        headers, secret = {"Accept": "application/json"}, self._secret()
        if secret and sign_in.provider.basic:
            # RFC 6749, 2.3.1: both are encoded as in a form before they are joined.
            pair = f"{quote_plus(form.pop('client_id'))}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif secret:
            form["client_secret"] = secret
        return await self._document(sign_in.provider.token_endpoint, form, headers)

    def _is_for(self, id_token: str, nonce: str) -> bool:
        """Whether it answers this sign-in. It came from the provider itself; the servers check the signature."""
        try:
            claims = jwt.decode(id_token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):
            return False
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        return (
            str(claims.get("iss", "")).rstrip("/") == self.issuer
            and self._settings.inbox_oidc_client_id in audiences
            and hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode())
        )

    def _secret(self) -> str:
        file, secret = self._settings.inbox_oidc_client_secret_file, self._settings.inbox_oidc_client_secret
        if file is not None:
            try:
                return file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise OpenIdRefused("The page's own secret for the provider cannot be read.") from None
        return secret.get_secret_value() if secret is not None else ""

    async def _document(
        self, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.request(
                    "GET" if form is None else "POST", url, data=form, headers=headers, allow_redirects=False
                ) as answer,
            ):
                content = bytearray()
                async for chunk in answer.content.iter_chunked(_MAX_BYTES):
                    content += chunk
                    if len(content) > _MAX_BYTES:
                        raise OpenIdRefused(f"{self.name} answered with too much.")
                found = json.loads(content) if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise OpenIdRefused(f"{self.name} cannot be reached now.") from None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise OpenIdRefused(f"{self.name} did not answer as expected (HTTP status {answer.status}).")
        return found

    def _forget_old(self) -> None:
        now = self._clock()
        self._under_way = {key: each for key, each in self._under_way.items() if each.expires >= now}
        while len(self._under_way) >= _MAX_SIGN_INS:
            del self._under_way[next(iter(self._under_way))]


def _endpoint(document: Mapping[str, Any], name: str) -> str:
    url = document.get(name)
    if not isinstance(url, str) or not may_be_called(url):
        raise OpenIdRefused(f"The provider names no usable {name}.")
    return url
