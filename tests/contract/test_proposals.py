"""Proposals over gRPC, from draft to decision, on every database."""

from __future__ import annotations

import uuid
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2
from google.rpc import error_details_pb2
from plangate.errors.v1 import error_reason_pb2
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from tests.support.served_store import failure_of, running_store

DRAFT = proposal_pb2.PROPOSAL_STATE_DRAFT
PENDING = proposal_pb2.PROPOSAL_STATE_PENDING
APPROVED = proposal_pb2.PROPOSAL_STATE_APPROVED
REJECTED = proposal_pb2.PROPOSAL_STATE_REJECTED
CANCELLED = proposal_pb2.PROPOSAL_STATE_CANCELLED
ABORTED = grpc.StatusCode.ABORTED
INVALID = grpc.StatusCode.INVALID_ARGUMENT
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def new_request_id() -> str:
    return str(uuid.uuid4())


@pytest.mark.asyncio
async def test_from_draft_to_approved(database_url: str) -> None:
    async with running_store(database_url) as store:
        draft = await store.planner.propose(
            submit=False, action_args={"path": "/tmp/x", "size": 3}, description="d", labels={"team": "ops"}
        )
        assert (draft.state, draft.version, draft.created_by) == (DRAFT, 1, "planner")
        assert await store.alice.get(draft) == draft

        pending = await store.planner.proposals.SubmitProposal(rpc.SubmitProposalRequest(id=draft.id))
        assert (pending.state, pending.version) == (PENDING, 2)
        assert pending.HasField("submit_time")

        update = rpc.UpdateProposalRequest(
            proposal={"id": draft.id, "action_args": {"path": "/tmp/y"}, "description": "other"},
            update_mask=field_mask_pb2.FieldMask(paths=["action_args"]),
            expected_version=2,
        )
        changed = await store.planner.proposals.UpdateProposal(update)
        assert (changed.version, changed.description) == (3, "d")
        assert changed.args_digest != pending.args_digest

        approved = await store.alice.approve(changed, args_digest=changed.args_digest, comment="fine")
        assert (approved.state, approved.version) == (APPROVED, 4)
        [approval] = approved.approvals
        assert (approval.reviewer, approval.version, approval.comment) == ("alice", 3, "fine")
        assert approval.args_digest == changed.args_digest
        assert await store.bob.get(draft) == approved


@pytest.mark.asyncio
async def test_who_may_not_approve_what(database_url: str) -> None:
    async with running_store(database_url) as store:
        created = await store.as_("carol", "planner").propose(required_approvals=2, reviewer_role="sre")
        for client, code, reason in (
            (store.planner, PRECONDITION, "MODEL_APPROVAL"),
            (store.as_("carol"), PRECONDITION, "SELF_APPROVAL"),
            (store.alice, grpc.StatusCode.PERMISSION_DENIED, "REVIEWER_ROLE_MISSING"),
            (store.as_("admin"), grpc.StatusCode.PERMISSION_DENIED, "REVIEWER_ROLE_MISSING"),
        ):
            failure = await failure_of(client.approve(created))
            assert (failure.code, failure.reason) == (code, reason)
        alice, bob = store.as_("alice", "sre"), store.as_("bob", "sre")
        digest = await failure_of(alice.approve(created, args_digest="0" * 64))
        assert (digest.code, digest.reason) == (PRECONDITION, "ARGS_DIGEST_MISMATCH")
        assert digest.metadata == {"current_args_digest": created.args_digest}
        once = await alice.approve(created)
        assert once.state == PENDING
        assert (await failure_of(alice.approve(once))).reason == "ALREADY_APPROVED"
        no_role = rpc.RejectProposalRequest(id=created.id, expected_version=2, reason="no")
        assert (await failure_of(store.alice.proposals.RejectProposal(no_role))).reason == "REVIEWER_ROLE_MISSING"
        withdrawal = rpc.WithdrawApprovalRequest(id=created.id)
        assert (await failure_of(bob.proposals.WithdrawApproval(withdrawal))).reason == "NOT_APPROVED_BY_CALLER"
        withdrawn = await alice.proposals.WithdrawApproval(withdrawal)
        assert (withdrawn.version, len(withdrawn.approvals)) == (3, 0)
        again = await alice.approve(withdrawn)
        approved = await bob.approve(again)
        assert approved.state == APPROVED
        assert [approval.reviewer for approval in approved.approvals] == ["alice", "bob"]


