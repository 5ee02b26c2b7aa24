"""What changed between two versions of a proposal."""

from __future__ import annotations

from typing import Any

from plangate.store.v1 import proposal_pb2

from plangate_client.outlook.difference import Change, changes, fingerprint
from plangate_core.contract.struct_codec import json_to_struct


def proposal(args: dict[str, Any], **fields: Any) -> proposal_pb2.Proposal:
    return proposal_pb2.Proposal(action_name="refund", action_args=json_to_struct(args), **fields)


def test_arguments_come_first_and_one_by_one() -> None:
    old = proposal({"amount": 400, "order": "A-1", "note": "x"}, description="old")
    new = proposal({"amount": 4800, "order": "A-1", "vip": True}, description="new")
    assert changes(old, new) == [
        Change("action_args.amount", 400, 4800),
        Change("action_args.note", "x", None),
        Change("action_args.vip", None, True),
        Change("description", "old", "new"),
    ]
    assert fingerprint(old) != fingerprint(new)


def test_values_of_other_types_differ() -> None:
    assert changes(proposal({"a": 1}), proposal({"a": True})) == [Change("action_args.a", 1, True)]
    assert changes(proposal({"a": None}), proposal({})) == [Change("action_args.a", None, None)]


def test_approvals_and_states_are_no_change_of_what_is_asked() -> None:
    old = proposal({"a": 1}, version=1)
    new = proposal({"a": 1}, version=2, approvals=[{"reviewer": "bob"}], updated_by="bob")
    assert changes(old, new) == []
    assert fingerprint(old) == fingerprint(new)
