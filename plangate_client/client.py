"""The typed async clients of the two servers.

    async with StoreClient(open_channel("127.0.0.1:50051", ...)) as store:
        proposal = await store.proposals.get(proposal_id)
        await store.proposals.approve(proposal.id, expected_version=proposal.version)

Answers are the contract's own messages; failures are plangate_client.errors' types.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, Unpack

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import action_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.planner.v1.planner_service_pb2_grpc import PlannerServiceStub
from plangate.store.v1 import identity_service_pb2, proposal_pb2
from plangate.store.v1.identity_service_pb2_grpc import IdentityServiceStub

from plangate_client.calls import CallPolicy, Calls, WriteOptions, identified, new_request_id
from plangate_client.events import Events
from plangate_client.plans import Plans
from plangate_client.proposals import Proposals
from plangate_client.settings import ClientSettings
from plangate_core.process.settings import read_settings
from plangate_core.rpc.correlation import NEW_REQUEST_KEY, ON_BEHALF_OF_KEY


class Closable:
    """Closed at the end of an `async with` block."""

    async def close(self) -> None:
        """Close what it holds; calls under way are cancelled."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _ChannelClient(Closable):
    channel: grpc.aio.Channel

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self.channel.close()


class StoreClient(_ChannelClient):
    """The store: `plans`, `proposals` and `events` over one channel, which the client closes."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        call_policy: CallPolicy | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.channel = channel
        self._calls = Calls(call_policy or CallPolicy(), metadata, "store")
        self.plans = Plans(channel, self._calls)
        self.proposals = Proposals(channel, self._calls)
        self.events = Events(channel, self._calls)
        self._identity = IdentityServiceStub(channel)

    async def who_am_i(self, *, timeout_seconds: float | None = None) -> identity_service_pb2.WhoAmIResponse:
        """The caller's identity and roles, as the store sees them."""
        request = identity_service_pb2.WhoAmIRequest()
        return await self._calls.unary(self._identity.WhoAmI, request, timeout_seconds=timeout_seconds)

    def on_behalf_of(self, identity: str) -> StoreClient:
        """The same store for calls that a service with role `planner` makes in a requester's name.

        Shares the channel: close only one of the two.
        """
        calls = self._calls.with_metadata((ON_BEHALF_OF_KEY, identity))
        return StoreClient(self.channel, call_policy=calls.call_policy, metadata=calls.metadata)


class PlannerClient(_ChannelClient):
    """The planner over one channel, which the client closes. Every method raises PlangateError's types."""

    def __init__(self, channel: grpc.aio.Channel, *, call_policy: CallPolicy | None = None) -> None:
        self.channel = channel
        self._calls = Calls(call_policy or CallPolicy(), service="planner")
        self._stub = PlannerServiceStub(channel)

    async def create_plan(
        self, request: planner_pb2.CreatePlanRequest, *, timeout_seconds: float | None = None
    ) -> plan_pb2.Plan:
        """Prompt in, governed and stored plan out. A request without request_id gets one."""
        return await self._calls.unary(
            self._stub.CreatePlan,
            _identified(request),
            timeout_seconds=self._planning_seconds(timeout_seconds),
            first_metadata=_first_metadata(request),
        )

    def stream_plan(
        self, request: planner_pb2.CreatePlanRequest, *, timeout_seconds: float | None = None
    ) -> AsyncIterator[planner_pb2.PlanUpdate]:
        """As create_plan, telling of attempts and jobs as they come; the last update is the plan as stored."""
        return self._calls.with_metadata(*_first_metadata(request)).stream(
            self._stub.StreamPlan, _identified(request), timeout_seconds=self._planning_seconds(timeout_seconds)
        )

    async def enqueue_plan(
        self,
        request: planner_pb2.CreatePlanRequest,
        *,
        priority: int = 0,
        max_planning_attempts: int = 0,
        timeout_seconds: float | None = None,
    ) -> plan_pb2.Plan:
        """Store the request durably and return at once, state QUEUED."""
        enqueue = planner_pb2.EnqueuePlanRequest(
            request=_identified(request), priority=priority, max_planning_attempts=max_planning_attempts
        )
        return await self._calls.unary(self._stub.EnqueuePlan, enqueue, timeout_seconds=timeout_seconds)

    async def evaluate_plan(
        self, jobs: Sequence[plan_pb2.Job], *, labels: Mapping[str, str] | None = None
    ) -> planner_pb2.EvaluatePlanResponse:
        """Checks and decisions for jobs you bring; nothing is stored."""
        request = planner_pb2.EvaluatePlanRequest(jobs=jobs, labels=labels)
        return await self._calls.unary(self._stub.EvaluatePlan, request)

    async def submit_plan(
        self,
        objective: str,
        jobs: Sequence[plan_pb2.Job],
        *,
        labels: Mapping[str, str] | None = None,
        context: Struct | None = None,
        **options: Unpack[WriteOptions],
    ) -> plan_pb2.Plan:
        """Store a plan you bring, checked and governed."""
        request = planner_pb2.SubmitPlanRequest(
            objective=objective, jobs=jobs, labels=labels, context=context, **identified(options)
        )
        return await self._calls.unary(self._stub.SubmitPlan, request)

    async def revise_proposal(
        self,
        proposal_id: str,
        *,
        expected_version: int,
        action_args: Struct | None = None,
        description: str | None = None,
        priority: int | None = None,
        depends_on: Sequence[str] | None = None,
        on_refusal: plan_pb2.OnRefusal.ValueType | None = None,
        comment: str = "",
        **options: Unpack[WriteOptions],
    ) -> proposal_pb2.Proposal:
        """Edit a proposal before it is approved: what is not None is replaced, checked and governed again."""
        changes: dict[str, Any] = {
            "action_args": action_args,
            "description": description,
            "priority": priority,
            "depends_on": depends_on,
            "on_refusal": on_refusal,
        }
        changes = {path: value for path, value in changes.items() if value is not None}
        request = planner_pb2.ReviseProposalRequest(
            id=proposal_id,
            expected_version=expected_version,
            update_mask=FieldMask(paths=[*changes]),
            comment=comment,
            **changes,
            **identified(options),
        )
        return await self._calls.unary(self._stub.ReviseProposal, request)

    async def list_actions(self) -> list[action_pb2.Action]:
        """The whole catalogue, by name."""
        request = planner_pb2.ListActionsRequest(page_size=1000)
        pages = self._calls.pages(self._stub.ListActions, request, lambda page: page.actions)
        return [action async for action in pages]

    async def get_action(self, name: str) -> action_pb2.Action:
        """One action of the catalogue."""
        request = planner_pb2.GetActionRequest(name=name)
        return await self._calls.unary(self._stub.GetAction, request)

    async def simulate_policy(
        self, request: planner_pb2.SimulatePolicyRequest, *, timeout_seconds: float = 600.0
    ) -> planner_pb2.SimulatePolicyResponse:
        """What a candidate policy would have decided differently."""
        return await self._calls.unary(self._stub.SimulatePolicy, request, timeout_seconds=timeout_seconds)

    def _planning_seconds(self, timeout_seconds: float | None) -> float:
        return self._calls.call_policy.planning_timeout_seconds if timeout_seconds is None else timeout_seconds


