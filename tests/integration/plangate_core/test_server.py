"""The shared server: refusals carry reasons, draining ends everything, both reflections answer."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import store_service_pb2, store_service_pb2_grpc

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.correlation import current_request_id
from plangate_core.rpc.identity.caller import Caller, current_caller
from plangate_core.rpc.identity.tokens_file import TokensFileInvalid, read_tokens_file
from plangate_core.rpc.server import GrpcServer, ServerRefused
from plangate_core.rpc.settings import ChannelSettings, ServerSettings
from plangate_core.rpc.status import RpcFailure, from_rpc_error, invalid_field
from tests.support.polling import until
from tests.support.raw_http2 import raw_connection

SERVICES = ("plangate.store.v1.PlanService", "plangate.store.v1.EventService")
WATCH = "/plangate.store.v1.EventService/WatchEvents"


class Plans(store_service_pb2_grpc.PlanServiceServicer):
    """GetPlan does what the id says."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = 0
        self.cancelled = 0
        self.callers: list[Caller] = []
        self.request_ids: list[str] = []

    async def GetPlan(self, request: store_service_pb2.GetPlanRequest, context: Any) -> plan_pb2.Plan:
        self.callers.append(current_caller())
        self.request_ids.append(current_request_id())
        if request.id == "wait":
            self.waiting += 1
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            finally:
                self.waiting -= 1
        if request.id == "known":
            raise KeyError("secret cause")
        if request.id == "unknown":
            raise ZeroDivisionError("secret cause")
        return plan_pb2.Plan(id=request.id)


class Events(store_service_pb2_grpc.EventServiceServicer):
    """WatchEvents sends one message, already encoded, and then nothing."""

    def __init__(self) -> None:
        self.closed = 0

    async def WatchEvents(
        self, request: store_service_pb2.WatchEventsRequest, context: Any
    ) -> AsyncIterator[store_service_pb2.WatchEventsResponse]:
        try:
            message = store_service_pb2.WatchEventsResponse(progress=store_service_pb2.WatchProgress(revision=1))
            yield message.SerializeToString()  # type: ignore[misc]
            await asyncio.Event().wait()
        finally:
            self.closed += 1


def map_error(error: Exception) -> RpcFailure | None:
    return invalid_field("id", "is cursed") if isinstance(error, KeyError) else None


class Served:
    def __init__(self, server: GrpcServer, port: int, plans: Plans, events: Events) -> None:
        self.server, self.port, self.plans, self.events = server, port, plans, events
        self.target = f"127.0.0.1:{port}"


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Served]:
    plans, events = Plans(), Events()

    def register(server: grpc.aio.Server) -> None:
        store_service_pb2_grpc.add_PlanServiceServicer_to_server(plans, server)
        store_service_pb2_grpc.add_EventServiceServicer_to_server(events, server)

    server = GrpcServer(
        ServerSettings(**settings), register, SERVICES, map_error, listen="127.0.0.1:0", endless_methods=[WATCH]
    )
    port = await server.start()
    await server.set_serving(True)
    try:
        yield Served(server, port, plans, events)
    finally:
        plans.release.set()
        await server.stop(1.0)


def get_plan(channel: grpc.aio.Channel, id_: str, **options: Any) -> Any:
    return store_service_pb2_grpc.PlanServiceStub(channel).GetPlan(store_service_pb2.GetPlanRequest(id=id_), **options)


async def failure_of(call: Any) -> RpcFailure:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


@pytest.mark.asyncio
async def test_who_calls_and_under_which_request_id() -> None:
    async with serving() as served, open_channel(served.target, actor="alice", roles=["sre"]) as channel:
        call = get_plan(channel, "x", metadata=(("x-request-id", "abc"),))
        assert (await call).id == "x"
        assert ("x-request-id", "abc") in tuple(await call.trailing_metadata())
        assert served.plans.request_ids == ["abc"]
        assert served.plans.callers == [Caller("alice", frozenset({"sre", "reviewer", "executor"}), False)]


@pytest.mark.asyncio
async def test_a_request_id_that_is_none_is_replaced() -> None:
    async with serving() as served, open_channel(served.target) as channel:
        for wrong in ("", "x" * 129):
            await get_plan(channel, "x", metadata=(("x-request-id", wrong),))
        await get_plan(channel, "x", metadata=(("x-request-id", "x" * 128),))
    first, second, third = served.plans.request_ids
    assert len({first, second}) == 2
    assert all(0 < len(made) <= 128 for made in (first, second))
    assert third == "x" * 128


