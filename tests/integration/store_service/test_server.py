"""The store's server as operators and strangers meet it: health, reflection, permissions, draining, start-up."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plangate.errors.v1 import error_reason_pb2
from plangate.store.v1 import store_service_pb2 as rpc
from plangate.store.v1.identity_service_pb2 import WhoAmIRequest

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.server import ServerRefused
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.status import from_rpc_error
from store_service.api.permissions import PERMISSIONS
from store_service.api.status_mapping import STATUS_OF
from store_service.bootstrap import SERVICE_NAMES, build_server
from store_service.domain.errors import StartRefused
from store_service.settings import StoreSettings
from tests.support.processes import store_process
from tests.support.served_store import Client, RunningStore, failure_of, job, planned, running_store

GRPCURL = Path(sys.executable).with_name("grpcurl")


@pytest.mark.asyncio
async def test_grpcurl_lists_describes_and_calls(sqlite_url: str) -> None:
    async with running_store(sqlite_url) as store:
        assert set((await grpcurl(store.target, "list")).split()) == {
            *SERVICE_NAMES,
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        described = await grpcurl(store.target, "describe")
        assert "service ProposalService" in described
        assert "service ServerReflection" in described
        assert "rpc WatchEvents" in await grpcurl(store.target, "describe", "plangate.store.v1.EventService")
        created = await grpcurl(
            store.target,
            "plangate.store.v1.ProposalService/CreateProposal",
            options=["-H", "x-plangate-actor: planner", "-d", '{"proposal": {"action_name": "a"}}'],
        )
        assert json.loads(created)["state"] == "PROPOSAL_STATE_DRAFT"
        health = await grpcurl(store.target, "grpc.health.v1.Health/Check")
        assert json.loads(health)["status"] == "SERVING"


@pytest.mark.asyncio
async def test_more_connections_than_a_shell_allows_files(tmp_path: Path) -> None:
    async with (
        store_process(tmp_path, launcher=["/bin/sh", "-c", 'ulimit -Sn 100; exec "$@"', "sh"]) as process,
        open_channel(process.address, ChannelSettings(), actor="alice") as channel,
    ):
        alice = Client(channel)
        host, port = process.address.rsplit(":", 1)
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(150)]
        listed = await asyncio.gather(
            *(alice.proposals.ListProposals(rpc.ListProposalsRequest(), timeout=5) for _ in range(8))
        )
        assert len(listed) == 8
        for _, writer in idle:
            writer.close()


async def grpcurl(target: str, *command: str, options: list[str] | None = None) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        [GRPCURL, "-plaintext", *(options or []), target, *command],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def calls_of(client: Client) -> Iterator[tuple[str, Any]]:
    """Every RPC with an empty request."""
    for service, stub in (
        ("PlanService", client.plans),
        ("ProposalService", client.proposals),
        ("EventService", client.events),
    ):
        for method in rpc.DESCRIPTOR.services_by_name[service].methods:
            request = getattr(rpc, method.input_type.name)()
            yield method.name, (lambda stub=stub, name=method.name, request=request: getattr(stub, name)(request))
    yield "WhoAmI", lambda: client.identity.WhoAmI(WhoAmIRequest())


async def is_refused_for_its_role(name: str, call: Any) -> bool:
    try:
        if name == "WatchEvents":
            stream = call()
            await stream.read()
            stream.cancel()
        else:
            await call()
    except grpc.aio.AioRpcError as error:
        failure = from_rpc_error(error)
        assert failure.reason, f"{name} failed without a reason: {failure}"
        return failure.code is grpc.StatusCode.PERMISSION_DENIED and failure.reason == "ROLE_MISSING"
    return False


@pytest.mark.asyncio
async def test_every_rpc_is_open_to_its_roles_only(database_url: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    digests = {
        role: hashlib.sha256(role.encode()).hexdigest()
        for role in ("planner", "reviewer", "executor", "admin", "nothing")
    }
    lines = [
        f"  - {{sha256: {digest}, identity: {role}-person, roles: [{'' if role == 'nothing' else role}]}}"
        for role, digest in digests.items()
    ]
    tokens.write_text("tokens:\n" + "\n".join(lines))
    async with running_store(database_url, auth_tokens_file=tokens) as store:
        assert {name for name, _ in calls_of(store.alice)} == set(PERMISSIONS)
        for role in digests:
            client = _with_token(store, role)
            for name, call in calls_of(client):
                permission = PERMISSIONS[name]
                allowed = permission.roles is None or role in permission.roles or permission.creator_too
                assert await is_refused_for_its_role(name, call) is not allowed, (role, name)
            await client.channel.close()


@pytest.mark.asyncio
async def test_callers_are_told_who_they_are(sqlite_url: str, tmp_path: Path) -> None:
    async with running_store(sqlite_url) as store:
        claimed = await store.as_("alice", "finance").identity.WhoAmI(WhoAmIRequest())
        assert (claimed.identity, claimed.authenticated) == ("alice", False)
        assert [*claimed.roles] == ["executor", "finance", "reviewer"]
    tokens = tmp_path / "tokens.yaml"
    digest = hashlib.sha256(b"secret").hexdigest()
    tokens.write_text(f"tokens:\n  - {{sha256: {digest}, identity: lea, roles: [reviewer, finance]}}")
    async with running_store(sqlite_url, auth_tokens_file=tokens) as store:
        client = _with_token(store, "secret")
        proved = await client.identity.WhoAmI(WhoAmIRequest())
        assert (proved.identity, proved.authenticated, [*proved.roles]) == ("lea", True, ["finance", "reviewer"])
        await client.channel.close()
        failure = await failure_of(store.alice.identity.WhoAmI(WhoAmIRequest()))
        assert failure.code is grpc.StatusCode.UNAUTHENTICATED


def _with_token(store: RunningStore, token: str) -> Client:
    return Client(open_channel(store.target, ChannelSettings(), token=token))


@pytest.mark.asyncio
async def test_what_only_the_creator_and_some_roles_may_do(sqlite_url: str) -> None:
    async with running_store(sqlite_url) as store:
        on_behalf = (("x-plangate-on-behalf-of", "alice"),)
        plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job("a"))), metadata=on_behalf)
        draft = await store.planner.proposals.CreateProposal(
            rpc.CreateProposalRequest(proposal={"action_name": "a"}), metadata=on_behalf
        )
        for call in (
            store.bob.proposals.SubmitProposal(rpc.SubmitProposalRequest(id=draft.id)),
            store.bob.proposals.DeleteProposal(rpc.DeleteProposalRequest(id=draft.id)),
            store.bob.plans.DeletePlan(rpc.DeletePlanRequest(id=plan.id)),
        ):
            failure = await failure_of(call)
            assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
        await store.alice.proposals.SubmitProposal(rpc.SubmitProposalRequest(id=draft.id))
        await store.alice.plans.CancelPlan(rpc.CancelPlanRequest(id=plan.id))
        await store.alice.plans.DeletePlan(rpc.DeletePlanRequest(id=plan.id))


@pytest.mark.asyncio
async def test_draining_answers_who_waits_finishes_writes_and_ends_watches(sqlite_url: str) -> None:
    async with running_store(sqlite_url) as store:
        health = health_pb2_grpc.HealthStub(store.alice.channel)
        request = health_pb2.HealthCheckRequest(service="plangate.store.v1.ProposalService")
        seen = health.Watch(request)
        assert (await seen.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch = store.alice.events.WatchEvents(rpc.WatchEventsRequest())
        assert (await watch.read()).HasField("progress")
        waiting = asyncio.ensure_future(store.worker.claim(wait_duration={"seconds": 50}))
        await store.planner.propose()
        writes = [asyncio.ensure_future(store.planner.propose(f"a{number}")) for number in range(20)]
        await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
        async with asyncio.timeout(15):
            await store.server.stop(20)
        assert await waiting == []
        assert (await seen.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await failure_of(_to_the_end(watch))).reason == "DRAINING"
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        stored = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        for refused in (outcome for outcome in outcomes if isinstance(outcome, BaseException)):
            # CANCELLED, which no client repeats, above all is none of the answers.
            assert isinstance(refused, grpc.aio.AioRpcError)
            assert refused.code() is grpc.StatusCode.UNAVAILABLE
    async with running_store(sqlite_url) as store:
        counted = await store.alice.proposals.CountProposals(rpc.CountProposalsRequest())
        assert counted.total >= 1 + len(stored)


async def _to_the_end(watch: Any) -> None:
    while await watch.read() is not grpc.aio.EOF:
        pass


@pytest.mark.asyncio
async def test_a_call_with_too_little_time_writes_nothing(sqlite_url: str) -> None:
    async with running_store(sqlite_url, min_remaining_seconds=60) as store:
        request = rpc.CreateProposalRequest(proposal={"action_name": "a"})
        failure = await failure_of(store.planner.proposals.CreateProposal(request, timeout=30))
        assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT")
        assert (await store.alice.proposals.CountProposals(rpc.CountProposalsRequest())).total == 0


@pytest.mark.asyncio
async def test_a_second_server_on_the_file_or_the_port_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    async with running_store(sqlite_url) as store:
        with pytest.raises(StartRefused, match="another store process serves"):
            async with running_store(sqlite_url):
                pass
        other = StoreSettings(database_url=f"sqlite:///{tmp_path / 'other.db'}", store_listen=store.target)
        second = build_server(other)
        with pytest.raises(ServerRefused, match="cannot listen on"):
            await second.start()
        await second.stop()
    # What was refused left nothing open: the file can be served at once.
    async with running_store(f"sqlite:///{tmp_path / 'other.db'}") as store:
        await store.planner.propose()


def test_every_reason_of_the_table_has_the_code_that_the_contract_documents() -> None:
    text = (Path(__file__).parents[3] / "protos/plangate/errors/v1/error_reason.proto").read_text(encoding="utf-8")
    for error, (code, number) in STATUS_OF.items():
        reason = error_reason_pb2.ErrorReason.Name(number)
        before = text.partition(f"{reason} =")[0]
        comment = before.rpartition(";\n")[2]
        assert f"// {code.name}. " in comment, f"{error.__name__}: {reason} is documented with another code"
