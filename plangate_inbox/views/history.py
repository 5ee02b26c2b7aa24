"""The log in words, and what revisions changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.outlook.difference import Change, changes

KINDS_IN_WORDS = {
    "plan.created": "requested the plan",
    "plan.claimed": "began to plan",
    "plan.lease_renewed": "goes on planning",
    "plan.planned": "finished the plan",
    "plan.requeued": "put the plan back into the queue",
    "plan.returned": "gave the plan back",
    "plan.failed": "could not make a plan",
    "plan.cancelled": "cancelled the plan",
    "plan.deleted": "deleted the plan",
    "plan.purged": "removed the plan for good",
    "proposal.created": "proposed it",
    "proposal.approved_by_policy": "proposed it; policy allows it without review",
    "proposal.updated": "revised it",
    "proposal.submitted": "submitted it for review",
    "proposal.approval_given": "approved it; more approvals are needed",
    "proposal.approval_withdrawn": "took the approval back",
    "proposal.approved": "approved it",
    "proposal.notice_added": "added a notice for its reviewers",
    "proposal.fact_recorded": "reported what was looked up for its reviewers",
    "proposal.reconsidered": "looked at it again under the policy in force now",
    "proposal.returned_to_review": "sent it back to review",
    "proposal.rejected": "rejected it",
    "proposal.cancel_requested": "asked to stop it",
    "proposal.cancelled": "cancelled it",
    "proposal.claimed": "began to carry it out",
    "proposal.lease_renewed": "goes on carrying it out",
    "proposal.executed": "carried it out",
    "proposal.retried": "failed; it will be tried again",
    "proposal.returned": "gave it back without having begun",
    "proposal.failed": "failed for good",
    "proposal.expired": "let it expire",
    "proposal.break_glass_requested": "asked for it to be executed without review (break-glass)",
    "proposal.approved_by_break_glass": "had it approved without review (break-glass)",
    "proposal.unresolved": "found that its outcome is unknown",
    "proposal.resolved": "reported the outcome",
    "proposal.deleted": "deleted it",
    "proposal.purged": "removed it for good",
}
"""What the actor did, by kind of event."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One edit, with what it changed."""

    event: event_pb2.Event
    changes: tuple[Change, ...]


def in_words(event: event_pb2.Event) -> str:
    """What the actor did; the kind itself where there are no words for it."""
    return KINDS_IN_WORDS.get(event.kind, event.kind)


def snapshots(events: Iterable[event_pb2.Event]) -> dict[int, proposal_pb2.Proposal]:
    """The proposal by version, from events in the RESOURCE view."""
    return {event.version: event.proposal for event in events if event.HasField("proposal")}


def revisions(events: Iterable[event_pb2.Event]) -> list[Revision]:
    """The edits among a proposal's events (RESOURCE view, oldest first) that changed what is decided on."""
    found: list[Revision] = []
    before: proposal_pb2.Proposal | None = None
    for event in events:
        if not event.HasField("proposal"):
            continue
        if before is not None and event.kind == "proposal.updated":
            changed = [each for each in changes(before, event.proposal) if not each.path.startswith("facts.")]
            if changed:
                found.append(Revision(event, tuple(changed)))
        before = event.proposal
    return found