@pytest.mark.asyncio
async def test_an_edit_voids_approvals_and_old_versions_are_refused(database_url: str) -> None:
    async with running_store(database_url) as store:
        created = await store.planner.propose(required_approvals=2)
        once = await store.alice.approve(created)
        update = rpc.UpdateProposalRequest(
            proposal={"id": created.id, "description": "new"},
            update_mask=field_mask_pb2.FieldMask(paths=["description"]),
            expected_version=once.version,
        )
        edited = await store.planner.proposals.UpdateProposal(update)
        assert len(edited.approvals) == 0
        conflict = await failure_of(store.bob.approve(once))
        assert (conflict.code, conflict.reason) == (ABORTED, "VERSION_CONFLICT")
        assert conflict.metadata == {"expected_version": "2", "current_version": "3"}
        assert (await failure_of(store.planner.proposals.UpdateProposal(update))).reason == "VERSION_CONFLICT"


@pytest.mark.asyncio
async def test_rejection_is_final_and_says_what_would_be_allowed(database_url: str) -> None:
    async with running_store(database_url) as store:
        created = await store.planner.propose()
        no_reason = await failure_of(
            store.alice.proposals.RejectProposal(rpc.RejectProposalRequest(id=created.id, expected_version=1))
        )
        assert (no_reason.code, no_reason.metadata["field"]) == (INVALID, "reason")
        rejected = await store.alice.proposals.RejectProposal(
            rpc.RejectProposalRequest(id=created.id, expected_version=1, reason="too risky")
        )
        assert rejected.state == REJECTED
        assert rejected.failure.message == "too risky"
        assert rejected.HasField("end_time")
        failure = await failure_of(store.alice.approve(rejected))
        assert (failure.code, failure.reason) == (PRECONDITION, "ILLEGAL_TRANSITION")
        detail = failure.detail(error_reason_pb2.IllegalTransition)
        assert detail == error_reason_pb2.IllegalTransition(
            state="REJECTED", command="approve", allowed_commands=["delete"]
        )