@pytest.mark.asyncio
async def test_only_the_planner_acts_on_behalf_of_others() -> None:
    async with serving() as served, open_channel(served.target, actor="planner") as channel:
        await get_plan(channel, "x", metadata=(("x-plangate-on-behalf-of", "alice"),))
        assert served.plans.callers[0].identity == "alice"
        assert served.plans.callers[0].via == "planner"
        mallory = (("x-plangate-actor", "mallory"), ("x-plangate-on-behalf-of", "alice"))
        failure = await failure_of(get_plan(channel, "x", metadata=mallory))
        assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
        system = await failure_of(get_plan(channel, "x", metadata=(("x-plangate-actor", "system:sweeper"),)))
        assert system.reason == "INVALID_FIELD"


@pytest.mark.asyncio
async def test_errors_are_mapped_and_causes_stay_in_the_log() -> None:
    async with serving() as served, open_channel(served.target) as channel:
        known = await failure_of(get_plan(channel, "known"))
        assert (known.code, known.reason, known.metadata) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
            {"field": "id"},
        )
        with structlog.testing.capture_logs() as logs:
            unknown = await failure_of(get_plan(channel, "unknown", metadata=(("x-request-id", "r1"),)))
        assert (unknown.code, unknown.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        assert unknown.metadata == {"request_id": "r1"}
        assert "secret" not in unknown.message
        assert any(isinstance(entry.get("exc_info"), ZeroDivisionError) for entry in logs)


@pytest.mark.asyncio
async def test_requests_that_cannot_be_read_are_refused_with_a_reason() -> None:
    async with serving(max_request_bytes=2048) as served, open_channel(served.target) as channel:
        too_large = await failure_of(get_plan(channel, "x" * 3000))
        assert (too_large.code, too_large.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        raw = channel.unary_unary("/plangate.store.v1.PlanService/GetPlan")
        garbage = await failure_of(raw(b"\xff\xff\xff"))
        assert (garbage.code, garbage.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


def kept_metadata_keys() -> set[str]:
    """Keys of all metadata that gRPC gave to servers of this process and that something still holds on to."""
    gc.collect()
    return {item[0] for item in gc.get_objects() if type(item).__name__ == "_Metadatum"}


@pytest.mark.asyncio
@pytest.mark.parametrize("version", [grpc.__version__, "1.0.0"], ids=["accepted ahead", "accepted by grpc.aio"])
async def test_large_metadata_is_refused_on_both_ways_to_accept_calls(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc, "__version__", version)
    async with serving() as served, raw_connection(served.target) as connection:
        # Until the client acknowledges the server's settings gRPC has no limit of its own.
        connection.answering = False
        stream, frames = connection.large_call("/plangate.store.v1.PlanService/GetPlan", [("x-large", "a" * 100_000)])
        connection.send(*frames)
        await until(lambda: connection.statuses(stream) == ["8"])
        assert served.plans.callers == []
        # Nothing keeps it until the next call comes: it could be tens of megabytes.
        await until(lambda: "x-large" not in kept_metadata_keys())


@pytest.mark.asyncio
async def test_too_many_calls_and_too_little_time_are_refused() -> None:
    async with (
        serving(max_concurrent_calls=2, min_remaining_seconds=30) as served,
        open_channel(served.target) as channel,
    ):
        waiting = [asyncio.ensure_future(get_plan(channel, "wait")) for _ in range(2)]
        await until(lambda: served.plans.waiting == 2)
        overload = await failure_of(get_plan(channel, "x"))
        assert (overload.code, overload.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert overload.retry_after_seconds
        served.plans.release.set()
        assert [plan.id for plan in await asyncio.gather(*waiting)] == ["wait", "wait"]
        short = await failure_of(get_plan(channel, "x", timeout=20))
        assert (short.code, short.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_TOO_SHORT")


@pytest.mark.asyncio
async def test_every_call_of_a_flood_is_answered_in_our_words() -> None:
    async with serving(max_concurrent_calls=10) as served, open_channel(served.target) as channel:
        answers = await asyncio.gather(*(get_plan(channel, "x") for _ in range(2_000)), return_exceptions=True)
    reasons = {from_rpc_error(error).reason for error in answers if isinstance(error, grpc.aio.AioRpcError)}
    assert reasons <= {"OVERLOADED"}
    assert not [answer for answer in answers if isinstance(answer, asyncio.CancelledError)]


@pytest.mark.asyncio
async def test_a_client_that_goes_away_cancels_its_call_and_frees_its_place() -> None:
    async with serving(max_concurrent_calls=1) as served, open_channel(served.target) as channel:
        call = get_plan(channel, "wait")
        await until(lambda: served.plans.waiting == 1)
        call.cancel()
        await until(lambda: served.plans.cancelled == 1)
        assert (await get_plan(channel, "x")).id == "x"


@pytest.mark.asyncio
async def test_draining_refuses_new_calls_ends_streams_and_lets_others_finish() -> None:
    async with serving() as served, open_channel(served.target) as channel:
        watch = store_service_pb2_grpc.EventServiceStub(channel).WatchEvents(store_service_pb2.WatchEventsRequest())
        assert (await watch.read()).progress.revision == 1
        health = health_pb2_grpc.HealthStub(channel)
        seen = health.Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
        assert (await seen.read()).status == health_pb2.HealthCheckResponse.SERVING
        in_flight = asyncio.ensure_future(get_plan(channel, "wait"))
        await until(lambda: served.plans.waiting == 1)

        woken: list[bool] = []
        served.server.on_drain(lambda: woken.append(True))
        stopping = asyncio.create_task(served.server.stop(10))
        assert (await seen.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        ended = await failure_of(watch.read())
        assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert served.events.closed == 1
        assert woken == [True]
        refused = await failure_of(get_plan(channel, "x"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        served.plans.release.set()
        assert (await in_flight).id == "wait"
        await stopping


@pytest.mark.asyncio
async def test_what_outlasts_the_drain_time_is_told_so() -> None:
    async with serving() as served, open_channel(served.target) as channel:
        in_flight = asyncio.ensure_future(get_plan(channel, "wait"))
        await until(lambda: served.plans.waiting == 1)
        await served.server.stop(0.05)
        failure = await failure_of(in_flight)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


@pytest.mark.asyncio
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_reflections_list_and_describe(version: str) -> None:
    async with serving() as served, open_channel(served.target) as channel:
        reflect = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )()
        await reflect.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = {service.name for service in (await reflect.read()).list_services_response.service}
        assert names == {
            *SERVICES,
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        for name in names:
            await reflect.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name))
            assert (await reflect.read()).file_descriptor_response.file_descriptor_proto, name
        await reflect.done_writing()


def test_an_identity_that_the_planner_could_not_send_on_is_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"tokens:\n  - sha256: {'a' * 64}\n    identity: ülrich\n")
    with pytest.raises(TokensFileInvalid, match="printable ASCII"):
        read_tokens_file(tokens)


def test_one_token_for_two_identities_is_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(
        "tokens:\n" + "".join(f"  - {{sha256: {'a' * 64}, identity: {name}}}\n" for name in ("bob", "eve"))
    )
    with pytest.raises(TokensFileInvalid, match="one token to two identities"):
        read_tokens_file(tokens)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("bob", "Bob"),
        ("olga", "0lga"),
        ("ian", "ian "),
        ("Ian", "lan"),
        ("l1a", "lla"),
        ("a  b", "a b"),
        ("arne", "ame"),
    ],
)
def test_identities_that_look_alike_are_refused(first: str, second: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    entries = [f"  - {{sha256: '{digit * 64}', identity: '{name}'}}\n" for digit, name in (("a", first), ("b", second))]
    tokens.write_text("tokens:\n" + "".join(entries))
    with pytest.raises(TokensFileInvalid, match=r"look alike|printable ASCII"):
        read_tokens_file(tokens)
    # One person may have several tokens.
    tokens.write_text("tokens:\n" + "".join(entries).replace(f"'{second}'", f"'{first}'"))
    assert len(read_tokens_file(tokens).tokens) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("tokens: []", "wrong at its root: there must be tokens, certificates or issuers"),
        ("certificates: [{identity: bob}]", "wrong at certificates.0: give either san or common_name"),
        ("certificates: [{san: a, common_name: a, identity: bob}]", "wrong at certificates.0: give either"),
        ("certificates: [{san: a, identity: bob}, {san: a, identity: eve}]", "one certificate to two identities"),
        (f"tokens: [{{sha256: {'a' * 64}, identity: a, expires: 2027-01-01}}]", "wrong at tokens.0.expires"),
        ("issuers: [{issuer: i, audience: a, algorithms: [HS256], jwks: k}]", "wrong at issuers.0.algorithms"),
        ("issuers: [{issuer: i, audience: a, algorithms: [none], jwks: k}]", "wrong at issuers.0.algorithms"),
        ("issuers: [{issuer: i, audience: a, algorithms: [RS256], jwks: 'http://a/k'}]", "begins with https"),
        ("issuers: [{issuer: i, algorithms: [RS256], jwks: k}]", "wrong at issuers.0.audience"),
    ],
    ids=range(9),
)
def test_credentials_that_are_no_proof_are_refused(content: str, said: str, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(content)
    with pytest.raises(TokensFileInvalid, match=said):
        read_tokens_file(tokens)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"tokens:\n  - sha256: {'a' * 64}\n    identity: 2026-02-30\n", "is not YAML"),
        (f"tokens:\n  - sha256: {'a' * 64}\n    identity: {'9' * 5000}\n", "is not YAML"),
        (f"tokens:\n  - sha256: {'a' * 64}\n    identity: !!int ''\n", "is not YAML"),
        ("tokens: " + "[" * 3_000, "is not YAML"),
        # So deep that a parser in C would end the process.
        ("tokens: " + "[" * 300_000, "is not YAML"),
        ("- " * 300_000, "is not YAML"),
        ("tokens: [", "is not YAML"),
        (b"tokens: \xff", "is not YAML"),
        (f"tokens:\n  - sha256: {'a' * 64}\n    identity: 2026-02-28\n", r"is wrong at tokens\.0\.identity: "),
    ],
    ids=range(9),
)
def test_tokens_files_that_cannot_be_read_are_refused_in_one_line(
    content: str | bytes, said: str, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TokensFileInvalid, match=f"^the tokens file {said}.*: {tokens}$"):
        read_tokens_file(tokens)


