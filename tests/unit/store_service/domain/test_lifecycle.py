"""Every state with every command: what the table allows happens and leads where it says, everything else is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from store_service.domain.errors import IllegalTransition, LeaseLost
from store_service.domain.events import EventKind
from store_service.domain.lease import Lease
from store_service.domain.lifecycle import (
    PLAN_LIFECYCLE,
    PROPOSAL_LIFECYCLE,
    PlanCommand,
    ProposalCommand,
)
from store_service.domain.plan import GeneratedPlan, Plan, PlanState
from store_service.domain.proposal import FINAL_STATES, Decision, Effect, Notice, Proposal, ProposalDraft, ProposalState
from store_service.domain.rules import Rules
from store_service.domain.transitions import execution, facts, planning, review
from tests.support.proposals import ALICE, BOB, FAILURE, NOW, WORKER, plan, proposal

RULES = Rules()
DRAFT = ProposalDraft(action_name="delete_file")

PROPOSAL_COMMANDS: dict[ProposalCommand, Callable[[Proposal], tuple[Proposal, EventKind]]] = {
    ProposalCommand.SUBMIT: lambda p: review.submit(p, ALICE, NOW),
    ProposalCommand.UPDATE: lambda p: review.update(p, DRAFT, frozenset({"description"}), ALICE, NOW, RULES),
    ProposalCommand.APPROVE: lambda p: review.approve(p, BOB, NOW, RULES, expected_args_digest="", comment=""),
    ProposalCommand.WITHDRAW_APPROVAL: lambda p: review.withdraw_approval(p, BOB, NOW),
    ProposalCommand.REJECT: lambda p: review.reject(p, BOB, NOW, reason="no"),
    ProposalCommand.CANCEL: lambda p: review.cancel(p, BOB, NOW, FAILURE),
    ProposalCommand.CLAIM: lambda p: execution.claim(p, WORKER, NOW, 1),
    ProposalCommand.RENEW: lambda p: execution.renew(p, WORKER, 1, NOW, 1),
    ProposalCommand.COMPLETE: lambda p: execution.complete(p, WORKER, 1, NOW, result_json="{}"),
    ProposalCommand.FAIL: lambda p: execution.fail(
        p, WORKER, 1, NOW, failure=FAILURE, retryable=True, retry_delay=0, result_json=None
    ),
    ProposalCommand.DELETE: lambda p: review.delete(p, ALICE, NOW, purge=False),
    ProposalCommand.EXPIRE: lambda p: review.expire(p, ALICE, NOW),
    ProposalCommand.EXPIRE_LEASE: lambda p: execution.expire_lease(p, ALICE, NOW),
    ProposalCommand.ADD_NOTICE: lambda p: review.add_notice(p, Notice("SAME_EFFECT", "m", NOW), ALICE, NOW),
    ProposalCommand.RETURN_TO_REVIEW: lambda p: review.return_to_review(p, Notice("N", "m", NOW), ALICE, NOW),
    ProposalCommand.RECORD_FACT: lambda p: facts.record(p, p, WORKER, NOW),
    ProposalCommand.RECONSIDER: lambda p: review.reconsider(p, Decision(Effect.DENY), ALICE, NOW, RULES, reason="no"),
    ProposalCommand.RESOLVE: lambda p: execution.resolve(
        p, BOB, NOW, RULES, done=True, retry=False, result_json=None, reason="seen at the bank"
    ),
    ProposalCommand.BREAK_GLASS: lambda p: review.break_glass(
        p, BOB, NOW, RULES, expected_args_digest="", reason="the shop is down"
    ),
}

PLAN_COMMANDS: dict[PlanCommand, Callable[[Plan], tuple[Plan, EventKind]]] = {
    PlanCommand.CANCEL: lambda p: planning.cancel(p, BOB, NOW, FAILURE),
    PlanCommand.CLAIM: lambda p: planning.claim(p, WORKER, NOW, 1),
    PlanCommand.RENEW: lambda p: planning.renew(p, WORKER, 1, NOW, 1),
    PlanCommand.COMPLETE: lambda p: planning.complete(p, WORKER, 1, NOW, GeneratedPlan()),
    PlanCommand.FAIL: lambda p: planning.fail(
        p, WORKER, 1, NOW, RULES, failure=FAILURE, generation=None, retryable=True, retry_delay=None
    ),
    PlanCommand.DELETE: lambda p: planning.delete(p, 0, ALICE, NOW, purge=False),
    PlanCommand.EXPIRE_LEASE: lambda p: planning.expire_lease(p, ALICE, NOW),
}


def _a_proposal(state: ProposalState, command: ProposalCommand) -> Proposal:
    """One on which nothing but the state can stand in the command's way."""
    fields: dict[str, object] = {"attempt": 1, "lease": Lease(WORKER.identity, 1, NOW)}
    if command is ProposalCommand.WITHDRAW_APPROVAL:
        approved, _ = review.approve(
            proposal(ProposalState.PENDING, required_approvals=2), BOB, NOW, RULES, expected_args_digest="", comment=""
        )
        fields["approvals"] = approved.approvals
    return proposal(state, **fields)


