"""One proposal: everything that a decision looks at, and the forms that decide."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from starlette.requests import Request
from starlette.responses import Response

from plangate_client.calls import new_request_id
from plangate_client.outlook.dependencies import FINAL_STATES, after_approval, falls_with, next_step, waits_for
from plangate_client.outlook.difference import fingerprint
from plangate_client.outlook.facts import fact_values, facts_outstanding, json_of, why_no_fact
from plangate_client.outlook.waiting import (
    approvals_missing,
    approvals_text,
    has_approved,
    has_expired,
    may_break_glass,
    may_reject,
    requirements,
    why_mine,
    why_not_mine,
)
from plangate_core.contract.enum_names import enum_name
from plangate_inbox.pages.listing import read_waiting
from plangate_inbox.pages.reading import Review, id_of, read_review
from plangate_inbox.views.arguments import Argument, arguments, value_text
from plangate_inbox.views.history import in_words, revisions
from plangate_inbox.views.steps import steps
from plangate_inbox.web.rendering import render
from plangate_inbox.web.sessions import Session

_NONE: frozenset[str] = frozenset()
NOTICES = {
    "approve": "You approved it.",
    "reject": "You rejected it.",
    "withdraw": "You took your approval back.",
    "revise": "You revised it. It was checked and governed again; earlier approvals do not count any more.",
    "cancel": "You cancelled it.",
    "break-glass": "You were one of the two admins who override its review.",
    "resolve": "You reported the outcome.",
}


async def show_proposal(request: Request) -> Response:
    """The review page.

    A page that refreshes itself says with `shown` what its reader decides on. When that has changed, only a
    notice is sent: what is read must not change under the reader's hands.
    """
    session: Session = request.state.session
    review = await read_review(session, id_of(request))
    shown = request.query_params.get("shown")
    if shown is not None and shown != fingerprint(review.proposal):
        response: Response = render(request, "changed_notice.html", {"proposal": review.proposal})
        response.headers.update({"HX-Retarget": "#changed", "HX-Reswap": "innerHTML", "HX-Reselect": "#changed-notice"})
        return response
    notice = NOTICES.get(request.query_params.get("notice", ""), "")
    context = review_context(session, review, notice=notice)
    if notice:
        upcoming = await read_waiting(session, page_size=2)
        context["upcoming"] = next((other for other in upcoming.proposals if other.id != review.proposal.id), None)
    return render(request, "proposal.html", context)


def review_context(session: Session, review: Review, *, notice: str = "", error: str = "") -> dict[str, Any]:
    """What the review page's template shows."""
    now = datetime.now(UTC)
    proposal, siblings, reviewer = review.proposal, review.siblings, session.reviewer
    changed = revisions(review.events)
    refusal = why_not_mine(proposal, reviewer, now)
    falls = falls_with(proposal, siblings) if proposal.state not in FINAL_STATES else []
    return {
        "proposal": proposal,
        "plan": review.plan,
        "action": review.action,
        "state": "EXPIRED" if _waits_too_long(proposal, now) else enum_name(proposal, "state"),
        "sentence": next_step(proposal, siblings),
        "arguments": arguments(json_of(proposal.action_args), review.schema, frozenset(proposal.assumed)),
        "facts": [
            (fact, why_no_fact(fact), arguments(json_of(fact.action_args), None, _NONE), _values(fact))
            for fact in proposal.facts
        ],
        "facts_outstanding": facts_outstanding(proposal),
        "result": value_text(json_of(proposal.result)) if proposal.HasField("result") else "",
        "steps": steps(review.plan, siblings) if review.plan is not None else [],
        "blockers": waits_for(proposal, siblings),
        "falls": falls,
        "requirements": approvals_text(requirements(proposal)),
        "missing": approvals_text(approvals_missing(proposal)),
        "why_mine": why_mine(proposal, reviewer),
        "glass": next((each for each in proposal.approvals if each.break_glass), None),
        "may_approve": not refusal,
        "refusal": refusal,
        "after_approval": after_approval(proposal, siblings, reviewer),
        "may_reject": may_reject(proposal, reviewer, now),
        "may_withdraw": proposal.state == proposal_pb2.PROPOSAL_STATE_PENDING
        and has_approved(proposal, reviewer.identity),
        "may_revise": proposal.state in (proposal_pb2.PROPOSAL_STATE_DRAFT, proposal_pb2.PROPOSAL_STATE_PENDING)
        and (reviewer.reviews or reviewer.identity == proposal.created_by),
        "may_cancel": proposal.state not in FINAL_STATES
        and not proposal.cancel_requested
        and (reviewer.reviews or reviewer.identity == proposal.created_by),
        "may_break_glass": may_break_glass(proposal, reviewer, now),
        "may_resolve": proposal.state == proposal_pb2.PROPOSAL_STATE_UNRESOLVED
        and not reviewer.roles.isdisjoint({"reviewer", "executor", "admin"}),
        "revisions": changed,
        "before": {entry.path: entry.old for revision in reversed(changed) for entry in revision.changes},
        "history": [(event, in_words(event)) for event in review.events],
        "fingerprint": fingerprint(proposal),
        "request_id": new_request_id(),
        "notice": notice,
        "error": error,
        "upcoming": None,
    }


def _waits_too_long(proposal: proposal_pb2.Proposal, now: datetime) -> bool:
    return proposal.state == proposal_pb2.PROPOSAL_STATE_PENDING and has_expired(proposal, now)


def _values(fact: plan_pb2.Fact) -> list[Argument]:
    return arguments(fact_values(fact), None, _NONE)
