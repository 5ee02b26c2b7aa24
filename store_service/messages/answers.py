"""Answers of the store's RPCs, encoded, made of entities that are encoded already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from store_service.domain.events import EntityType, Event
from store_service.event_log.checkpoints import Checkpoint
from store_service.event_log.verification import Finding
from store_service.messages.decoding import NUMBERS
from store_service.messages.encoding import field_key, framed, timestamp

_EVENT_SNAPSHOT = field_key(event_pb2.Event.SNAPSHOT_FIELD_NUMBER)
_EVENT_RESOURCES = {
    EntityType.PLAN: field_key(event_pb2.Event.PLAN_FIELD_NUMBER),
    EntityType.PROPOSAL: field_key(event_pb2.Event.PROPOSAL_FIELD_NUMBER),
}
_WATCH_EVENT = field_key(rpc.WatchEventsResponse.EVENT_FIELD_NUMBER)
_WATCH_EVENTS = field_key(rpc.WatchEventsResponse.EVENTS_FIELD_NUMBER)


def event_to_bytes(event: Event, view: event_pb2.EventView.ValueType) -> bytes:
    """A plangate.store.v1.Event, encoded, as much of it as the view asks for."""
    values = event._asdict()
    for apart in ("time", "snapshot", "plan_id", "seal"):
        del values[apart]
    message = event_pb2.Event(**values, time=timestamp(event.time))
    encoded = message.SerializeToString()
    if view != event_pb2.EVENT_VIEW_BASIC:
        encoded += framed(_EVENT_SNAPSHOT, event.snapshot)
    if view == event_pb2.EVENT_VIEW_RESOURCE:
        # The snapshot is the resource, encoded.
        encoded += framed(_EVENT_RESOURCES[event.entity_type], event.snapshot)
    return encoded


def progress_update_to_bytes(revision: int) -> bytes:
    """A WatchEventsResponse that marks how far the watch has come, encoded."""
    return rpc.WatchEventsResponse(progress=rpc.WatchProgress(revision=revision)).SerializeToString()


def consequences_to_bytes(proposals: Sequence[bytes]) -> bytes:
    """The consequences of a plan, encoded, of the proposals as they would be: of each the last version."""
    last = {proposal.id: proposal for proposal in map(proposal_pb2.Proposal.FromString, proposals)}
    return plan_pb2.Plan(
        consequences=[
            plan_pb2.Consequence(
                proposal_id=proposal.id,
                plan_id=proposal.plan_id,
                job_id=proposal.job_id,
                action_name=proposal.action_name,
                state=proposal_pb2.ProposalState.Name(proposal.state).removeprefix("PROPOSAL_STATE_"),
                cancel_requested=proposal.cancel_requested,
            )
            for proposal in last.values()
        ]
    ).SerializeToString()


def page_to_bytes(resources: Iterable[bytes], next_page_token: str) -> bytes:
    """The response of a listing RPC, encoded: in all of them the same fields have the same numbers."""
    rest = rpc.ListPlansResponse(next_page_token=next_page_token).SerializeToString()
    return repeated_to_bytes(rpc.ListPlansResponse.PLANS_FIELD_NUMBER, resources) + rest


def counts_to_proto(counts: Mapping[str, int]) -> rpc.CountProposalsResponse:
    """How many proposals are in each state, in the order of the lifecycle."""
    return rpc.CountProposalsResponse(
        counts=[
            rpc.StateCount(state=number, count=counts[state.value])
            for state, number in NUMBERS[proposal_pb2.ProposalState.DESCRIPTOR.full_name].items()
            if state.value in counts
        ],
        total=sum(counts.values()),
    )


def finding_to_proto(finding: Finding) -> rpc.VerifyEventsResponse:
    """What a walk along the chain found."""
    return rpc.VerifyEventsResponse(
        valid=not finding.problem,
        events_checked=finding.events_checked,
        head_revision=finding.head.revision,
        head_hash=finding.head.hash,
        first_bad_revision=finding.first_bad_revision,
        problem=finding.problem,
    )


def checkpoint_to_proto(checkpoint: Checkpoint) -> event_pb2.Checkpoint:
    """A signed statement of the log's head."""
    return event_pb2.Checkpoint(
        revision=checkpoint.head.revision,
        hash=checkpoint.head.hash,
        time=timestamp(checkpoint.time),
        key_id=checkpoint.key_id,
        signature=checkpoint.signature,
        public_key=checkpoint.public_key,
    )


def event_update_to_bytes(event: Event, view: event_pb2.EventView.ValueType) -> bytes:
    """A WatchEventsResponse that holds the event, encoded."""
    return framed(_WATCH_EVENT, event_to_bytes(event, view))


def event_run_update_to_bytes(updates: Iterable[bytes]) -> bytes:
    """A WatchEventsResponse that holds what several hold: in an EventRun an event has the number that it has alone."""
    return framed(_WATCH_EVENTS, b"".join(updates))


def repeated_to_bytes(number: int, encoded: Iterable[bytes]) -> bytes:
    """Encoded messages as the elements of the repeated field with this number."""
    key = field_key(number)
    return b"".join([framed(key, element) for element in encoded])
