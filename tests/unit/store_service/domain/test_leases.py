"""Leases and their tokens, for plans and proposals alike."""

from __future__ import annotations

import pytest

from store_service.domain.actor import Actor
from store_service.domain.errors import LeaseLost, ModelApproval
from store_service.domain.events import EventKind
from store_service.domain.instant import SECOND
from store_service.domain.lease import Leased
from store_service.domain.plan import PlanState
from store_service.domain.proposal import ProposalState
from store_service.domain.rules import Rules
from store_service.domain.transitions import execution, planning
from tests.support.proposals import FAILURE, NOW, WORKER, plan, proposal

OTHER = Actor("worker-2")


@pytest.mark.parametrize("leased", [proposal(ProposalState.EXECUTING), plan(PlanState.PLANNING)])
def test_only_the_holder_with_the_token(leased: Leased) -> None:
    assert leased.held(WORKER, 1).worker == "worker-1"
    for worker, attempt in ((WORKER, 2), (WORKER, 0), (OTHER, 1)):
        with pytest.raises(LeaseLost) as lost:
            leased.held(worker, attempt)
        assert (lost.value.attempt, lost.value.current_attempt) == (attempt, 1)


def test_a_claim_is_the_next_attempt_and_its_token() -> None:
    again = proposal(ProposalState.APPROVED, attempt=1, failure=FAILURE, not_before_time=NOW, result_json="{}")
    claimed, _ = execution.claim(again, OTHER, NOW, 30 * SECOND)
    assert claimed.lease is not None
    assert (claimed.attempt, claimed.lease.attempt, claimed.lease.worker) == (2, 2, "worker-2")
    assert claimed.lease.expire_time == NOW + 30 * SECOND
    assert (claimed.failure, claimed.not_before_time, claimed.result_json) == (None, None, None)


def test_a_lapsed_lease_counts_until_it_is_taken_back() -> None:
    running = proposal(ProposalState.EXECUTING)
    late = NOW + 3600 * SECOND
    assert running.lease_ran_out(late)
    renewed, _ = execution.renew(running, WORKER, 1, late, 10 * SECOND)
    assert not renewed.lease_ran_out(late)
    taken_back, _ = execution.expire_lease(running.evolve(idempotent=True), OTHER, late)
    with pytest.raises(LeaseLost):
        execution.complete(taken_back, WORKER, 1, late, result_json="{}")


def test_what_may_have_been_done_is_not_done_again_by_itself() -> None:
    running, late = proposal(ProposalState.EXECUTING, max_attempts=9), NOW + 3600 * SECOND
    lapsed, kind = execution.expire_lease(running, OTHER, late)
    assert (lapsed.state, kind, lapsed.lease) == (
        ProposalState.UNRESOLVED,
        EventKind.PROPOSAL_UNRESOLVED,
        running.lease,
    )
    assert not lapsed.is_claimable(late)
    # Who held the lease may still say what came of it; nobody else's report counts.
    done, _ = execution.complete(lapsed, WORKER, 1, late, result_json="{}")
    assert (done.state, done.lease) == (ProposalState.EXECUTED, None)
    with pytest.raises(LeaseLost):
        execution.complete(lapsed, OTHER, 1, late, result_json="{}")
    with pytest.raises(LeaseLost):
        execution.renew(lapsed, WORKER, 1, late, SECOND)


@pytest.mark.parametrize(
    ("done", "retry", "cancel_requested", "state"),
    [
        (True, False, False, ProposalState.EXECUTED),
        (True, False, True, ProposalState.EXECUTED),
        (False, False, False, ProposalState.FAILED),
        (False, True, False, ProposalState.APPROVED),
        (False, True, True, ProposalState.CANCELLED),
    ],
)
def test_a_person_says_what_came_of_it(done: bool, retry: bool, cancel_requested: bool, state: ProposalState) -> None:
    running = proposal(ProposalState.EXECUTING, max_attempts=1, cancel_requested=cancel_requested)
    lapsed, _ = execution.expire_lease(running, OTHER, NOW)
    resolved, kind = execution.resolve(
        lapsed, OTHER, NOW, Rules(), done=done, retry=retry, result_json=None, reason="the bank says so"
    )
    assert (resolved.state, kind, resolved.lease) == (state, EventKind.PROPOSAL_RESOLVED, None)
    assert (resolved.failure is None) is done
    if state is ProposalState.APPROVED:
        assert resolved.is_claimable(NOW), "what was not done does not count as an attempt"
    with pytest.raises(ModelApproval):
        execution.resolve(
            lapsed, Actor("planner"), NOW, Rules(), done=done, retry=retry, result_json=None, reason="I think so"
        )


def test_is_claimable() -> None:
    ready = proposal(ProposalState.APPROVED)
    assert ready.is_claimable(NOW)
    assert not ready.evolve(waiting_for=1).is_claimable(NOW)
    assert not ready.evolve(not_before_time=NOW + 1).is_claimable(NOW)
    assert ready.evolve(not_before_time=NOW).is_claimable(NOW)
    assert not ready.evolve(delete_time=NOW).is_claimable(NOW)
    assert not proposal(ProposalState.PENDING).is_claimable(NOW)


def test_planning_backs_off_and_ends_as_a_dead_letter() -> None:
    rules = Rules()
    assert [rules.planning_pause(attempt) // SECOND for attempt in (1, 2, 7, 99)] == [5, 10, 300, 300]
    current = plan(PlanState.QUEUED, max_attempts=2)
    for attempt in (1, 2):
        claimed, _ = planning.claim(current, WORKER, NOW, SECOND)
        current, _ = planning.fail(
            claimed, WORKER, attempt, NOW, rules, failure=FAILURE, generation=b"g", retryable=True, retry_delay=None
        )
        assert current.failure == FAILURE
        assert current.generation == b"g"
        if attempt == 1:
            assert (current.state, current.not_before_time) == (PlanState.QUEUED, NOW + 5 * SECOND)
    assert (current.state, current.lease) == (PlanState.FAILED, None)
