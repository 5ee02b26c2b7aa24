"""Who calls: turns a call's metadata and TLS session into its caller."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import structlog

from plangate_core.process.regular_file import file_stamp
from plangate_core.rpc.correlation import ON_BEHALF_OF_KEY
from plangate_core.rpc.identity.caller import ANONYMOUS, Caller, checked_identity
from plangate_core.rpc.identity.tokens_file import Identities, TokensFileInvalid, read_tokens_file
from plangate_core.rpc.identity.web_tokens import WebTokens, refused
from plangate_core.rpc.metadata import ACTOR_KEY, AUTHORIZATION_KEY, ROLES_KEY
from plangate_core.rpc.settings import ServerSettings
from plangate_core.rpc.status import permission_denied

TlsProperties = Mapping[str, Iterable[bytes]]

_LOOK_SECONDS = 1.0
_log = structlog.get_logger("plangate_core")


class Authenticator:
    """Authenticates calls by the tokens file, which is read again when it changes. Without a file callers claim."""

    def __init__(self, settings: ServerSettings) -> None:
        """Reads the tokens file, if the settings name one. Raises TokensFileInvalid."""
        self._file = settings.auth_tokens_file
        self._planner_identity = settings.planner_identity
        self._asks_for_certificates = settings.tls_client_ca_file is not None
        self._stamp: tuple[int, ...] = ()
        self._look_at = 0.0
        self._identities = Identities()
        self._web_tokens: WebTokens | None = None
        self._claimed = lru_cache(maxsize=4096)(self._claim)
        if self._file is not None:
            # Before it is read: a change meanwhile is seen afterwards.
            self._stamp = file_stamp(self._file)
            self._use(read_tokens_file(self._file), self._file)

    @property
    def authenticates(self) -> bool:
        """Whether identities are proved by credentials, or only claimed."""
        return self._file is not None

    def authenticate(
        self, metadata: Mapping[str, str | bytes], tls: Callable[[], TlsProperties], *, may_wait: bool = True
    ) -> Caller:
        """Return the caller. `tls` gives the properties of the call's TLS session.

        Raises KeysNeeded if `may_wait`; RpcFailure UNAUTHENTICATED, or PERMISSION_DENIED for acting for others.
        """
        if self._file is None:
            caller = self._claimed(metadata.get(ACTOR_KEY, ANONYMOUS), metadata.get(ROLES_KEY, ""))
        else:
            self._look()
            authorization = metadata.get(AUTHORIZATION_KEY)
            if authorization is None and self._identities.certificates:
                caller = self._certified(tls())
            else:
                caller = self._by_token(authorization, may_wait=may_wait)
        requester = metadata.get(ON_BEHALF_OF_KEY)
        if requester is None or requester == caller.identity:
            return caller
        if "planner" not in caller.roles:
            raise permission_denied(
                "ROLE_MISSING", "only the planner may act on behalf of others", metadata={"role": "planner"}
            )
        requester = checked_identity(requester, ON_BEHALF_OF_KEY)
        return Caller(requester, caller.roles, caller.authenticated, via=caller.identity, scope=caller.scope)

    def roles_of(self, identity: str) -> frozenset[str] | None:
        """The roles that the tokens file gives an identity now, expired tokens included. None where it does not say:
        without a file, and for those who may have tokens of an issuer, which carry their roles."""
        if self._file is None:
            return None
        self._look()
        held = self._identities.roles_of(identity)
        issuers = self._identities.issuers.values()
        if held is None and any(identity.startswith(issuer.identity_prefix) for issuer in issuers):
            return None
        return held or frozenset()

    def _use(self, identities: Identities, file: Path) -> None:
        if identities.certificates and not self._asks_for_certificates:
            raise TokensFileInvalid(f"the tokens file has certificates: set PLANGATE_TLS_CLIENT_CA_FILE: {file}")
        self._identities = identities
        known = [token.caller.identity for token in identities.tokens.values()]
        known += [caller.identity for caller in identities.certificates.values()]
        known.append(self._planner_identity)
        self._web_tokens = (
            WebTokens(identities.issuers, file.parent, known, scopes=identities.scopes) if identities.issuers else None
        )

    def _look(self) -> None:
        """Read the tokens file again if it changed: a removed entry must not count until the next restart. A bad file
        changes nothing."""
        now = time.monotonic()
        if self._file is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        stamp = file_stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._use(read_tokens_file(self._file), self._file)
        except TokensFileInvalid as error:
            _log.error("the tokens file cannot be read again: the tokens read before stay in force", fault=str(error))
        else:
            _log.info("tokens read again", tokens=len(self._identities.tokens))

    def _by_token(self, authorization: str | bytes | None, *, may_wait: bool) -> Caller:
        if authorization is None:
            raise refused("send metadata authorization: Bearer TOKEN")
        scheme, _, token = authorization.partition(" ") if isinstance(authorization, str) else ("", "", "")
        if scheme.lower() != "bearer":
            raise refused("the token is not known here")
        token = token.strip()
        # By digest: the time that the look-up takes says nothing about the token.
        known = self._identities.tokens.get(hashlib.sha256(token.encode()).digest())
        if known is not None:
            if known.expires is not None and datetime.now(UTC) >= known.expires:
                raise refused("the token has expired")
            return known.caller
        if self._web_tokens is not None and token.count(".") == 2:
            return self._web_tokens.caller(token, may_wait=may_wait)
        raise refused("the token is not known here")

    def _certified(self, tls: TlsProperties) -> Caller:
        found = {
            caller for (name, value), caller in self._identities.certificates.items() if value in tls.get(name, ())
        }
        if len(found) != 1:
            raise refused(
                "the client certificate stands for several identities here"
                if found
                else "the client certificate is not known here; or send metadata authorization: Bearer TOKEN"
            )
        return found.pop()

    def _claim(self, actor: str | bytes, roles: str | bytes) -> Caller:
        identity = checked_identity(actor, ACTOR_KEY)
        claimed = roles if isinstance(roles, str) else ""
        names = {name.strip() for name in claimed.split(",") if name.strip()} | {"reviewer", "executor"}
        if identity == self._planner_identity:
            names.add("planner")
        if identity == "admin":
            names.add("admin")
        return Caller(identity, frozenset(names), authenticated=False)