def test_a_tokens_file_of_thousands_is_read(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(
        "tokens:\n"
        + "".join(
            f"- {{sha256: '{number:064x}', identity: user{number}, roles: [reviewer]}}\n" for number in range(2_000)
        )
    )
    read = read_tokens_file(tokens)
    assert len(read.tokens) == 2_000
    assert read.tokens[(7).to_bytes(32)].caller == Caller("user7", frozenset({"reviewer"}), authenticated=True)


@pytest.mark.asyncio
async def test_tokens_decide_who_calls(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"s3cret").hexdigest()
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"tokens:\n  - sha256: {digest}\n    identity: bob\n    roles: [reviewer]\n")
    async with serving(auth_tokens_file=tokens) as served:
        async with open_channel(served.target, token="s3cret", actor="mallory") as channel:
            await get_plan(channel, "x")
            assert served.plans.callers == [Caller("bob", frozenset({"reviewer"}), True)]
        async with open_channel(served.target, actor="bob") as channel:
            assert (await failure_of(get_plan(channel, "x"))).code is grpc.StatusCode.UNAUTHENTICATED
            health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert health.status == health_pb2.HealthCheckResponse.SERVING
        async with open_channel(served.target, token="wrong") as channel:
            assert (await failure_of(get_plan(channel, "x"))).reason == "UNAUTHENTICATED"