@pytest.mark.asyncio
async def test_the_same_request_id_gives_the_same_answer_also_after_a_restart(database_url: str) -> None:
    request_id = new_request_id()
    async with running_store(database_url) as store:
        first = await store.planner.propose(request_id=request_id)
        assert await store.planner.propose(request_id=request_id) == first
        assert await store.planner.propose(request_id=request_id.upper()) == first
        other = await failure_of(store.planner.propose("other_action", request_id=request_id))
        assert (other.code, other.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        assert other.metadata == {"request_id": request_id}
        approval = {"request_id": new_request_id(), "comment": "yes"}
        approved = await store.alice.approve(first, **approval)
        assert await store.alice.approve(first, **approval) == approved
        assert (await failure_of(store.planner.propose(request_id="nonsense"))).metadata["field"] == "request_id"
    async with running_store(database_url) as store:
        assert await store.planner.propose(request_id=request_id) == first
        assert await store.alice.approve(first, **approval) == approved
        counted = await store.alice.proposals.CountProposals(rpc.CountProposalsRequest())
        assert counted.total == 1


@pytest.mark.asyncio
async def test_validate_only_changes_nothing(database_url: str) -> None:
    async with running_store(database_url) as store:
        created = await store.planner.propose()
        would_be = await store.alice.approve(created, validate_only=True)
        assert (would_be.state, would_be.version) == (APPROVED, 2)
        assert await store.alice.get(created) == created
        new = rpc.CreateProposalRequest(proposal={"action_name": "x"}, validate_only=True)
        await store.planner.proposals.CreateProposal(new)
        assert (await store.alice.proposals.CountProposals(rpc.CountProposalsRequest())).total == 1
        events = await store.alice.events.ListEvents(rpc.ListEventsRequest())
        assert len(events.events) == 1


@pytest.mark.asyncio
async def test_batches_stand_or_fall_together(database_url: str) -> None:
    async with running_store(database_url) as store:
        requests = [rpc.CreateProposalRequest(proposal={"action_name": f"a{i}"}, submit=True) for i in range(3)]
        created = await store.planner.proposals.BatchCreateProposals(
            rpc.BatchCreateProposalsRequest(requests=requests, request_id=new_request_id())
        )
        assert [proposal.action_name for proposal in created.proposals] == ["a0", "a1", "a2"]
        bad = [*requests, rpc.CreateProposalRequest(proposal={"action_name": ""})]
        failure = await failure_of(
            store.planner.proposals.BatchCreateProposals(rpc.BatchCreateProposalsRequest(requests=bad))
        )
        assert (failure.code, failure.metadata["field"]) == (INVALID, "requests[3].proposal.action_name")

        approvals = [rpc.ApproveProposalRequest(id=p.id, expected_version=p.version) for p in created.proposals]
        approvals[2].expected_version = 9
        conflict = await failure_of(
            store.alice.proposals.BatchApproveProposals(rpc.BatchApproveProposalsRequest(requests=approvals))
        )
        assert (conflict.reason, conflict.metadata["index"]) == ("VERSION_CONFLICT", "2")
        assert [p.state for p in (await _batch_get(store.alice, created)).proposals] == [PENDING] * 3
        approvals[2].expected_version = 1
        done = await store.alice.proposals.BatchApproveProposals(rpc.BatchApproveProposalsRequest(requests=approvals))
        assert [p.state for p in done.proposals] == [APPROVED] * 3
        assert (await _batch_get(store.alice, created)).proposals == done.proposals


async def _batch_get(client: Any, created: Any) -> Any:
    return await client.proposals.BatchGetProposals(
        rpc.BatchGetProposalsRequest(ids=[proposal.id for proposal in created.proposals])
    )


@pytest.mark.asyncio
async def test_cancel_delete_and_purge(database_url: str) -> None:
    async with running_store(database_url) as store:
        created = await store.planner.propose()
        open_one = await failure_of(store.planner.proposals.DeleteProposal(rpc.DeleteProposalRequest(id=created.id)))
        assert open_one.reason == "ILLEGAL_TRANSITION"
        cancelled = await store.alice.proposals.CancelProposal(
            rpc.CancelProposalRequest(id=created.id, reason="not needed")
        )
        assert (cancelled.state, cancelled.failure.message) == (CANCELLED, "not needed")
        hidden = await store.planner.proposals.DeleteProposal(rpc.DeleteProposalRequest(id=created.id))
        assert hidden.HasField("delete_time")
        listed = await store.alice.proposals.ListProposals(rpc.ListProposalsRequest())
        assert len(listed.proposals) == 0
        listed = await store.alice.proposals.ListProposals(rpc.ListProposalsRequest(show_deleted=True))
        assert list(listed.proposals) == [hidden]
        assert (await failure_of(store.alice.approve(hidden))).reason == "PROPOSAL_NOT_FOUND"
        await store.planner.proposals.DeleteProposal(rpc.DeleteProposalRequest(id=created.id, purge=True))
        gone = await failure_of(store.alice.get(created))
        assert (gone.code, gone.reason) == (grpc.StatusCode.NOT_FOUND, "PROPOSAL_NOT_FOUND")
        assert gone.detail(error_details_pb2.ResourceInfo) == error_details_pb2.ResourceInfo(
            resource_type="plangate.store.v1.Proposal", resource_name=created.id
        )
        events = await store.alice.events.ListEvents(rpc.ListEventsRequest(filter=f"entity_id = {created.id}"))
        assert [event.kind for event in events.events] == [
            "proposal.created",
            "proposal.cancelled",
            "proposal.deleted",
            "proposal.purged",
        ]
        assert (await store.alice.events.VerifyEvents(rpc.VerifyEventsRequest())).valid


WRONG_PROPOSALS: list[tuple[dict[str, Any], str]] = [
    ({"action_name": ""}, "proposal.action_name"),
    ({"action_name": "x" * 129}, "proposal.action_name"),
    ({"action_name": "x\x00"}, "proposal.action_name"),
    ({"action_name": "x", "description": "x" * 2001}, "proposal.description"),
    ({"action_name": "x", "evidence": "x" * 4001}, "proposal.evidence"),
    ({"action_name": "x", "priority": 1001}, "proposal.priority"),
    ({"action_name": "x", "max_attempts": 101}, "proposal.max_attempts"),
    ({"action_name": "x", "required_approvals": -1}, "proposal.required_approvals"),
    ({"action_name": "x", "labels": {"Team": "x"}}, 'proposal.labels["Team"]'),
    ({"action_name": "x", "labels": {"team": "x" * 257}}, 'proposal.labels["team"]'),
    ({"action_name": "x", "depends_on": ["nope"]}, "proposal.depends_on[0]"),
    ({"action_name": "x", "action_args": {"a": "x" * 70000}}, "proposal.action_args"),
    ({"action_name": "x", "action_args": {"a": 2.0**60}}, "proposal.action_args.a"),
    ({"action_name": "x", "expire_time": {"seconds": 1}}, "proposal.expire_time"),
    ({"action_name": "x", "decision": {"effect": plan_pb2.EFFECT_DENY}}, "proposal.decision.effect"),
]


@pytest.mark.asyncio
async def test_what_is_refused_is_named_by_field(database_url: str) -> None:
    async with running_store(database_url) as store:
        for fields, path in WRONG_PROPOSALS:
            failure = await failure_of(store.planner.propose(**fields))
            assert (failure.code, failure.metadata.get("field")) == (INVALID, path), fields
            bad_request = failure.detail(error_details_pb2.BadRequest)
            assert bad_request is not None
            assert bad_request.field_violations[0].field == path
        missing = await failure_of(store.planner.proposals.CreateProposal(rpc.CreateProposalRequest()))
        assert missing.metadata["field"] == "proposal"
        created = await store.planner.propose()
        no_version = await failure_of(store.alice.proposals.ApproveProposal(rpc.ApproveProposalRequest(id=created.id)))
        assert no_version.metadata["field"] == "expected_version"
        wrong_mask = rpc.UpdateProposalRequest(
            proposal={"id": created.id},
            update_mask=field_mask_pb2.FieldMask(paths=["state"]),
            expected_version=1,
        )
        assert (await failure_of(store.planner.proposals.UpdateProposal(wrong_mask))).metadata["field"] == "update_mask"
        assert (await failure_of(store.alice.get(""))).metadata["field"] == "id"
        assert (await failure_of(store.alice.get("nope"))).reason == "PROPOSAL_NOT_FOUND"
        many = rpc.BatchGetProposalsRequest(ids=["x"] * 101)
        assert (await failure_of(store.alice.proposals.BatchGetProposals(many))).metadata["field"] == "ids"
        assert (await store.alice.proposals.CountProposals(rpc.CountProposalsRequest())).total == 1


@pytest.mark.asyncio
async def test_arguments_nested_too_deep_are_refused_and_deep_ones_kept(database_url: str) -> None:
    def nested(depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(depth - 1):
            value = {"k": value}
        return value

    async with running_store(database_url) as store:
        deepest = await store.planner.propose(action_args=nested(32))
        assert await store.alice.get(deepest) == deepest
        event = (await store.alice.events.ListEvents(rpc.ListEventsRequest(view="EVENT_VIEW_RESOURCE"))).events[0]
        assert event.proposal == deepest
        refused = await failure_of(store.planner.propose(action_args=nested(33)))
        assert (refused.code, refused.reason) == (INVALID, "INVALID_FIELD")
