"""Any sequence of calls over gRPC does to proposals what a small model says, and lists and counts agree with it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf import field_mask_pb2
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.rpc.status import from_rpc_error
from tests.support.served_store import RunningStore, running_store

T = TypeVar("T")
REVIEWERS = ("alice", "bob", "carol")
WORKERS = ("worker", "helper")
FINAL = {"EXECUTED", "FAILED", "REJECTED", "CANCELLED"}
people = st.sampled_from(REVIEWERS)
offsets = st.sampled_from([0, 0, 0, -1, 1])


@dataclass
class Modelled:
    """What the model knows of one proposal."""

    state: str
    required: int
    max_attempts: int
    needs: list[Modelled]
    version: int = 1
    approvers: list[str] = field(default_factory=list)
    attempt: int = 0
    worker: str = ""
    stop_asked: bool = False
    hidden: bool = False
    purged: bool = False
    id: str = ""

    def become(self, state: str) -> None:
        self.state = state
        self.version += 1


class Runner:
    """A store and the loop it runs in, shared by all examples: each looks at its own action's proposals only."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.examples = itertools.count()
        self.store: RunningStore = self.run(self._stack.enter_async_context(running_store(url)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)

    def outcome(self, call: Any) -> tuple[str, Any]:
        """("OK", the answer) or (the reason of the failure, None)."""

        async def answered() -> tuple[str, Any]:
            try:
                return "OK", await call()
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error).reason, None

        return self.run(answered())

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._loop.close()


