"""What the tokens file says of an identity's roles, without a call of theirs."""

from __future__ import annotations

from pathlib import Path

from plangate_core.rpc.identity.authenticator import Authenticator
from plangate_core.rpc.settings import ServerSettings

_TOKENS = f"""\
tokens:
  - {{sha256: "{1:064x}", identity: alice, roles: [reviewer]}}
  - {{sha256: "{2:064x}", identity: alice, roles: [finance], expires: 2020-01-01T00:00:00Z}}
"""
_ISSUER = """\
issuers:
  - {issuer: "https://login.example", audience: plangate, algorithms: [RS256], jwks: keys.json, identity_prefix: "%s"}
"""


def roles_of(tmp_path: Path, text: str, *identities: str) -> list[frozenset[str] | None]:
    file = tmp_path / "tokens.yaml"
    file.write_text(text)
    (tmp_path / "keys.json").write_text('{"keys": []}')
    authenticator = Authenticator(ServerSettings(auth_tokens_file=file))
    return [authenticator.roles_of(identity) for identity in identities]


def test_all_credentials_of_an_identity_count_and_none_is_no_role(tmp_path: Path) -> None:
    assert roles_of(tmp_path, _TOKENS, "alice", "bob") == [frozenset({"reviewer", "finance"}), frozenset()]
    assert Authenticator(ServerSettings()).roles_of("alice") is None


def test_those_who_may_have_tokens_of_an_issuer_are_not_known(tmp_path: Path) -> None:
    alice = frozenset({"reviewer", "finance"})
    assert roles_of(tmp_path, _TOKENS + _ISSUER % "", "alice", "bob") == [alice, None]
    assert roles_of(tmp_path, _TOKENS + _ISSUER % "sso:", "alice", "bob", "sso:bob") == [alice, frozenset(), None]