@pytest.mark.asyncio
async def test_a_token_expires(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(
        "tokens:\n"
        f"  - {{sha256: {hashlib.sha256(b'old').hexdigest()}, identity: bob, expires: 2026-01-01T00:00:00Z}}\n"
        f"  - {{sha256: {hashlib.sha256(b'new').hexdigest()}, identity: bob, expires: '2999-01-01T00:00:00+02:00'}}\n"
    )
    async with serving(auth_tokens_file=tokens) as served:
        async with open_channel(served.target, token="old") as channel:
            failure = await failure_of(get_plan(channel, "x"))
            assert (failure.code, failure.message) == (grpc.StatusCode.UNAUTHENTICATED, "the token has expired")
        async with open_channel(served.target, token="new") as channel:
            await get_plan(channel, "x")


@pytest.mark.asyncio
async def test_who_is_struck_off_the_tokens_file_is_out_without_restart(tmp_path: Path) -> None:
    def written(name: str, token: str, to: Path) -> None:
        digest = hashlib.sha256(token.encode()).hexdigest()
        to.write_text(f"tokens:\n  - {{sha256: {digest}, identity: {name}}}\n")

    async def reason(channel: grpc.aio.Channel) -> str:
        try:
            await get_plan(channel, "x")
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error).reason
        return "OK"

    async def becomes(channel: grpc.aio.Channel, wanted: str) -> None:
        async with asyncio.timeout(10):
            while await reason(channel) != wanted:  # noqa: ASYNC110 - only the server knows
                await asyncio.sleep(0.02)

    tokens = tmp_path / "tokens.yaml"
    written("bob", "old", tokens)
    async with (
        serving(auth_tokens_file=tokens) as served,
        open_channel(served.target, token="old") as bob,
        open_channel(served.target, token="new") as carol,
    ):
        assert (await reason(bob), await reason(carol)) == ("OK", "UNAUTHENTICATED")
        beside = tmp_path / "beside.yaml"
        written("carol", "new", beside)
        os.replace(beside, tokens)
        await becomes(bob, "UNAUTHENTICATED")
        assert await reason(carol) == "OK"
        assert served.plans.callers[-1].identity == "carol"
        with structlog.testing.capture_logs() as logs:
            tokens.write_text("tokens: []")
            # A change of the mode alone is looked at too: before it, the file may have been one that could not be read.
            for times in (1, 2):
                async with asyncio.timeout(10):
                    while sum("the tokens file cannot be read again" in entry["event"] for entry in logs) < times:
                        assert await reason(carol) == "OK"
                tokens.chmod(0o600)
        assert await reason(carol) == "OK"


