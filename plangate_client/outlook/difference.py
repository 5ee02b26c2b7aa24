"""What changed between two versions of a proposal, as far as a decision depends on it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC
from typing import TypeAlias

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.outlook.facts import fact_values, json_of, why_no_fact
from plangate_core.contract.struct_codec import JsonValue

Facts: TypeAlias = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs; `path` is "action_args.amount" for an argument. None: the value is not there."""

    path: str
    old: JsonValue
    new: JsonValue


def decisive_facts(proposal: proposal_pb2.Proposal) -> Facts:
    """What a reviewer decides on: all that the proposal says and requires, but neither approvals nor state."""
    facts: Facts = {
        "action_name": proposal.action_name,
        "description": proposal.description,
        "evidence": proposal.evidence,
        "priority": proposal.priority,
        "required_approvals": proposal.required_approvals,
        "reviewer_role": proposal.reviewer_role,
        "approval_requirements": [f"{entry.count} {entry.role}" for entry in proposal.approval_requirements],
        "depends_on": list(proposal.depends_on),
        "on_refusal": plan_pb2.OnRefusal.Name(proposal.on_refusal),
        "effect_key": proposal.effect_key,
        "assumed": list(proposal.assumed),
        "notices": [f"{notice.reason}: {notice.message}" for notice in proposal.notices],
        "labels": dict(sorted(proposal.labels.items())),
        "expire_time": proposal.expire_time.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M UTC")
        if proposal.HasField("expire_time")
        else None,
        "decision": plan_pb2.Effect.Name(proposal.decision.effect),
        "decision.rule": proposal.decision.rule,
        "decision.reason": proposal.decision.reason,
    }
    for number, fact in enumerate(proposal.facts, start=1):
        facts[f"facts.{number} {fact.action_name}"] = why_no_fact(fact) or fact_values(fact)
    facts.update({f"action_args.{name}": value for name, value in json_of(proposal.action_args).items()})
    return facts


def fingerprint(proposal: proposal_pb2.Proposal) -> str:
    """SHA-256 (hex) over the decisive facts: equal for two versions that ask a reviewer for the same decision."""
    text = json.dumps(decisive_facts(proposal), ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def changes(old: proposal_pb2.Proposal, new: proposal_pb2.Proposal) -> list[Change]:
    """The decisive facts that differ, arguments first."""
    before, after = decisive_facts(old), decisive_facts(new)
    paths = sorted(before.keys() | after.keys(), key=lambda path: (not path.startswith("action_args."), path))
    return [
        Change(path, before.get(path), after.get(path))
        for path in paths
        if not _same(before.get(path), after.get(path)) or (path in before) != (path in after)
    ]


def _same(old: JsonValue, new: JsonValue) -> bool:
    # Not by ==: to Python 1 and true are equal.
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
