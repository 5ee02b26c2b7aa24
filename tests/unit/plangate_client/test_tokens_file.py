"""Who may call is added and struck off without touching a digest."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plangate_client.servers.tokens_file import TokensRefused, add_token, revoke
from plangate_core.rpc.identity.tokens_file import TokensFileInvalid, read_tokens_file


def test_a_token_that_was_added_is_known_until_it_is_revoked(tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    token = add_token(file, "dora", ["reviewer", "finance"])
    assert file.stat().st_mode & 0o777 == 0o600
    caller = read_tokens_file(file).tokens[hashlib.sha256(token.encode()).digest()].caller
    assert (caller.identity, caller.roles) == ("dora", {"reviewer", "finance"})
    ends = datetime(2030, 1, 1, tzinfo=UTC)
    add_token(file, "emil", [], expires=ends)
    add_token(file, "dora", ["reviewer"])
    known = read_tokens_file(file).tokens.values()
    assert [(each.caller.identity, each.expires) for each in known] == [("dora", None), ("emil", ends), ("dora", None)]
    assert revoke(file, "dora") == 2
    assert [each.caller.identity for each in read_tokens_file(file).tokens.values()] == ["emil"]


def test_what_a_server_would_refuse_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    add_token(file, "dora", [])
    before = file.read_bytes()
    with pytest.raises(TokensFileInvalid, match="must not begin with"):
        add_token(file, "system:sweeper", [])
    with pytest.raises(TokensRefused, match="no token of emil"):
        revoke(file, "emil")
    with pytest.raises(TokensRefused, match="the only token"):
        revoke(file, "dora")
    assert file.read_bytes() == before
    file.write_text("tokens: 3")
    with pytest.raises(TokensFileInvalid):
        add_token(file, "emil", [])
    assert file.read_text() == "tokens: 3"
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.yaml"]
