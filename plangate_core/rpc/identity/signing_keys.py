"""The public keys of an issuer of JSON Web Tokens: from a file or a URL, refreshed, and never used when too old."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from plangate_core.rpc.identity.tokens_file import IssuerEntry

_FETCH_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 512 * 1024
_MAX_KEYS = 64
# Tokens with unknown key ids cause at most one fetch in this time.
_MIN_SECONDS_BETWEEN_FETCHES = 10.0

_log = structlog.get_logger("plangate_core")


class KeysUnreadable(Exception):
    """What the issuer gave is no set of public keys; the message says why."""


class SigningKeys:
    """A JSON Web Key Set. Lookups use what was read last; `refresh` reads it again."""

    def __init__(self, entry: IssuerEntry, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`directory` is where relative file names begin."""
        self._entry = entry
        self._file = None if entry.jwks.startswith(("http://", "https://")) else directory / entry.jwks
        self._clock = clock
        self._keys: tuple[dict[str, Any], ...] = ()
        self._read_at: float | None = None
        self._tried_at = -_MIN_SECONDS_BETWEEN_FETCHES
        self._refreshing: asyncio.Task[None] | None = None
        self.version = 0

    @property
    def stale(self) -> bool:
        """Whether the keys are too old to be trusted, or were never read."""
        return self._read_at is None or self._clock() - self._read_at > self._entry.stale_seconds

    @property
    def due(self) -> bool:
        """Whether it is time to read them again."""
        return self._read_at is None or self._clock() - self._read_at > self._entry.refresh_seconds

    def find(self, key_id: str | None) -> dict[str, Any] | None:
        """The key with this id; without an id the only key there is."""
        if key_id is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.get("kid") == key_id), None)

    async def refresh(self) -> None:
        """Read the keys again unless that was tried just now. Failures are logged; what was read before stays."""
        self.refresh_in_background()
        if self._refreshing is not None:
            # Shared by all callers, so that one who gives up does not end it for the others.
            await asyncio.shield(self._refreshing)

    def refresh_in_background(self) -> None:
        """As `refresh`, without waiting."""
        if self._refreshing is None and self._clock() - self._tried_at >= _MIN_SECONDS_BETWEEN_FETCHES:
            self._tried_at = self._clock()
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(self._refreshed)

    def _refreshed(self, _task: asyncio.Task[None]) -> None:
        self._refreshing = None

    async def _refresh(self) -> None:
        try:
            content = self._file.read_bytes() if self._file else await self._fetch()
            keys = _public_keys(content)
        except Exception as error:
            _log.error(
                "the issuer's keys cannot be read: those read before stay in force until they are stale",
                issuer=self._entry.issuer,
                fault=f"{type(error).__name__}: {error}",
            )
            return
        self._read_at = self._clock()
        if keys != self._keys:
            self._keys = keys
            self.version += 1
            _log.info("the issuer's keys were read", issuer=self._entry.issuer, keys=len(keys))

    async def _fetch(self) -> bytes:
        # Loaded where a URL is configured: it takes a tenth of a second.
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=_FETCH_TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._entry.jwks, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise KeysUnreadable(f"HTTP status {response.status}")
            content = b""
            async for chunk in response.content.iter_chunked(65_536):
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise KeysUnreadable(f"more than {_MAX_BYTES} bytes")
            return content


def _public_keys(content: bytes) -> tuple[dict[str, Any], ...]:
    """The keys that signatures can be checked with. Raises KeysUnreadable, ValueError."""
    document = json.loads(content[: _MAX_BYTES + 1])
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise KeysUnreadable("not a JSON Web Key Set")
    if len(keys) > _MAX_KEYS:
        raise KeysUnreadable(f"more than {_MAX_KEYS} keys")
    usable = tuple(key for key in keys if key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig")
    if not usable:
        raise KeysUnreadable("no public key for signatures")
    return usable