@pytest.mark.asyncio
async def test_an_address_that_others_reach_needs_tls_and_tokens() -> None:
    with pytest.raises(ServerRefused, match="PLANGATE_TLS_CERT_FILE"):
        GrpcServer(ServerSettings(), lambda _: None, (), map_error, listen="0.0.0.0:0")


@pytest.mark.asyncio
@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:x", ":50051"])
async def test_what_is_not_an_address_is_said_to_be_none(listen: str) -> None:
    with pytest.raises(ServerRefused, match="is not an address such as"):
        GrpcServer(ServerSettings(), lambda _: None, (), map_error, listen=listen)


@pytest.mark.asyncio
@pytest.mark.parametrize("listen", ["unix:{}/socket", "[::1]:0", "localhost:0"])
async def test_addresses_of_this_machine_need_no_credentials(listen: str, tmp_path: Path) -> None:
    server = GrpcServer(ServerSettings(), lambda _: None, (), map_error, listen=listen.format(tmp_path))
    await server.start()
    assert not server.address.endswith(":0")
    async with open_channel(server.address) as channel:
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
    await server.stop(0)


@pytest.mark.asyncio
async def test_an_address_in_use_is_refused_in_one_sentence() -> None:
    async with serving() as served:
        second = GrpcServer(ServerSettings(), lambda _: None, (), map_error, listen=served.target)
        with pytest.raises(ServerRefused, match="cannot listen on"):
            await second.start()
        await second.stop(0)


@pytest.mark.asyncio
async def test_metrics_count_calls_by_method_and_code() -> None:
    async with serving(metrics_listen="127.0.0.1:0") as served, open_channel(served.target) as channel:
        await get_plan(channel, "x")
        await failure_of(get_plan(channel, "known"))
        metrics = served.server.metrics
        assert metrics is not None
        method = "/plangate.store.v1.PlanService/GetPlan"
        for code in ("OK", "INVALID_ARGUMENT"):
            labels = {"method": method, "code": code}
            assert metrics.registry.get_sample_value("plangate_rpc_handled_total", labels) == 1
        assert metrics.registry.get_sample_value("plangate_rpc_in_flight", {"kind": "unary"}) == 0


@pytest.mark.asyncio
async def test_a_token_is_not_sent_in_the_clear_to_other_machines() -> None:
    with pytest.raises(ValueError, match="without TLS"):
        open_channel("store.example.com:50051", ChannelSettings(), token="s3cret")
