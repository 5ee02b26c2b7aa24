"""JSON Web Tokens (RFC 7519) as identities: checked against the issuers of the tokens file."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import jwt

from plangate_core.rpc.identity.caller import Caller, appearance, checked_identity
from plangate_core.rpc.identity.scopes_table import ScopeEntry, scope_of
from plangate_core.rpc.identity.signing_keys import SigningKeys
from plangate_core.rpc.identity.tokens_file import IssuerEntry
from plangate_core.rpc.status import RpcFailure

# Below the 8 KiB of metadata from which gRPC refuses calls at random.
_MAX_TOKEN_CHARACTERS = 6 * 1024
_REMEMBERED = 4_096
# What PyJWT and json raise for tokens that somebody made on purpose, besides PyJWT's own errors.
_MALFORMED = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class KeysNeeded(Exception):
    """The issuer's keys must be read before the token can be judged: await `keys.refresh()` and try again."""

    def __init__(self, keys: SigningKeys) -> None:
        super().__init__("the issuer's keys must be read")
        self.keys = keys


class WebTokens:
    """Checks tokens of the issuers in one tokens file. Tokens that were found good are remembered until they expire."""

    def __init__(
        self,
        issuers: Mapping[str, IssuerEntry],
        directory: Path,
        known_identities: Iterable[str] = (),
        *,
        scopes: Sequence[ScopeEntry] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`known_identities` are those that other credentials prove: an issuer's must be the same or look different."""
        self._issuers = {name: (entry, SigningKeys(entry, directory)) for name, entry in issuers.items()}
        self._by_appearance = {appearance(identity): identity for identity in known_identities}
        self._scopes = scopes
        self._clock = clock
        self._good: OrderedDict[bytes, tuple[Caller, float, SigningKeys, int]] = OrderedDict()

    def caller(self, token: str, *, may_wait: bool = True) -> Caller:
        """Whom the token proves. Raises KeysNeeded if `may_wait`, RpcFailure UNAUTHENTICATED."""
        digest = hashlib.sha256(token.encode()).digest()
        if remembered := self._good.get(digest):
            caller, expires, keys, version = remembered
            if self._clock() < expires and version == keys.version and not keys.stale:
                if keys.due:
                    keys.refresh_in_background()
                return caller
            del self._good[digest]
        entry, keys, header = self._issuer_of(token)
        if keys.stale and may_wait:
            raise KeysNeeded(keys)
        if keys.stale:
            raise refused("the keys of the token's issuer cannot be read now")
        key = keys.find(header.get("kid"))
        if key is None and may_wait:
            raise KeysNeeded(keys)
        if key is None:
            raise refused("the token is signed with a key that its issuer does not have")
        if keys.due:
            keys.refresh_in_background()
        claims = _verified(token, entry, key, header["alg"])
        caller = self._mapped(claims, entry)
        self._good[digest] = (caller, float(claims["exp"]) + entry.leeway_seconds, keys, keys.version)
        if len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return caller

    def _issuer_of(self, token: str) -> tuple[IssuerEntry, SigningKeys, dict[str, Any]]:
        """The issuer that the token names, without trusting it. The algorithm is settled before a key is looked up."""
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise refused("the token is not known here")
        try:
            header = jwt.get_unverified_header(token)
            claimed = jwt.decode(token, options={"verify_signature": False})
        except _MALFORMED:
            raise refused("the token is not known here") from None
        issuer = claimed.get("iss")
        found = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if found is None:
            raise refused("the token's issuer is not known here")
        entry, keys = found
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in entry.algorithms:
            raise refused("the token is signed with an algorithm that is not accepted")
        return entry, keys, header

    def _mapped(self, claims: Mapping[str, Any], entry: IssuerEntry) -> Caller:
        value = _claim(claims, entry.identity_claim)
        if not isinstance(value, str) or not value:
            raise refused(f"the token has no claim {entry.identity_claim!r} to name the caller by")
        # Lower case: identities that differ by case only must never count as two people.
        try:
            identity = checked_identity(f"{entry.identity_prefix}{value}".lower(), entry.identity_claim)
        except RpcFailure as failure:
            raise refused(f"the token's identity cannot be used: {failure.message}") from None
        if self._by_appearance.get(appearance(identity), identity) != identity:
            raise refused("the token's identity looks like another one that is known here")
        groups = _claim(claims, entry.roles_claim) if entry.roles_claim else ()
        names = groups.split() if isinstance(groups, str) else groups if isinstance(groups, list) else ()
        roles = frozenset(role for name in names if isinstance(name, str) for role in entry.roles.get(name, ()))
        return Caller(identity, roles, authenticated=True, scope=scope_of(self._scopes, identity, roles))


def refused(message: str) -> RpcFailure:
    """UNAUTHENTICATED with this message, which quotes nothing of the token."""
    return RpcFailure(grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", message)


def _verified(token: str, entry: IssuerEntry, key: dict[str, Any], algorithm: str) -> dict[str, Any]:
    if key.get("alg", algorithm) != algorithm:
        raise refused("the token is signed with an algorithm that is not its key's")
    try:
        # The key is built for the accepted algorithm: of another type it is refused here.
        verifying = jwt.PyJWK(key, algorithm=algorithm)
        return jwt.decode(
            token,
            verifying,
            algorithms=[algorithm],
            audience=entry.audience,
            issuer=entry.issuer,
            leeway=entry.leeway_seconds,
            options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
        )
    except jwt.ExpiredSignatureError:
        raise refused("the token has expired") from None
    except jwt.ImmatureSignatureError:
        raise refused("the token is not valid yet") from None
    except jwt.InvalidAudienceError:
        raise refused("the token is meant for another audience") from None
    except jwt.MissingRequiredClaimError as error:
        raise refused(f"the token lacks the claim {error.claim!r}") from None
    except _MALFORMED:
        raise refused("the token's signature is wrong") from None


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by name; dots go into nested ones, as in realm_access.roles."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
