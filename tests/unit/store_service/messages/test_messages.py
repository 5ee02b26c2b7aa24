"""What the store encodes is what the contract's messages decode, field by field, and back."""

from __future__ import annotations

import pytest
from google.protobuf import duration_pb2, json_format, struct_pb2
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2, store_service_pb2

from store_service.database.rows import PROPOSALS
from store_service.domain.actor import Actor
from store_service.domain.errors import InvalidField, NumberNotExact
from store_service.domain.events import EntityType, Event
from store_service.domain.lease import Failure, Lease
from store_service.domain.plan import GenerationOptions, Job, Plan, PlanState
from store_service.domain.proposal import (
    Approval,
    ApprovalRequirement,
    Decision,
    Effect,
    Fact,
    Notice,
    OnRefusal,
    Proposal,
    ProposalState,
)
from store_service.messages import answers, commands, decoding, encoding

SECOND = 1_000_000
ACTOR = Actor("executor", frozenset({"executor"}), authenticated=False)
DECISION = Decision(
    Effect.REQUIRE_APPROVAL,
    "because",
    "rule",
    2,
    "",
    90 * SECOND,
    (ApprovalRequirement("sre", 1), ApprovalRequirement("dba", 1)),
    "digest",
    True,
)

NOT_STORED = {"approvals_missing", "consequences"}
"""Set in some states, or in some answers, only."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def _set_fields(message: Message) -> set[str]:
    return {field.name for field, _ in message.ListFields()}


def test_a_proposal_with_everything() -> None:
    proposal = Proposal(
        id="p1",
        plan_id="plan",
        job_id="job",
        action_name="delete_file",
        args_json='{"path":"/x","size":3}',
        args_digest="d",
        description="description",
        evidence="evidence",
        priority=-3,
        labels={"team": "ops"},
        state=ProposalState.EXECUTED,
        version=7,
        required_approvals=2,
        reviewer_role="sre",
        approvals=(
            Approval("bob", 2, "d", "fine", 5 * SECOND, ("sre",)),
            Approval("root", 2, "d", "now", 5 * SECOND, break_glass=True),
            Approval("toor", 2, "d", "now", 5 * SECOND, break_glass=True),
        ),
        lease=Lease("worker", 2, 9 * SECOND + 1),
        attempt=2,
        max_attempts=3,
        depends_on=("p0",),
        result_json='{"ok":true}',
        failure=Failure("REASON", "message"),
        created_by="alice",
        updated_by="bob",
        create_time=1 * SECOND,
        update_time=2 * SECOND,
        submit_time=3 * SECOND,
        review_time=4 * SECOND,
        execute_time=5 * SECOND,
        expire_time=6 * SECOND,
        delete_time=7 * SECOND,
        cancel_requested=True,
        decision=DECISION,
        not_before_time=8 * SECOND,
        end_time=10 * SECOND,
        revised_by="carol",
        earlier_revisers=("dora",),
        assumed=("options.mode",),
        on_refusal=OnRefusal.ASK,
        idempotent=True,
        effect_key="refund:4711",
        notices=(Notice("SAME_EFFECT", "another one", 11 * SECOND, "p9", "j9"),),
        earlier_approvals=(Approval("bob", 1, "d", "before", SECOND, ("sre",)),),
        facts=(
            Fact("get_order", '{"order_id":"4711"}', None, "p8", '{"total":12}', None, 12 * SECOND),
            Fact("get_customer", failure=Failure("EXPIRED", "no executor fetched it in time"), end_time=SECOND),
        ),
        fact_for="p7",
        returned_attempts=1,
    )
    values = PROPOSALS.values(proposal)
    assert PROPOSALS.entity([values[name] for name in PROPOSALS.column_names]) == proposal, (
        "nor is anything lost in a row"
    )
    message = proposal_pb2.Proposal.FromString(encoding.proposal_to_bytes(proposal))
    # Every field of the contract is set: one that is added and not mapped fails here.
    assert _set_fields(message) == set(proposal_pb2.Proposal.DESCRIPTOR.fields_by_name) - NOT_STORED
    pending = proposal_pb2.Proposal.FromString(encoding.proposal_to_bytes(proposal.evolve(state=ProposalState.PENDING)))
    assert list(pending.approvals_missing) == [plan_pb2.ApprovalRequirement(role="dba", count=1)]
    as_json = json_format.MessageToDict(message, preserving_proto_field_name=True)
    assert as_json["action_args"] == {"path": "/x", "size": 3.0}
    assert as_json["result"] == {"ok": True}
    assert as_json["lease"] == {"worker": "worker", "attempt": 2, "expire_time": "1970-01-01T00:00:09.000001Z"}
    assert as_json["state"] == "PROPOSAL_STATE_EXECUTED"
    assert as_json["approvals"][0]["create_time"] == "1970-01-01T00:00:05Z"
    assert _set_fields(message.facts[0]) | _set_fields(message.facts[1]) | {"decision"} == set(
        plan_pb2.Fact.DESCRIPTOR.fields_by_name
    )
    assert as_json["end_time"] == "1970-01-01T00:00:10Z"
    draft = decoding.proposal_draft_from_proto(message, "proposal")
    assert draft.args_json == proposal.args_json
    assert draft.decision == DECISION
    assert draft.expire_time == 6 * SECOND
    assert draft.depends_on == ("p0",)


def test_what_an_older_store_logged_is_what_its_row_says() -> None:
    """It did not write down what follows from the rest."""
    pending = Proposal(id="p", state=ProposalState.PENDING, required_approvals=2, labels={"a": "b", "c": "d"})
    logged = proposal_pb2.Proposal.FromString(encoding.proposal_to_bytes(pending))
    assert logged.approvals_missing
    logged.ClearField("approvals_missing")
    assert encoding.is_snapshot_of(logged.SerializeToString(), pending)
    assert not encoding.is_snapshot_of(logged.SerializeToString(), pending.evolve(required_approvals=1))


def test_a_plan_with_everything() -> None:
    report = plan_pb2.GenerationReport(model="m", attempts=[plan_pb2.Attempt(number=1)]).SerializeToString()
    job = Job(
        id="j",
        action_name="a",
        args_json='{"n":1.5}',
        description="d",
        evidence="e",
        role="r",
        input_context=("x",),
        depends_on=("i",),
        priority=1,
        decision=DECISION,
        proposal_id="p1",
        max_attempts=2,
        assumed=("mode",),
        on_refusal=OnRefusal.CONTINUE,
        idempotent=True,
        effect_key="refund:4711",
        will_not_run=Failure("DEPENDENCY_DENIED", "job i was denied"),
    )
    plan = Plan(
        id="plan",
        objective="o",
        prompt="p",
        jobs=(job,),
        state=PlanState.PLANNING,
        version=2,
        returned_attempts=1,
        generation=report,
        created_by="alice",
        create_time=SECOND,
        update_time=2 * SECOND,
        labels={"a": "b"},
        context_json='{"host":"h"}',
        no_action_reason="none",
        warnings=("w",),
        failure=Failure("R", "m"),
        lease=Lease("planner", 1, SECOND),
        attempt=1,
        max_attempts=3,
        priority=5,
        not_before_time=SECOND,
        options=GenerationOptions("m", 2, 1000),
        delete_time=SECOND,
    )
    message = plan_pb2.Plan.FromString(encoding.plan_to_bytes(plan))
    assert _set_fields(message) == set(plan_pb2.Plan.DESCRIPTOR.fields_by_name) - NOT_STORED
    assert _set_fields(message.jobs[0]) == set(plan_pb2.Job.DESCRIPTOR.fields_by_name) - {"facts"}
    message.state = plan_pb2.PLAN_STATE_PLANNED
    draft = decoding.plan_draft_from_proto(message, "plan")
    assert draft.generation == report
    assert draft.context_json == plan.context_json
    assert draft.options == plan.options
    assert draft.jobs[0].args_json == job.args_json
    assert draft.jobs[0].decision == DECISION


@pytest.mark.parametrize("view", [event_pb2.EVENT_VIEW_BASIC, event_pb2.EVENT_VIEW_FULL, event_pb2.EVENT_VIEW_RESOURCE])
def test_an_event_in_each_view(view: event_pb2.EventView.ValueType) -> None:
    snapshot = proposal_pb2.Proposal(id="p1").SerializeToString()
    event = Event(
        revision=3,
        entity_type=EntityType.PROPOSAL,
        entity_id="p1",
        version=2,
        kind="proposal.updated",
        actor="alice",
        authenticated=True,
        via="planner",
        time=SECOND,
        request_id="r",
        comment="c",
        snapshot=snapshot,
        prev_hash=b"0" * 32,
        hash=b"1" * 32,
    )
    update = store_service_pb2.WatchEventsResponse.FromString(answers.event_update_to_bytes(event, view))
    assert update.event == event_pb2.Event.FromString(answers.event_to_bytes(event, view))
    assert update.event.revision == 3
    assert update.event.snapshot == (b"" if view == event_pb2.EVENT_VIEW_BASIC else snapshot)
    assert update.event.proposal.id == ("p1" if view == event_pb2.EVENT_VIEW_RESOURCE else "")


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_repeated_messages_are_framed_as_protobuf_does(elements: list[bytes]) -> None:
    messages = [proposal_pb2.Proposal(id=element.hex()) for element in elements]
    encoded = answers.repeated_to_bytes(1, [message.SerializeToString() for message in messages])
    assert list(store_service_pb2.ListProposalsResponse.FromString(encoded).proposals) == messages


@given(st.dictionaries(texts, st.none() | st.booleans() | texts | st.integers(-(2**53) + 1, 2**53 - 1), max_size=5))
def test_arguments_come_back_exactly(arguments: dict[str, object]) -> None:
    struct = struct_pb2.Struct()
    struct.update(arguments)
    text = decoding.json_from_struct(struct, "action_args")
    message = proposal_pb2.Proposal.FromString(encoding.proposal_to_bytes(Proposal(id="p", args_json=text)))
    assert decoding.json_from_struct(message.action_args, "action_args") == text


@pytest.mark.parametrize("number", [2.0**53, -(2.0**53), 1e300])
def test_numbers_that_are_not_exact_are_refused(number: float) -> None:
    proposal = proposal_pb2.Proposal()
    proposal.action_args.update({"deep": [{"account": number}]})
    with pytest.raises(NumberNotExact) as refused:
        decoding.proposal_draft_from_proto(proposal, "proposal")
    assert refused.value.path == "proposal.action_args.deep[0].account"


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (proposal_pb2.Proposal(expire_time={"seconds": 2**50}), "proposal.expire_time"),
        (proposal_pb2.Proposal(decision={}), "proposal.decision.effect"),
        (proposal_pb2.Proposal(decision={"effect": 99}), "proposal.decision.effect"),  # type: ignore[dict-item]
        (
            proposal_pb2.Proposal(decision={"effect": 1, "approval_ttl": {"nanos": 2**31 - 1}}),  # type: ignore[dict-item]
            "proposal.decision.approval_ttl",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_by_path(message: proposal_pb2.Proposal, path: str) -> None:
    with pytest.raises(InvalidField) as refused:
        decoding.proposal_draft_from_proto(message, "proposal")
    assert refused.value.path == path


def test_request_ids_are_uuids() -> None:
    assert decoding.request_id_from_proto("") == ""
    upper = "7D9F1E0A-3C55-4A0E-9D0C-0F6A1B2C3D4E"
    assert decoding.request_id_from_proto(upper) == upper.lower()
    for wrong in ("x", "7d9f1e0a3c554a0e9d0c0f6a1b2c3d4e", upper + " "):
        with pytest.raises(InvalidField):
            decoding.request_id_from_proto(wrong)


WRITES = [
    getattr(store_service_pb2, f"{name}Request")
    for name in commands.commands.__all__
    if hasattr(store_service_pb2, f"{name}Request")
]
IN_ANOTHER_FORM = {
    *("request_id", "wait_duration", "plan", "proposal", "requests", "update_mask", "reconsiderations", "resolution")
}


@pytest.mark.parametrize("kind", WRITES, ids=lambda kind: kind.DESCRIPTOR.name)
def test_no_field_of_a_request_is_passed_over(kind: type[Message]) -> None:
    request = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is not None and not field.is_repeated:
            getattr(request, field.name).SetInParent()
    taken = decoding.values_of(request, getattr(commands.commands, commands.method_of(request)))
    names = {decoding.NAMES.get(name, name) for name in taken} | taken.keys()
    assert {field.name for field in kind.DESCRIPTOR.fields} <= names | IN_ANOTHER_FORM


def test_a_command_holds_on_to_no_less_than_its_request() -> None:
    request = store_service_pb2.CreateProposalRequest(proposal={"action_name": "a", "evidence": "x" * 4000})
    assert commands.command_from_proto(request, ACTOR).size > request.ByteSize()


PARTS = 100
SMALL_JOB = plan_pb2.Job(id="j", decision=plan_pb2.Decision(effect=plan_pb2.EFFECT_ALLOW))
SMALL_PLAN = plan_pb2.Plan(state=plan_pb2.PLAN_STATE_PLANNED, jobs=[SMALL_JOB] * PARTS)
RECONSIDERATION = store_service_pb2.Reconsideration(id="p", decision=SMALL_JOB.decision)


@pytest.mark.parametrize(
    "request_of_parts",
    [
        store_service_pb2.CreatePlanRequest(plan=SMALL_PLAN),
        store_service_pb2.CompletePlanningRequest(plan=SMALL_PLAN),
        store_service_pb2.BatchCreateProposalsRequest(
            requests=[store_service_pb2.CreateProposalRequest(proposal={})] * PARTS
        ),
        store_service_pb2.BatchApproveProposalsRequest(requests=[store_service_pb2.ApproveProposalRequest()] * PARTS),
        store_service_pb2.ReconsiderProposalsRequest(reconsiderations=[RECONSIDERATION] * PARTS),
    ],
    ids=lambda request: commands.method_of(request),
)
def test_each_part_of_a_command_counts_however_few_bytes_it_has(request_of_parts: Message) -> None:
    assert commands.command_from_proto(request_of_parts, ACTOR).size > PARTS * 1024 > request_of_parts.ByteSize()


@pytest.mark.parametrize("kind", [store_service_pb2.ClaimPlansRequest, store_service_pb2.ClaimProposalsRequest])
def test_a_claim_is_the_same_however_long_it_would_wait(
    kind: type[store_service_pb2.ClaimPlansRequest] | type[store_service_pb2.ClaimProposalsRequest],
) -> None:
    def key(wait_seconds: int, lease_seconds: int = 60) -> object:
        request = kind(
            request_id="01a207f9-1ec3-7841-906c-037076fe1ac2",
            wait_duration=duration_pb2.Duration(seconds=wait_seconds),
            lease_duration=duration_pb2.Duration(seconds=lease_seconds),
        )
        return commands.command_from_proto(request, ACTOR).request

    assert key(20) == key(0)
    assert key(20) != key(20, lease_seconds=61)
