"""A whole store in this process, on a free port, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import identity_service_pb2_grpc, proposal_pb2, store_service_pb2_grpc
from plangate.store.v1 import store_service_pb2 as rpc

from plangate_core.process.clock import Clock
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.status import RpcFailure, from_rpc_error
from store_service.bootstrap import StoreServer, build_server
from store_service.settings import StoreSettings


class Client:
    """One caller: the store's services under one identity."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.plans = store_service_pb2_grpc.PlanServiceStub(channel)
        self.proposals = store_service_pb2_grpc.ProposalServiceStub(channel)
        self.events = store_service_pb2_grpc.EventServiceStub(channel)
        self.identity = identity_service_pb2_grpc.IdentityServiceStub(channel)

    async def propose(self, action_name: str = "delete_file", **options: Any) -> proposal_pb2.Proposal:
        """Create a PENDING proposal (or what `submit=False` and further fields of the proposal say)."""
        request = rpc.CreateProposalRequest(submit=options.pop("submit", True))
        request.request_id = options.pop("request_id", "")
        request.proposal.MergeFrom(proposal_pb2.Proposal(action_name=action_name, **options))
        return await self.proposals.CreateProposal(request)

    async def approve(self, proposal: proposal_pb2.Proposal, **options: Any) -> proposal_pb2.Proposal:
        """Say yes to exactly this."""
        return await self.proposals.ApproveProposal(
            rpc.ApproveProposalRequest(id=proposal.id, expected_version=proposal.version, **options)
        )

    async def claim(self, **options: Any) -> list[proposal_pb2.Proposal]:
        """Lease what is ready."""
        return list((await self.proposals.ClaimProposals(rpc.ClaimProposalsRequest(**options))).proposals)

    async def get(self, proposal: proposal_pb2.Proposal | str) -> proposal_pb2.Proposal:
        """Read a proposal again."""
        id_ = proposal if isinstance(proposal, str) else proposal.id
        return await self.proposals.GetProposal(rpc.GetProposalRequest(id=id_))


class RunningStore:
    """The server, and one channel per caller."""

    def __init__(self, server: StoreServer) -> None:
        self.server = server
        self.target = server.address
        self._clients: dict[tuple[str, tuple[str, ...]], Client] = {}

    def as_(self, actor: str, *roles: str) -> Client:
        """A client that acts as this identity, with these roles besides those that everybody has."""
        client = self._clients.get((actor, roles))
        if client is None:
            channel = open_channel(self.target, ChannelSettings(), actor=actor, roles=roles)
            client = self._clients[(actor, roles)] = Client(channel)
        return client

    @property
    def planner(self) -> Client:
        return self.as_("planner")

    @property
    def alice(self) -> Client:
        return self.as_("alice")

    @property
    def bob(self) -> Client:
        return self.as_("bob")

    @property
    def worker(self) -> Client:
        return self.as_("worker")

    async def close(self) -> None:
        for client in self._clients.values():
            await client.channel.close()


@asynccontextmanager
async def running_store(
    database_url: str, *, clock: Clock | None = None, **settings: Any
) -> AsyncIterator[RunningStore]:
    """A store that serves this database until the end of the block."""
    server = build_server(
        StoreSettings(database_url=database_url, store_listen="127.0.0.1:0", poll_seconds=0.05, **settings),
        clock=clock,
    )
    await server.start()
    store = RunningStore(server)
    try:
        yield store
    finally:
        await store.close()
        await server.stop(2.0)


async def failure_of(call: Awaitable[Any]) -> RpcFailure:
    """The typed failure of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def planned(*jobs: plan_pb2.Job, **fields: Any) -> plan_pb2.Plan:
    """A plan as a planner stores it."""
    return plan_pb2.Plan(objective="o", prompt="p", state=plan_pb2.PLAN_STATE_PLANNED, jobs=jobs, **fields)


def job(id_: str, effect: str = "ALLOW", *, action_name: str = "measure", **fields: Any) -> plan_pb2.Job:
    """A job with a decision: "ALLOW", "REQUIRE_APPROVAL" or "DENY"."""
    decision = plan_pb2.Decision(
        effect=plan_pb2.Effect.Value(f"EFFECT_{effect}"),
        rule="rule",
        reason="because",
        required_approvals=1 if effect == "REQUIRE_APPROVAL" else 0,
    )
    return plan_pb2.Job(id=id_, action_name=action_name, decision=decision, **fields)