def machine(runner: Runner) -> type[RuleBasedStateMachine]:
    """The state machine over this store."""
    store = runner.store

    class Proposals(RuleBasedStateMachine):
        made = Bundle("made")

        def __init__(self) -> None:
            super().__init__()
            self.action = f"action-{next(runner.examples)}"
            self.all: list[Modelled] = []

        def expect(self, call: Any, reason: str) -> Any:
            outcome, answer = runner.outcome(call)
            assert outcome == reason
            return answer

        def refusal(self, model: Modelled, version: int, allowed: set[str]) -> str:
            """Why a verb on this proposal is refused before anything of its own is looked at; "" when it is not."""
            if model.purged or model.hidden:
                return "PROPOSAL_NOT_FOUND"
            if version not in (0, model.version):
                return "VERSION_CONFLICT"
            return "" if model.state in allowed else "ILLEGAL_TRANSITION"

        @rule(target=made, submit=st.booleans(), required=st.integers(1, 2), tries=st.integers(1, 2), data=st.data())
        def create(self, submit: bool, required: int, tries: int, data: st.DataObject) -> Any:
            open_ones = [m for m in self.all if not m.hidden and m.state not in FINAL - {"EXECUTED"}]
            needs = data.draw(st.lists(st.sampled_from(open_ones), max_size=2, unique_by=id)) if open_ones else []
            model = Modelled("PENDING" if submit else "DRAFT", required, tries, needs)
            answer = self.expect(
                lambda: store.planner.propose(
                    self.action,
                    submit=submit,
                    required_approvals=required,
                    max_attempts=tries,
                    depends_on=[needed.id for needed in needs],
                ),
                "OK",
            )
            model.id = answer.id
            self.all.append(model)
            return multiple(model)

        @rule(model=made)
        def submit(self, model: Modelled) -> None:
            reason = self.refusal(model, 0, {"DRAFT"})
            request = rpc.SubmitProposalRequest(id=model.id)
            self.expect(lambda: store.planner.proposals.SubmitProposal(request), reason or "OK")
            if not reason:
                model.become("PENDING")

        @rule(model=made, offset=offsets, text=st.text("ab", max_size=3))
        def update(self, model: Modelled, offset: int, text: str) -> None:
            version = max(1, model.version + offset)
            reason = self.refusal(model, version, {"DRAFT", "PENDING"})
            request = rpc.UpdateProposalRequest(
                proposal={"id": model.id, "description": text},
                update_mask=field_mask_pb2.FieldMask(paths=["description"]),
                expected_version=version,
            )
            self.expect(lambda: store.planner.proposals.UpdateProposal(request), reason or "OK")
            if not reason:
                model.approvers.clear()
                model.become(model.state)

        @rule(model=made, reviewer=people, offset=offsets)
        def approve(self, model: Modelled, reviewer: str, offset: int) -> None:
            version = max(1, model.version + offset)
            reason = self.refusal(model, version, {"PENDING"})
            if not reason and reviewer in model.approvers:
                reason = "ALREADY_APPROVED"
            request = rpc.ApproveProposalRequest(id=model.id, expected_version=version)
            self.expect(lambda: store.as_(reviewer).proposals.ApproveProposal(request), reason or "OK")
            if not reason:
                model.approvers.append(reviewer)
                model.become("APPROVED" if len(model.approvers) >= model.required else "PENDING")

        @rule(model=made, reviewer=people)
        def withdraw(self, model: Modelled, reviewer: str) -> None:
            reason = self.refusal(model, 0, {"PENDING"})
            if not reason and reviewer not in model.approvers:
                reason = "NOT_APPROVED_BY_CALLER"
            request = rpc.WithdrawApprovalRequest(id=model.id)
            self.expect(lambda: store.as_(reviewer).proposals.WithdrawApproval(request), reason or "OK")
            if not reason:
                model.approvers.remove(reviewer)
                model.become("PENDING")

        @rule(model=made, reviewer=people, offset=offsets)
        def reject(self, model: Modelled, reviewer: str, offset: int) -> None:
            version = max(1, model.version + offset)
            reason = self.refusal(model, version, {"PENDING"})
            request = rpc.RejectProposalRequest(id=model.id, expected_version=version, reason="no")
            self.expect(lambda: store.as_(reviewer).proposals.RejectProposal(request), reason or "OK")
            if not reason:
                self.end(model, "REJECTED")

        @rule(model=made)
        def cancel(self, model: Modelled) -> None:
            reason = self.refusal(model, 0, {"DRAFT", "PENDING", "APPROVED", "EXECUTING"})
            request = rpc.CancelProposalRequest(id=model.id)
            self.expect(lambda: store.alice.proposals.CancelProposal(request), reason or "OK")
            if not reason and model.state == "EXECUTING":
                model.stop_asked = True
                model.become("EXECUTING")
            elif not reason:
                self.end(model, "CANCELLED")

        @rule(worker=st.sampled_from(WORKERS), count=st.integers(1, 3))
        def claim(self, worker: str, count: int) -> None:
            ready = [
                m
                for m in self.all
                if m.state == "APPROVED" and not m.purged and all(needed.state == "EXECUTED" for needed in m.needs)
            ]
            claimed = runner.run(store.as_(worker).claim(action_names=[self.action], max_proposals=count))
            assert [p.id for p in claimed] == [m.id for m in ready[:count]]
            for model in ready[:count]:
                model.attempt += 1
                model.worker = worker
                model.become("EXECUTING")

        @rule(model=made, worker=st.sampled_from(WORKERS), offset=offsets, how=st.sampled_from("rcft"))
        def report(self, model: Modelled, worker: str, offset: int, how: str) -> None:
            attempt = model.attempt + offset
            reason = ""
            if model.hidden or model.purged:
                reason = "PROPOSAL_NOT_FOUND"
            elif model.state != "EXECUTING" or (model.worker, model.attempt) != (worker, attempt):
                reason = "LEASE_LOST"
            executor = store.as_(worker).proposals
            fields = {"id": model.id, "attempt": attempt}
            failure = {"failure": {"reason": "BROKEN"}, "retryable": how == "t"}
            calls: dict[str, Any] = {
                "r": lambda: executor.RenewLease(rpc.RenewLeaseRequest(**fields)),
                "c": lambda: executor.CompleteProposal(rpc.CompleteProposalRequest(**fields)),
                "f": lambda: executor.FailProposal(rpc.FailProposalRequest(**fields, **failure)),
                "t": lambda: executor.FailProposal(rpc.FailProposalRequest(**fields, **failure)),
            }
            self.expect(calls[how], reason or "OK")
            if reason:
                return
            if how == "r":
                model.become("EXECUTING")
            elif how == "c":
                self.end(model, "EXECUTED")
            elif model.stop_asked:
                self.end(model, "CANCELLED")
            elif how == "t" and model.attempt < model.max_attempts:
                model.become("APPROVED")
            else:
                self.end(model, "FAILED")

        @rule(model=made, purge=st.booleans())
        def delete(self, model: Modelled, purge: bool) -> None:
            reason = ""
            if model.purged or (model.hidden and not purge):
                reason = "PROPOSAL_NOT_FOUND"
            elif model.state not in {"DRAFT", *FINAL}:
                reason = "ILLEGAL_TRANSITION"
            request = rpc.DeleteProposalRequest(id=model.id, purge=purge)
            self.expect(lambda: store.planner.proposals.DeleteProposal(request), reason or "OK")
            if reason:
                return
            ended_now = model.state == "DRAFT" and not model.hidden
            model.hidden, model.purged = True, purge
            model.version += 1
            if ended_now:
                self.cancel_dependents(model)

        def end(self, model: Modelled, state: str) -> None:
            model.become(state)
            if state != "EXECUTED":
                self.cancel_dependents(model)

        def cancel_dependents(self, ended: Modelled) -> None:
            for model in self.all:
                if ended in model.needs and not model.hidden and model.state not in FINAL:
                    self.end(model, "CANCELLED")

        @precondition(lambda self: self.all)
        @invariant()
        def what_is_read_is_what_the_model_says(self) -> None:
            request = rpc.ListProposalsRequest(
                filter=f"action_name = {self.action}", show_deleted=True, order_by="create_time", page_size=1000
            )
            listed = runner.run(_answer(store.alice.proposals.ListProposals(request))).proposals
            assert [_facts(p) for p in listed] == [
                (m.id, m.state, m.version, m.attempt, sorted(m.approvers), m.hidden) for m in self.all if not m.purged
            ]
            count = rpc.CountProposalsRequest(filter=f"action_name = {self.action}")
            counts = runner.run(_answer(store.alice.proposals.CountProposals(count)))
            assert {
                proposal_pb2.ProposalState.Name(c.state).removeprefix("PROPOSAL_STATE_"): c.count for c in counts.counts
            } == Counter(m.state for m in self.all if not m.hidden)

        def teardown(self) -> None:
            verified = runner.run(_answer(store.alice.events.VerifyEvents(rpc.VerifyEventsRequest())))
            assert verified.valid

    return Proposals


async def _answer(call: Any) -> Any:
    return await call


def _facts(proposal: proposal_pb2.Proposal) -> tuple[object, ...]:
    state = proposal_pb2.ProposalState.Name(proposal.state).removeprefix("PROPOSAL_STATE_")
    approvers = sorted(approval.reviewer for approval in proposal.approvals)
    return (
        proposal.id,
        state,
        proposal.version,
        proposal.attempt,
        approvers,
        proposal.HasField("delete_time"),
    )


@pytest.mark.timeout(300)
def test_the_store_does_what_the_model_says(sqlite_url: str) -> None:
    runner = Runner(sqlite_url)
    try:
        run_state_machine_as_test(
            machine(runner),
            settings=settings(
                max_examples=25,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        runner.close()
