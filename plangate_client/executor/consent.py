"""Is this what people agreed to? The executor looks for itself before it acts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import rfc8785
from google.protobuf.message import DecodeError
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_core.contract.approval_seats import open_seats
from plangate_core.contract.struct_codec import JsonObject
from plangate_core.text.look_alikes import person_key

_ADDS_APPROVAL = frozenset(
    {
        "proposal.approval_given",
        "proposal.approved",
        "proposal.break_glass_requested",
        "proposal.approved_by_break_glass",
    }
)
# After these, approvals given before do not count any more.
_VOIDS_APPROVALS = frozenset({"proposal.updated", "proposal.returned_to_review"})


def consent_fault(proposal: proposal_pb2.Proposal, args: JsonObject) -> str:
    """Why the arguments are not what was approved; empty when they are.

    Compares the proposal's digest with one made here (SHA-256 of the RFC 8785 canonical JSON), and counts the distinct
    people who approved that digest against what the decision asks for. Identities that look alike are one person.
    """
    digest = hashlib.sha256(rfc8785.dumps(args)).hexdigest()
    if digest != proposal.args_digest:
        return "the arguments do not fit their digest"
    writers = {person_key(who) for who in (proposal.created_by, proposal.revised_by, *proposal.earlier_revisers) if who}
    counted = [
        approval
        for approval in proposal.approvals
        if approval.args_digest == digest and person_key(approval.reviewer) not in writers
    ]
    if len({person_key(approval.reviewer) for approval in counted if approval.break_glass}) >= 2:
        return ""
    missing = open_seats(
        _requirements(proposal), ((each.reviewer, each.roles) for each in counted if not each.break_glass)
    )
    if missing:
        what = ", ".join(f"{count} of the role {role}" if role else str(count) for role, count in missing.items())
        return f"required approvals of these arguments are missing: {what}"
    return ""


def log_fault(proposal: proposal_pb2.Proposal, events: Sequence[event_pb2.Event]) -> str:
    """Why the log does not say of the proposal what the proposal says of itself; empty when it does.

    :param events: all events of the proposal with their snapshots, in the order of the log.
    """
    if [event.version for event in events] != list(range(1, len(events) + 1)) or len(events) < proposal.version:
        return "the log does not hold every version of it"
    try:
        snapshots = [proposal_pb2.Proposal.FromString(event.snapshot) for event in events[: proposal.version]]
    except DecodeError:
        return "the log cannot be read"
    if snapshots[-1] != proposal:
        return "the log says something else of this version"
    decided, given = 0, list[event_pb2.Event]()
    for position, event in enumerate(events[: proposal.version]):
        if position == 0 or event.kind in _VOIDS_APPROVALS:
            decided, given = position, []
        elif event.kind == "proposal.reconsidered":
            decided = position
        elif event.kind in _ADDS_APPROVAL:
            given.append(event)
        elif event.kind == "proposal.approval_withdrawn":
            given = [each for each in given if each.actor != event.actor]
    if sorted(event.actor for event in given) != sorted(approval.reviewer for approval in proposal.approvals):
        return "the log does not hold its approvals"
    if _requirements(snapshots[decided]) != _requirements(proposal):
        return "the log does not hold what its review asks for"
    return ""


def _requirements(proposal: proposal_pb2.Proposal) -> list[tuple[str, int]]:
    """Who must approve: what the decision asks for, and the proposal's own fields where they ask for more."""
    decision, own = proposal.decision, [(proposal.reviewer_role, proposal.required_approvals)]
    if decision.effect == plan_pb2.EFFECT_ALLOW and proposal.required_approvals == 0:
        return []
    if decision.approval_requirements:
        return [(each.role, each.count) for each in decision.approval_requirements]
    if not proposal.HasField("decision"):
        return own if proposal.required_approvals else [("", 1)]
    if proposal.required_approvals < decision.required_approvals or decision.effect != plan_pb2.EFFECT_ALLOW:
        return [(proposal.reviewer_role or decision.reviewer_role, max(1, own[0][1], decision.required_approvals))]
    return own
