"""The table of scopes in the tokens file: what it gives a caller, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plangate_core.contract.scopes import EVERYTHING, Scope, Selection
from plangate_core.rpc.identity.scopes_table import ScopeEntry, scope_of
from plangate_core.rpc.identity.tokens_file import TokensFileInvalid, read_tokens_file

SHOP = Selection((("team", "shop"),))
REFUNDS = Selection(actions=frozenset({"refund"}))
READS_SHOP = {"roles": ["shop"], "reads": {"labels": {"team": "shop"}}}
READS_ALL = {"identities": ["ann"], "reads": "all"}
EXECUTES_REFUNDS = {"roles": ["runner"], "executes": {"actions": ["refund"]}}


@pytest.mark.parametrize(
    ("table", "identity", "roles", "expected"),
    [
        ([], "ann", [], EVERYTHING),
        ([READS_SHOP], "ann", ["admin"], Scope(reads=())),
        ([READS_SHOP], "ann", ["shop"], Scope(reads=(SHOP,))),
        ([READS_SHOP], "planner", ["planner"], EVERYTHING),
        ([READS_SHOP, READS_ALL], "ann", ["shop"], EVERYTHING),
        ([READS_SHOP, READS_ALL], "shop", [], Scope(reads=())),
        ([EXECUTES_REFUNDS], "ann", ["executor"], Scope(executes=())),
        ([EXECUTES_REFUNDS, READS_SHOP], "r1", ["runner"], Scope((REFUNDS,), (REFUNDS,))),
        ([{**EXECUTES_REFUNDS, "executes": "all"}, READS_SHOP], "r1", ["runner"], EVERYTHING),
        ([EXECUTES_REFUNDS, READS_ALL], "p", ["planner"], Scope(executes=())),
    ],
)
def test_what_a_caller_gets(table: list[Any], identity: str, roles: list[str], expected: Scope) -> None:
    assert scope_of([ScopeEntry.model_validate(row) for row in table], identity, frozenset(roles)) == expected


def test_a_selection_takes_all_its_labels_and_one_of_its_actions() -> None:
    both = Selection((("team", "shop"), ("tier", "1")), frozenset({"refund", "void"}))
    labels = {"team": "shop", "tier": "1", "more": "x"}
    assert both.includes(labels, "void")
    assert not both.includes(labels, "restart")
    assert not both.includes(labels, "")
    assert not both.includes({"team": "shop"}, "void")
    family = Selection(actions=frozenset({"shop.*", "look"}))
    assert [name for name in ("shop.refund", "shop", "shopping", "look", "looks", "") if family.includes({}, name)] == [
        "shop.refund",
        "look",
    ]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("{reads: all}", "give roles, identities or both"),
        ("{roles: [shop]}", "give reads, executes or both"),
        ("{roles: [shop], reads: everything}", "scopes.0.reads"),
        ("{roles: [shop], reads: {}}", "give labels, actions or both"),
        ("{roles: [shop], reads: {labels: {Team: shop}}}", "no request can carry such a label"),
        ("{roles: [shop], reads: {labels: {team: ''}}}", "no request can carry such a label"),
        ("{roles: [shop], executes: {actions: ['']}}", "an action is a name"),
        ("{roles: [shop], executes: {actions: ['*']}}", "an action is a name"),
        ("{roles: [shop], executes: {actions: ['sh*op']}}", "an action is a name"),
        ("{roles: [shop], read: all}", "scopes.0.read"),
    ],
)
def test_a_wrong_row_is_refused(tmp_path: Path, row: str, fault: str) -> None:
    file = tmp_path / "tokens.yaml"
    file.write_text(f"tokens: [{{sha256: {'a' * 64}, identity: ann}}]\nscopes:\n- {row}\n")
    with pytest.raises(TokensFileInvalid) as refused:
        read_tokens_file(file)
    assert fault in str(refused.value)


ISSUER = "issuers:\n  - {issuer: i, audience: a, algorithms: [RS256], jwks: /keys, roles: {finance: [payer]}%s}\n"


@pytest.mark.parametrize(
    ("issuer", "rows", "warnings"),
    [
        ("", ["{roles: [shop], identities: [ann], reads: all}"], []),
        (
            "",
            ["{roles: [shop], reads: all}", "{roles: [shpo, shop], identities: [anne], executes: all}"],
            [
                "scopes.1.roles: no credential gives the role 'shpo'",
                "scopes.1.identities: no credential proves the identity 'anne'",
            ],
        ),
        ("", ["{roles: [payer], reads: all}"], ["scopes.0.roles: no credential gives the role 'payer'"]),
        (ISSUER % "", ["{roles: [payer], identities: [anybody@example.org], reads: all}"], []),
        (
            ISSUER % ", identity_prefix: 'ci:'",
            ["{identities: ['ci:deploy', anybody@example.org], reads: all}"],
            ["scopes.0.identities: no credential proves the identity 'anybody@example.org'"],
        ),
    ],
)
def test_rows_about_nobody_are_warned_of(tmp_path: Path, issuer: str, rows: list[str], warnings: list[str]) -> None:
    file = tmp_path / "tokens.yaml"
    token = f"tokens:\n  - {{sha256: '{'0' * 64}', identity: ann, roles: [shop]}}\n"
    file.write_text(token + issuer + "scopes:\n" + "".join(f"  - {row}\n" for row in rows))
    assert list(read_tokens_file(file).scope_warnings()) == warnings