def test_the_table_knows_every_state_and_every_command_occurs() -> None:
    assert set(PROPOSAL_LIFECYCLE.table) == set(ProposalState)
    assert {command for row in PROPOSAL_LIFECYCLE.table.values() for command in row} == set(ProposalCommand)
    assert set(PROPOSAL_COMMANDS) == set(ProposalCommand)
    assert set(PLAN_LIFECYCLE.table) == set(PlanState)
    assert {command for row in PLAN_LIFECYCLE.table.values() for command in row} == set(PlanCommand)
    assert set(PLAN_COMMANDS) == set(PlanCommand)


@pytest.mark.parametrize("state", ProposalState)
@pytest.mark.parametrize("command", ProposalCommand)
def test_proposal_in_every_state_with_every_command(state: ProposalState, command: ProposalCommand) -> None:
    before = _a_proposal(state, command)
    outcomes = PROPOSAL_LIFECYCLE.table[state].get(command)
    if (state, command) == (ProposalState.UNRESOLVED, ProposalCommand.RENEW):
        # Who held the lease is told so as every other who lost theirs.
        with pytest.raises(LeaseLost):
            PROPOSAL_COMMANDS[command](before)
        return
    if outcomes is None:
        with pytest.raises(IllegalTransition) as refused:
            PROPOSAL_COMMANDS[command](before)
        assert (refused.value.state, refused.value.command) == (state.value, command.value)
        assert refused.value.allowed_commands == tuple(PROPOSAL_LIFECYCLE.allowed(state))
        return
    after, kind = PROPOSAL_COMMANDS[command](before)
    assert after.state in outcomes
    assert after.version == before.version + 1
    assert after.update_time == NOW
    assert kind.value.startswith("proposal.")
    assert (after.end_time is not None) == (after.state in FINAL_STATES and command is not ProposalCommand.DELETE)


@pytest.mark.parametrize("state", PlanState)
@pytest.mark.parametrize("command", PlanCommand)
def test_plan_in_every_state_with_every_command(state: PlanState, command: PlanCommand) -> None:
    before = plan(state, attempt=1, lease=Lease(WORKER.identity, 1, NOW))
    outcomes = PLAN_LIFECYCLE.table[state].get(command)
    if outcomes is None:
        with pytest.raises(IllegalTransition) as refused:
            PLAN_COMMANDS[command](before)
        assert refused.value.allowed_commands == tuple(PLAN_LIFECYCLE.allowed(state))
        return
    after, kind = PLAN_COMMANDS[command](before)
    assert after.state in outcomes
    assert after.version == before.version + 1
    assert kind.value.startswith("plan.")


def test_the_stores_own_commands_are_not_offered() -> None:
    assert PROPOSAL_LIFECYCLE.allowed(ProposalState.EXECUTING) == ["renew", "complete", "fail", "cancel"]
    assert PROPOSAL_LIFECYCLE.allowed(ProposalState.REJECTED) == ["delete"]
    assert PLAN_LIFECYCLE.allowed(PlanState.QUEUED) == ["claim", "cancel"]


@pytest.mark.parametrize(
    ("retryable", "attempt", "cancel_requested", "state"),
    [
        (True, 1, False, ProposalState.APPROVED),
        (False, 1, False, ProposalState.FAILED),
        (True, 2, False, ProposalState.FAILED),
        (True, 1, True, ProposalState.CANCELLED),
        (False, 2, True, ProposalState.CANCELLED),
    ],
)
def test_where_a_failure_leads(retryable: bool, attempt: int, cancel_requested: bool, state: ProposalState) -> None:
    running = proposal(
        ProposalState.EXECUTING,
        attempt=attempt,
        lease=Lease(WORKER.identity, attempt, NOW),
        cancel_requested=cancel_requested,
    )
    after, _ = execution.fail(
        running, WORKER, attempt, NOW, failure=FAILURE, retryable=retryable, retry_delay=5, result_json='{"exit":1}'
    )
    assert after.state is state
    assert after.lease is None
    assert after.failure == FAILURE
    assert after.result_json == '{"exit":1}'
    assert after.not_before_time == (NOW + 5 if state is ProposalState.APPROVED else None)
    if retryable:
        lapsed, _ = execution.expire_lease(running.evolve(idempotent=True), ALICE, NOW)
        assert lapsed.state is state


def test_a_cancel_while_it_runs_only_asks() -> None:
    asked, kind = review.cancel(proposal(ProposalState.EXECUTING), BOB, NOW, FAILURE)
    assert (asked.state, asked.cancel_requested, kind) == (
        ProposalState.EXECUTING,
        True,
        EventKind.PROPOSAL_CANCEL_REQUESTED,
    )
    done, _ = execution.complete(asked, WORKER, 1, NOW, result_json="{}")
    assert done.state is ProposalState.EXECUTED
