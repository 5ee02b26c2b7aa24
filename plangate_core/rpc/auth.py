"""Who calls. Identities come from credentials; without authentication (loopback only) callers name themselves.

A tokens file is YAML:

    tokens:
      - sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08   # of the token's UTF-8 bytes
        identity: alice
        roles: [reviewer, sre]
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import grpc
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from plangate_core.rpc.correlation import ON_BEHALF_OF_KEY
from plangate_core.rpc.metadata import ACTOR_KEY, AUTHORIZATION_KEY, ROLES_KEY
from plangate_core.rpc.settings import RESERVED_PREFIX, ServerSettings
from plangate_core.rpc.status import RpcFailure, invalid_field, permission_denied

ANONYMOUS = "anonymous"
# ASCII: the planner sends its callers' identities on as metadata, which cannot hold anything else.
_IDENTITY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,126}[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who acts. `via` is the service identity that carries the act for `identity`, empty when it acts itself."""

    identity: str
    roles: frozenset[str]
    authenticated: bool
    via: str = ""


class TokensFileInvalid(Exception):
    """The tokens file cannot be used; the message says why, on one line."""


class _Token(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    identity: str
    roles: frozenset[str] = frozenset()


class _TokensFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[_Token] = Field(min_length=1)


_LOOK_SECONDS = 1.0
_MAX_DEPTH = 20
_LOADER: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_current_caller: ContextVar[Caller] = ContextVar("plangate_caller")


def current_caller() -> Caller:
    """The caller of the RPC that this code runs in. LookupError outside of one."""
    return _current_caller.get()


def set_current_caller(caller: Caller) -> None:
    """For the server interceptor, and for work done in somebody's name outside an RPC."""
    _current_caller.set(caller)


class Authenticator:
    """Turns a call's metadata into its Caller."""

    def __init__(
        self, tokens: Mapping[bytes, Caller] | None, *, planner_identity: str, tokens_file: Path | None = None
    ) -> None:
        """`tokens` maps SHA-256 digests to callers; None turns authentication off. `tokens_file` is where they come
        from: when it changes it is read again."""
        self._tokens = tokens
        self._planner_identity = planner_identity
        self._tokens_file = tokens_file
        self._seen: tuple[int, ...] | None = None
        self._look_at = 0.0
        self._claimed = lru_cache(maxsize=4096)(self._claim)

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> Authenticator:
        """Read the tokens file when there is one. Raises TokensFileInvalid."""
        file = settings.auth_tokens_file
        # Before it is read: a change meanwhile is seen afterwards.
        seen = None if file is None else _stamp(file)
        tokens = None if file is None else read_tokens_file(file)
        authenticator = cls(tokens, planner_identity=settings.planner_identity, tokens_file=file)
        authenticator._seen = seen
        return authenticator

    @property
    def authenticates(self) -> bool:
        """Whether identities are proved by tokens, or only claimed."""
        return self._tokens is not None

    def authenticate(self, metadata: Mapping[str, str | bytes]) -> Caller:
        """Return the caller. Raises RpcFailure UNAUTHENTICATED, or PERMISSION_DENIED for acting on behalf of others."""
        if self._tokens is None:
            caller = self._claimed(metadata.get(ACTOR_KEY, ANONYMOUS), metadata.get(ROLES_KEY, ""))
        else:
            self._look()
            caller = self._known(metadata.get(AUTHORIZATION_KEY))
        requester = metadata.get(ON_BEHALF_OF_KEY)
        if requester is None or requester == caller.identity:
            return caller
        if "planner" not in caller.roles:
            raise permission_denied(
                "ROLE_MISSING", "only the planner may act on behalf of others", metadata={"role": "planner"}
            )
        return Caller(_identity(requester, ON_BEHALF_OF_KEY), caller.roles, caller.authenticated, via=caller.identity)

    def _look(self) -> None:
        """Read the tokens file again if it changed: who was struck off shall not get in until the next restart. A bad
        file changes nothing."""
        now = time.monotonic()
        if self._tokens_file is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        stamp = _stamp(self._tokens_file)
        if stamp == self._seen:
            return
        self._seen = stamp
        # Clients import this module too, and start faster without.
        from structlog import get_logger

        log = get_logger("plangate_core")
        try:
            self._tokens = read_tokens_file(self._tokens_file)
        except TokensFileInvalid as error:
            log.error("the tokens file cannot be read again: the tokens read before stay in force", fault=str(error))
        else:
            log.info("tokens read again", tokens=len(self._tokens))

    def _known(self, authorization: str | bytes | None) -> Caller:
        if isinstance(authorization, str):
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer" and self._tokens is not None:
                # Looked up by digest: how long that takes says nothing about the token.
                caller = self._tokens.get(hashlib.sha256(token.strip().encode()).digest())
                if caller is not None:
                    return caller
        raise RpcFailure(
            grpc.StatusCode.UNAUTHENTICATED,
            "UNAUTHENTICATED",
            "send metadata authorization: Bearer TOKEN" if authorization is None else "the token is not known here",
        )

    def _claim(self, actor: str | bytes, roles: str | bytes) -> Caller:
        identity = _identity(actor, ACTOR_KEY)
        claimed = roles if isinstance(roles, str) else ""
        names = {name.strip() for name in claimed.split(",") if name.strip()} | {"reviewer", "executor"}
        if identity == self._planner_identity:
            names.add("planner")
        if identity == "admin":
            names.add("admin")
        return Caller(identity, frozenset(names), authenticated=False)


def read_tokens_file(path: Path) -> dict[bytes, Caller]:
    """Map the SHA-256 digest of each token to its caller. Raises TokensFileInvalid."""
    try:
        entries = _TokensFile.model_validate(_document(path.read_text(encoding="utf-8"))).tokens
    except OSError as error:
        raise TokensFileInvalid(f"the tokens file cannot be read: {error.strerror}: {path}") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise TokensFileInvalid(f"the tokens file is wrong at {place or 'its root'}: {first['msg']}: {path}") from error
    except Exception as error:
        # Dates that no calendar has and numbers of thousands of digits are errors of Python's, not of YAML's.
        raise TokensFileInvalid(f"the tokens file is not YAML: {path}") from error
    tokens: dict[bytes, Caller] = {}
    for entry in entries:
        digest = bytes.fromhex(entry.sha256)
        if digest in tokens:
            raise TokensFileInvalid(f"the tokens file gives one token to two identities: {path}")
        try:
            identity = _identity(entry.identity, "identity")
        except RpcFailure as failure:
            raise TokensFileInvalid(f"the tokens file: {failure.message}: {path}") from failure
        tokens[digest] = Caller(identity, entry.roles, authenticated=True)
    return tokens


def _document(text: str) -> object:
    """As yaml.safe_load, and ten times as fast where PyYAML has libyaml: calls wait while a changed file is read."""
    depth = 0
    for event in yaml.parse(text, _LOADER):
        # A tokens file has four levels; libyaml's composer would go on until the process has no stack left.
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise yaml.YAMLError("nested too deeply")
    return yaml.load(text, _LOADER)  # noqa: S506 - both loaders are safe ones


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Another one when the file was written, moved in its place, or made readable."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _identity(value: str | bytes, field: str) -> str:
    if not isinstance(value, str) or not _IDENTITY.fullmatch(value):
        raise invalid_field(field, "must be 1 to 128 printable ASCII characters")
    if value.startswith(RESERVED_PREFIX):
        raise invalid_field(field, f"must not begin with {RESERVED_PREFIX!r}: those are the servers' own")
    return value
