"""A proposal from claim to end: leased to one executor at a time, in a bounded number of attempts."""

from store_service.domain.actor import Actor
from store_service.domain.errors import LeaseLost, ModelApproval
from store_service.domain.events import EventKind
from store_service.domain.instant import Instant, Micros
from store_service.domain.lease import Failure
from store_service.domain.lifecycle import PROPOSAL_LIFECYCLE, ProposalCommand
from store_service.domain.proposal import Proposal, ProposalState
from store_service.domain.rules import Rules


def claim(proposal: Proposal, executor: Actor, now: Instant, duration: Micros) -> tuple[Proposal, EventKind]:
    """EXECUTING, under a lease with the next attempt as its token. The caller checked `is_claimable`."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.CLAIM)
    claimed = proposal.leased_to(
        executor, now, duration, state=ProposalState.EXECUTING, execute_time=now, result_json=None
    )
    return claimed, EventKind.PROPOSAL_CLAIMED


def renew(
    proposal: Proposal, executor: Actor, attempt: int, now: Instant, duration: Micros
) -> tuple[Proposal, EventKind]:
    """With the lease prolonged; `cancel_requested` tells the executor to stop."""
    proposal.held(executor, attempt)
    if proposal.state is ProposalState.UNRESOLVED:
        # The work may go on elsewhere by now; only its outcome is still taken.
        raise LeaseLost(attempt, proposal.attempt)
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.RENEW)
    return proposal.renewed(executor, attempt, now, duration), EventKind.PROPOSAL_LEASE_RENEWED


def complete(
    proposal: Proposal, executor: Actor, attempt: int, now: Instant, *, result_json: str
) -> tuple[Proposal, EventKind]:
    """EXECUTED, even when a cancel was requested: it happened."""
    proposal.held(executor, attempt)
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.COMPLETE)
    done = proposal.changed(
        executor, now, state=ProposalState.EXECUTED, lease=None, result_json=result_json, end_time=now
    )
    return done, EventKind.PROPOSAL_EXECUTED


def fail(
    proposal: Proposal,
    executor: Actor,
    attempt: int,
    now: Instant,
    *,
    failure: Failure,
    retryable: bool,
    retry_delay: Micros,
    result_json: str | None,
    not_started: bool = False,
) -> tuple[Proposal, EventKind]:
    """APPROVED again after `retry_delay` while attempts are left and it is retryable, else FAILED; CANCELLED when a
    cancel was requested. `not_started`: it was given back, so this attempt does not count."""
    proposal.held(executor, attempt)
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.FAIL)
    reported = proposal.evolve(result_json=result_json, returned_attempts=proposal.returned_attempts + int(not_started))
    failed, kind = _given_back(
        reported, executor, now, failure, retryable=retryable or not_started, retry_delay=retry_delay
    )
    returned = not_started and kind is EventKind.PROPOSAL_RETRIED
    return failed, EventKind.PROPOSAL_RETURNED if returned else kind


def resolve(
    proposal: Proposal,
    actor: Actor,
    now: Instant,
    rules: Rules,
    *,
    done: bool,
    retry: bool,
    result_json: str | None,
    reason: str,
) -> tuple[Proposal, EventKind]:
    """EXECUTED when the action was carried out. When it was not: CANCELLED when a cancel was requested, APPROVED again
    with `retry` (the execution does not count), else FAILED. Raises ModelApproval."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.RESOLVE)
    if rules.acts_for_a_model(actor):
        raise ModelApproval(actor.via or actor.identity)
    if done:
        resolved = proposal.changed(
            actor,
            now,
            state=ProposalState.EXECUTED,
            lease=None,
            failure=None,
            result_json="{}" if result_json is None else result_json,
            end_time=now,
        )
        return resolved, EventKind.PROPOSAL_RESOLVED
    failure = Failure("NOT_DONE", reason)
    uncounted = proposal.evolve(returned_attempts=proposal.returned_attempts + 1)
    given, _ = _given_back(uncounted, actor, now, failure, retryable=retry, retry_delay=0)
    return given, EventKind.PROPOSAL_RESOLVED


def expire_lease(proposal: Proposal, actor: Actor, now: Instant) -> tuple[Proposal, EventKind]:
    """UNRESOLVED, as the outcome is not known. An idempotent one is as after a failure that may be retried at once."""
    PROPOSAL_LIFECYCLE.require(proposal.state, ProposalCommand.EXPIRE_LEASE)
    failure = Failure("LEASE_EXPIRED", "the executor's lease ran out")
    if not proposal.idempotent:
        unresolved = proposal.changed(actor, now, state=ProposalState.UNRESOLVED, failure=failure)
        return unresolved, EventKind.PROPOSAL_UNRESOLVED
    return _given_back(proposal, actor, now, failure, retryable=True, retry_delay=0)


def _given_back(
    proposal: Proposal, actor: Actor, now: Instant, failure: Failure, *, retryable: bool, retry_delay: Micros
) -> tuple[Proposal, EventKind]:
    if proposal.cancel_requested:
        state, kind = ProposalState.CANCELLED, EventKind.PROPOSAL_CANCELLED
    elif retryable and proposal.attempts_left:
        not_before_time = now + retry_delay if retry_delay > 0 else None
        retried = proposal.changed(
            actor, now, state=ProposalState.APPROVED, lease=None, failure=failure, not_before_time=not_before_time
        )
        return retried, EventKind.PROPOSAL_RETRIED
    else:
        state, kind = ProposalState.FAILED, EventKind.PROPOSAL_FAILED
    return proposal.changed(actor, now, state=state, lease=None, failure=failure, end_time=now), kind