class Connection(Closable):
    """The planner and the store for one identity; closes both channels at the end of the block."""

    def __init__(self, planner: PlannerClient, store: StoreClient) -> None:
        self.planner = planner
        self.store = store

    async def close(self) -> None:
        """Close both channels; calls under way are cancelled."""
        await self.planner.close()
        await self.store.close()


def connect(
    *,
    planner: str | None = None,
    store: str | None = None,
    actor: str | None = None,
    roles: Iterable[str] = (),
    token: str | None = None,
    token_file: Path | str | None = None,
    tls: bool | None = None,
    tls_ca_file: Path | str | None = None,
    call_policy: CallPolicy | None = None,
) -> Connection:
    """Clients of both servers. Connects when first used; needs a running event loop.

    What is None comes from the environment (PLANGATE_PLANNER_TARGET, PLANGATE_STORE_TARGET, PLANGATE_TOKEN_FILE,
    PLANGATE_TLS_CA_FILE and so on), else from the defaults: 127.0.0.1, ports 50052 and 50051.

    :param actor: who acts, on servers without authentication; by default the name of the login.
    :param roles: roles to claim on such servers.
    :raises SettingsRefused: a variable cannot be used.
    :raises ChannelRefused: the arguments are unsafe or impossible.
    """
    given: dict[str, Any] = {
        "planner_target": planner,
        "store_target": store,
        "actor": actor,
        "roles": ",".join(roles) or None,
        "token": token,
        "token_file": token_file,
        "tls": tls,
        "tls_ca_file": tls_ca_file,
    }
    settings = read_settings(ClientSettings, **{name: value for name, value in given.items() if value is not None})
    policy = call_policy or settings.call_policy()
    return Connection(
        PlannerClient(settings.channel(settings.planner_target), call_policy=policy),
        StoreClient(settings.channel(settings.store_target), call_policy=policy),
    )


def _first_metadata(request: planner_pb2.CreatePlanRequest) -> tuple[tuple[str, str], ...]:
    """Tells the planner of a request_id that is ours and new, which spares it a question to the store."""
    return () if request.request_id else ((NEW_REQUEST_KEY, "true"),)


def _identified(request: planner_pb2.CreatePlanRequest) -> planner_pb2.CreatePlanRequest:
    if request.request_id:
        return request
    identified = planner_pb2.CreatePlanRequest()
    identified.CopyFrom(request)
    identified.request_id = new_request_id()
    return identified
