"""All faults of a document in one run, each with its place."""

from __future__ import annotations

import re

import pytest

from plangate_core.catalogue.catalogue import CatalogueInvalid, parse_catalogue
from plangate_core.catalogue.document import MAX_FAULTS
from planner_service.governance.policy_file import PolicyInvalid, parse_policy

CATALOGUE = """version: 2
actions:
  - name: 1a
    descripton: typo
    risk: huge
    parameters:
      properties:
        x: {type: strnig, pattern: "("}
        y: {$ref: "#/$defs/none", default: no}
  - name: b
    description: b
    colour: red
    policy: {effect: allow, role: x}
    parameters: {properties: {n: {const: 9007199254740992}}}
  - {name: b, description: again, parameters: {type: array}}
  - 3
"""


def test_all_faults_of_a_catalogue() -> None:
    with pytest.raises(CatalogueInvalid) as caught:
        parse_catalogue(CATALOGUE)
    expected = [
        (1, 10, "version"),
        (3, 11, "actions.0.name"),
        (4, 17, "actions.0.descripton: there is no such field"),
        (5, 11, "actions.0.risk"),
        (8, 19, "not a JSON Schema: "),
        (8, 36, "the pattern '(' cannot be used"),
        (9, 19, "leads to no schema"),
        (9, 44, "put it in quotes"),
        (3, 5, "actions.0.description: Field required"),
        (12, 13, "actions.1.colour: there is no such field"),
        (14, 42, "2^53 or more"),
        (15, 54, "type must be object"),
        (16, 5, "a mapping is expected here"),
    ]
    found = [(fault.line, fault.column, fault.message) for fault in caught.value.faults]
    assert [(line, column) for line, column, _ in found] == [(line, column) for line, column, _ in expected]
    for (_, _, message), (_, _, words) in zip(found, expected, strict=True):
        assert words in message
    assert str(caught.value).startswith("line:1:10: version: ")
    assert str(caught.value).endswith(f" (and {len(found) - 1} more faults)")
    assert all(re.match(r"line:\d+:\d+: ", line) for line in caught.value.lines())


def test_all_faults_of_a_policy() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(
            "version: 1\nrules:\n"
            "- {name: a, effect: alow}\n"
            "- {name: b, effect: deny, when: 'args.x =='}\n"
            "- {name: c, effect: deny, role: x}\n"
            "- {name: d, effect: deny, match: {acton: x}}\n"
            "- {name: c, effect: deny}\n"
        )
    assert [(fault.line, fault.column) for fault in caught.value.faults] == [
        (3, 21),
        (4, 33),
        (5, 33),
        (6, 42),
        (7, 10),
    ]


def test_one_fault_says_nothing_of_others() -> None:
    with pytest.raises(CatalogueInvalid) as caught:
        parse_catalogue("version: 1\nactions: [{name: a, description: b, risk: huge}]")
    assert len(caught.value.faults) == 1
    assert "more fault" not in str(caught.value)


def test_of_very_many_faults_the_first_are_shown() -> None:
    with pytest.raises(CatalogueInvalid) as caught:
        parse_catalogue("version: 1\nactions:\n" + "- {name: 1}\n" * 500)
    assert len(caught.value.faults) == MAX_FAULTS + 1
    assert caught.value.faults[-1].message == f"{1_000 - MAX_FAULTS} more faults are not shown"
