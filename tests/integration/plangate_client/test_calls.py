"""What the client repeats, and what it leaves to its caller."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from google.rpc import status_pb2
from grpc_status.rpc_status import to_status
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.planner.v1.planner_service_pb2_grpc import PlannerServiceServicer, add_PlannerServiceServicer_to_server
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2
from plangate.store.v1.store_service_pb2_grpc import ProposalServiceServicer, add_ProposalServiceServicer_to_server

from plangate_client.calls import CallPolicy, new_request_id
from plangate_client.client import PlannerClient, StoreClient
from plangate_client.errors import DeadlineExceeded, Draining, Overloaded, Unavailable, VersionConflict
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.correlation import NEW_REQUEST_KEY
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.status import RpcFailure, to_rpc_status
from tests.support.served_store import running_store

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Moody(ProposalServiceServicer):
    """Fails as told, then answers."""

    def __init__(self) -> None:
        self.failures: list[RpcFailure] = []
        self.request_ids: list[str] = []

    async def GetProposal(self, request, context):  # type: ignore[no-untyped-def]
        await self._fail(context)
        return proposal_pb2.Proposal(id=request.id)

    async def ApproveProposal(self, request, context):  # type: ignore[no-untyped-def]
        self.request_ids.append(request.request_id)
        await self._fail(context)
        return proposal_pb2.Proposal(id=request.id, version=request.expected_version + 1)

    async def ClaimProposals(self, request, context):  # type: ignore[no-untyped-def]
        assert context.time_remaining() > request.wait_duration.seconds
        return store_pb2.ClaimProposalsResponse()

    async def _fail(self, context: grpc.aio.ServicerContext) -> None:
        if self.failures:
            status: status_pb2.Status = to_rpc_status(self.failures.pop(0))
            await context.abort_with_status(to_status(status))


class Drained(PlannerServiceServicer):
    """Refuses the first call, answers the second. Notes of each whether its request_id was said to be new."""

    def __init__(self) -> None:
        self.said_new: list[bool] = []

    async def CreatePlan(self, request, context):  # type: ignore[no-untyped-def]
        self.said_new.append((NEW_REQUEST_KEY, "true") in context.invocation_metadata())
        if len(self.said_new) == 1:
            await context.abort_with_status(to_status(to_rpc_status(RpcFailure(UNAVAILABLE, "DRAINING", "x"))))
        return plan_pb2.Plan()


@pytest_asyncio.fixture
async def moody() -> AsyncIterator[tuple[Moody, StoreClient]]:
    server = grpc.aio.server()
    servicer = Moody()
    add_ProposalServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = open_channel(f"127.0.0.1:{port}", ChannelSettings())
    async with StoreClient(channel, call_policy=CallPolicy(timeout_seconds=5.0, first_delay_seconds=0.01)) as store:
        yield servicer, store
    await server.stop(None)


@pytest.mark.asyncio
async def test_repeats_with_one_request_id_while_nothing_was_done(moody: tuple[Moody, StoreClient]) -> None:
    servicer, store = moody
    servicer.failures = [
        RpcFailure(UNAVAILABLE, "DRAINING", "x"),
        RpcFailure(UNAVAILABLE, "DATABASE_UNAVAILABLE", "x"),
        RpcFailure(grpc.StatusCode.UNKNOWN, "COMMIT_UNKNOWN", "x"),
    ]
    approved = await store.proposals.approve("p", expected_version=3)
    assert approved.version == 4
    assert len(servicer.request_ids) == 4
    assert len(set(servicer.request_ids)) == 1
    assert servicer.request_ids[0]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("request_id", "said_new"), [("", [True, False]), ("01a227eb-7c2f-729c-9e6e-d7197f10be78", [False, False])]
)
async def test_says_which_request_ids_nobody_sent_before(request_id: str, said_new: list[bool]) -> None:
    server = grpc.aio.server()
    servicer = Drained()
    add_PlannerServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with PlannerClient(open_channel(f"127.0.0.1:{port}", ChannelSettings())) as planner:
        await planner.create_plan(planner_pb2.CreatePlanRequest(prompt="look", request_id=request_id))
    await server.stop(None)
    assert servicer.said_new == said_new


@pytest.mark.asyncio
@pytest.mark.parametrize("reason", ["PROVIDER_UNAVAILABLE", "STORE_UNAVAILABLE"])
async def test_leaves_to_the_planner_what_the_planner_repeats(moody: tuple[Moody, StoreClient], reason: str) -> None:
    servicer, store = moody
    servicer.failures = [RpcFailure(UNAVAILABLE, reason, "x")]
    with pytest.raises(Unavailable) as refused:
        await store.proposals.approve("p", expected_version=3)
    assert refused.value.reason == reason
    assert len(servicer.request_ids) == 1


@pytest.mark.asyncio
async def test_gives_up_after_so_many_attempts(moody: tuple[Moody, StoreClient]) -> None:
    servicer, store = moody
    servicer.failures = [RpcFailure(UNAVAILABLE, "DRAINING", "x")] * 20
    with pytest.raises(Draining):
        await StoreClient(store.channel, call_policy=CallPolicy(attempts=3, first_delay_seconds=0.01)).proposals.get(
            "p"
        )
    assert len(servicer.failures) == 17


@pytest.mark.asyncio
async def test_goes_on_while_there_is_time(moody: tuple[Moody, StoreClient]) -> None:
    servicer, store = moody
    servicer.failures = [RpcFailure(UNAVAILABLE, "DRAINING", "x")] * 12
    call_policy = CallPolicy(timeout_seconds=10.0, first_delay_seconds=0.001, longest_delay_seconds=0.01)
    assert (await StoreClient(store.channel, call_policy=call_policy).proposals.get("p")).id == "p"
    servicer.failures = [RpcFailure(UNAVAILABLE, "DRAINING", "x")] * 10_000
    hasty = CallPolicy(timeout_seconds=1.5, first_delay_seconds=0.001, longest_delay_seconds=0.01)
    with pytest.raises(Draining):
        await StoreClient(store.channel, call_policy=hasty).proposals.get("p")


def test_request_ids_are_in_the_order_of_time() -> None:
    made = [new_request_id() for _ in range(100)]
    assert made == sorted(set(made))
    assert {uuid.UUID(request_id).version for request_id in made} == {7}


@pytest.mark.asyncio
async def test_does_not_wait_beyond_the_deadline(moody: tuple[Moody, StoreClient]) -> None:
    servicer, store = moody
    servicer.failures = [RpcFailure(UNAVAILABLE, "DRAINING", "x", retry_after_seconds=60)]
    started = time.monotonic()
    with pytest.raises(Draining) as refused:
        await store.proposals.get("p")
    assert refused.value.retry_after_seconds == 60
    assert time.monotonic() - started < 3


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (RpcFailure(grpc.StatusCode.ABORTED, "VERSION_CONFLICT", "x"), VersionConflict),
        (RpcFailure(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", "x", retry_after_seconds=0.01), Overloaded),
        (RpcFailure(grpc.StatusCode.DEADLINE_EXCEEDED, "", "x"), DeadlineExceeded),
    ],
)
async def test_leaves_the_rest_to_the_caller(
    moody: tuple[Moody, StoreClient], failure: RpcFailure, kind: type[Exception]
) -> None:
    servicer, store = moody
    servicer.failures = [failure]
    with pytest.raises(kind):
        await store.proposals.get("p")
    assert servicer.failures == []


@pytest.mark.asyncio
async def test_a_long_poll_has_its_waiting_time_on_top(moody: tuple[Moody, StoreClient]) -> None:
    _, store = moody
    assert await store.proposals.claim(wait_seconds=30) == []


@pytest.mark.asyncio
async def test_nobody_there() -> None:
    call_policy = CallPolicy(timeout_seconds=1.0)
    async with StoreClient(open_channel("127.0.0.1:1", ChannelSettings()), call_policy=call_policy) as store:
        with pytest.raises(Unavailable) as refused:
            await store.proposals.get("p")
    assert (refused.value.service, refused.value.reason) == ("store", "")


@pytest.mark.asyncio
async def test_batches_are_one_call(sqlite_url: str) -> None:
    async with running_store(sqlite_url) as running:
        planner, bob = (StoreClient(running.as_(name).channel) for name in ("planner", "bob"))
        wanted = [
            store_pb2.CreateProposalRequest(proposal=proposal_pb2.Proposal(action_name=name), submit=True)
            for name in ("a", "b")
        ]
        made = await planner.proposals.batch_create(wanted)
        assert [proposal.action_name for proposal in made] == ["a", "b"]
        yes = [store_pb2.ApproveProposalRequest(id=proposal.id, expected_version=1) for proposal in made]
        with pytest.raises(VersionConflict):
            await bob.proposals.batch_approve(
                [yes[0], store_pb2.ApproveProposalRequest(id=made[1].id, expected_version=7)]
            )
        approved = await bob.proposals.batch_approve(yes)
        assert [proposal.state for proposal in approved] == [proposal_pb2.PROPOSAL_STATE_APPROVED] * 2
        assert await bob.proposals.batch_get([proposal.id for proposal in made]) == approved
