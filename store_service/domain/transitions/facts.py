"""What reviewers see before they decide: fetched by proposals of their own, and kept on the one that is reviewed."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from plangate_core.contract.limits import MAX_FACT_BYTES
from store_service.domain.actor import Actor
from store_service.domain.canonical import args_digest
from store_service.domain.events import EventKind
from store_service.domain.instant import Instant
from store_service.domain.lease import Failure
from store_service.domain.lifecycle import PROPOSAL_LIFECYCLE, ProposalCommand
from store_service.domain.proposal import Decision, Effect, Fact, Proposal, ProposalState
from store_service.domain.rules import Rules
from store_service.domain.transitions.review import attributed

_ATTEMPTS = 3


def with_fetches(
    proposal: Proposal, facts: Sequence[Fact], actor: Actor, now: Instant, rules: Rules, new_id: Callable[[], str]
) -> tuple[Proposal, list[tuple[Proposal, EventKind]]]:
    """The proposal with these facts, and for each that policy allows a proposal that fetches it."""
    kept: list[Fact] = []
    fetches: list[tuple[Proposal, EventKind]] = []
    for fact in facts:
        decision = attributed(fact.decision or Decision(Effect.REQUIRE_APPROVAL), actor, rules)
        failure = fact.failure
        if failure is None and decision.effect is not Effect.ALLOW:
            failure = Failure("NOT_ALLOWED", "policy does not allow looking it up without approval")
        if failure is not None:
            kept.append(replace(fact, decision=None, failure=failure, end_time=now))
            continue
        fetch = _fetch(proposal, fact, decision, actor, now, rules, new_id())
        fetches.append((fetch, EventKind.PROPOSAL_APPROVED_BY_POLICY))
        kept.append(replace(fact, decision=None, proposal_id=fetch.id))
    return proposal.evolve(facts=tuple(kept)), fetches


def record(proposal: Proposal, ended: Proposal, actor: Actor, now: Instant) -> tuple[Proposal, EventKind]:
    """With what the end of a proposal that fetches a fact says of it."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.RECORD_FACT)
    facts = tuple(
        _ended(fact, ended, now) if fact.proposal_id == ended.id and fact.end_time is None else fact
        for fact in proposal.facts
    )
    return proposal.changed(actor, now, facts=facts), EventKind.PROPOSAL_FACT_RECORDED


def _ended(fact: Fact, ended: Proposal, now: Instant) -> Fact:
    result = ended.result_json if ended.state is ProposalState.EXECUTED else None
    if result is not None and len(result.encode()) <= MAX_FACT_BYTES:
        return replace(fact, result_json=result, end_time=now)
    if result is not None:
        failure = Failure("TOO_LARGE", f"the result has {len(result.encode())} bytes, and {MAX_FACT_BYTES} are shown")
    elif ended.state is ProposalState.EXPIRED:
        failure = Failure("EXPIRED", "no executor fetched it in time")
    else:
        failure = ended.failure or Failure(ended.state.value, f"the proposal that fetches it is {ended.state.value}")
    return replace(fact, failure=failure, end_time=now)


def _fetch(
    proposal: Proposal, fact: Fact, decision: Decision, actor: Actor, now: Instant, rules: Rules, new_id: str
) -> Proposal:
    return Proposal.of(
        id=new_id,
        created_by=proposal.created_by,
        updated_by=actor.identity,
        create_time=now,
        update_time=now,
        plan_id=proposal.plan_id,
        action_name=fact.action_name,
        args_json=fact.args_json,
        args_digest=args_digest(fact.args_json),
        description=f"Look up {fact.action_name} for the review of {proposal.job_id or proposal.action_name}",
        # Somebody may be waiting for it in front of a page.
        priority=proposal.priority,
        labels=proposal.labels,
        state=ProposalState.APPROVED,
        decision=decision,
        required_approvals=0,
        max_attempts=_ATTEMPTS,
        submit_time=now,
        review_time=now,
        expire_time=rules.expire_time(decision, now),
        idempotent=True,
        fact_for=proposal.id,
    )
