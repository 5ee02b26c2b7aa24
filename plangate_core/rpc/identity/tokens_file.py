"""The tokens file: which tokens, client certificates and issuers of JSON Web Tokens prove which identities.

tokens:
  - {sha256: "9f86...", identity: alice, roles: [reviewer, finance], expires: 2027-03-31T00:00:00Z}
certificates:
  - {san: "spiffe://example.org/runner", identity: runner, roles: [executor]}
issuers:
  - issuer: https://login.example.org
    audience: plangate
    algorithms: [RS256]
    jwks: https://login.example.org/keys
    identity_claim: email
    roles_claim: groups
    roles: {plangate-reviewers: [reviewer], finance-leads: [reviewer, finance]}
scopes:
  - {roles: [admin], reads: all}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import yaml
from pydantic import AwareDatetime, Field, ValidationError, model_validator

from plangate_core.rpc.address import is_local
from plangate_core.rpc.identity.caller import Caller, checked_identity, look_alikes
from plangate_core.rpc.identity.scopes_table import FileEntry, ScopeEntry, scope_of
from plangate_core.rpc.status import RpcFailure

_MAX_DEPTH = 20
_LOADER: type[yaml.CSafeLoader | yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class TokensFileInvalid(Exception):
    """The tokens file cannot be used; the message says why, on one line."""


class _Credential(FileEntry):
    identity: str
    roles: frozenset[str] = frozenset()


class _Token(_Credential):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires: AwareDatetime | None = None


class _Certificate(_Credential):
    san: str = ""
    common_name: str = ""

    @model_validator(mode="after")
    def _one_name(self) -> _Certificate:
        if bool(self.san) == bool(self.common_name):
            raise ValueError("give either san or common_name")
        return self


class IssuerEntry(FileEntry):
    """An OpenID Connect provider, or anybody else who signs JSON Web Tokens."""

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    # Signatures by public key only: a shared secret would let every server that checks tokens make them.
    algorithms: frozenset[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
    ] = Field(min_length=1)
    jwks: str = Field(min_length=1)
    identity_claim: str = "sub"
    identity_prefix: str = ""
    roles_claim: str = ""
    roles: Mapping[str, frozenset[str]] = {}
    refresh_seconds: float = Field(default=300, ge=10, le=86_400)
    stale_seconds: float = Field(default=3_600, ge=10, le=604_800)
    leeway_seconds: float = Field(default=30, ge=0, le=300)

    @model_validator(mode="after")
    def _keys_cannot_be_replaced_on_the_way(self) -> IssuerEntry:
        if self.jwks.startswith("http://") and not is_local(self.jwks.removeprefix("http://").partition("/")[0]):
            raise ValueError("jwks must be a file, or a URL that begins with https://")
        return self


class _File(FileEntry):
    tokens: tuple[_Token, ...] = ()
    certificates: tuple[_Certificate, ...] = ()
    issuers: tuple[IssuerEntry, ...] = ()
    scopes: tuple[ScopeEntry, ...] = ()

    @model_validator(mode="after")
    def _somebody_may_call(self) -> _File:
        if not (self.tokens or self.certificates or self.issuers):
            raise ValueError("there must be tokens, certificates or issuers")
        return self


@dataclass(frozen=True)
class KnownToken:
    """Whom a token proves, and until when."""

    caller: Caller
    expires: datetime | None = None


@dataclass(frozen=True)
class Identities:
    """A tokens file as it was read. Tokens by SHA-256 digest; certificates by property of the TLS session and value."""

    tokens: Mapping[bytes, KnownToken] = field(default_factory=dict)
    certificates: Mapping[tuple[str, bytes], Caller] = field(default_factory=dict)
    issuers: Mapping[str, IssuerEntry] = field(default_factory=dict)
    scopes: Sequence[ScopeEntry] = ()

    def roles(self) -> frozenset[str]:
        """Every role that some credential gives."""
        held = [token.caller.roles for token in self.tokens.values()]
        held += [caller.roles for caller in self.certificates.values()]
        held += [roles for issuer in self.issuers.values() for roles in issuer.roles.values()]
        return frozenset().union(*held)

    def roles_of(self, identity: str) -> frozenset[str] | None:
        """The roles that tokens and certificates give an identity; None when none is its."""
        return self._held.get(identity)

    def scope_warnings(self) -> Iterator[str]:
        """Roles and identities of `scopes` that no credential gives, each with its place."""
        roles = self.roles()
        prefixes = tuple(issuer.identity_prefix for issuer in self.issuers.values())
        for index, row in enumerate(self.scopes):
            for role in sorted(row.roles - roles):
                yield f"scopes.{index}.roles: no credential gives the role {role!r}"
            for identity in sorted(row.identities - self._held.keys()):
                if not identity.startswith(prefixes):
                    yield f"scopes.{index}.identities: no credential proves the identity {identity!r}"

    @cached_property
    def _held(self) -> Mapping[str, frozenset[str]]:
        held: dict[str, frozenset[str]] = {}
        for caller in (*(token.caller for token in self.tokens.values()), *self.certificates.values()):
            held[caller.identity] = held.get(caller.identity, frozenset()) | caller.roles
        return held


SAN = "x509_subject_alternative_name"
COMMON_NAME = "x509_common_name"


def read_tokens_file(path: Path) -> Identities:
    """Read and check the file. Raises TokensFileInvalid."""
    try:
        file = _File.model_validate(_document(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise TokensFileInvalid(f"the tokens file cannot be read: {error.strerror}: {path}") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        fault = first["msg"].removeprefix("Value error, ")
        raise TokensFileInvalid(f"the tokens file is wrong at {place or 'its root'}: {fault}: {path}") from error
    except Exception as error:
        # Dates that no calendar has and numbers of thousands of digits are errors of Python's, not of YAML's.
        raise TokensFileInvalid(f"the tokens file is not YAML: {path}") from error
    credentials: tuple[_Credential, ...] = (*file.tokens, *file.certificates)
    if alike := look_alikes(credential.identity for credential in credentials):
        raise TokensFileInvalid(
            f"the tokens file has identities that differ by case or look alike: {alike[0]!r} and {alike[1]!r}: {path}"
        )
    tokens: dict[bytes, KnownToken] = {}
    for token in file.tokens:
        if (digest := bytes.fromhex(token.sha256)) in tokens:
            raise TokensFileInvalid(f"the tokens file gives one token to two identities: {path}")
        tokens[digest] = KnownToken(_caller(token, file.scopes, path), token.expires)
    certificates: dict[tuple[str, bytes], Caller] = {}
    for entry in file.certificates:
        key = (SAN, entry.san.encode()) if entry.san else (COMMON_NAME, entry.common_name.encode())
        if key in certificates:
            raise TokensFileInvalid(f"the tokens file gives one certificate to two identities: {path}")
        certificates[key] = _caller(entry, file.scopes, path)
    issuers = {issuer.issuer: issuer for issuer in file.issuers}
    if len(issuers) != len(file.issuers):
        raise TokensFileInvalid(f"the tokens file names an issuer twice: {path}")
    return Identities(tokens, certificates, issuers, file.scopes)


def _caller(entry: _Credential, scopes: Sequence[ScopeEntry], path: Path) -> Caller:
    try:
        identity = checked_identity(entry.identity, "identity")
    except RpcFailure as failure:
        raise TokensFileInvalid(f"the tokens file: {failure.message}: {path}") from failure
    return Caller(identity, entry.roles, authenticated=True, scope=scope_of(scopes, identity, entry.roles))


def _document(text: str) -> object:
    """As yaml.safe_load, and ten times as fast where PyYAML has libyaml: calls wait while a changed file is read."""
    depth = 0
    for event in yaml.parse(text, _LOADER):
        # libyaml's composer recurses until the process has no stack left.
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise yaml.YAMLError("nested too deeply")
    return yaml.load(text, _LOADER)  # noqa: S506 - both loaders are safe ones
