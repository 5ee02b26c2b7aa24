"""The log over gRPC: listed, watched, verified, signed, on every database."""

from __future__ import annotations

import asyncio
from datetime import UTC
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from plangate.store.v1 import event_pb2, proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.status import RpcFailure, from_rpc_error
from store_service.domain.events import LogHead
from store_service.domain.instant import instant_of
from store_service.event_log.checkpoints import signed_bytes
from tests.support.served_store import Client, RunningStore, failure_of, running_store

RESOURCE = event_pb2.EVENT_VIEW_RESOURCE


async def events_of(call: Any, count: int) -> list[event_pb2.Event]:
    """The next events of a watch, without its progress marks."""
    found: list[event_pb2.Event] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            update = await call.read()
            assert update is not grpc.aio.EOF
            if update.HasField("event"):
                found.append(update.event)
    return found


async def read_to_its_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


def watch(client: Client, **options: Any) -> Any:
    return client.events.WatchEvents(rpc.WatchEventsRequest(**options))


async def listed(client: Client, **options: Any) -> rpc.ListEventsResponse:
    return await client.events.ListEvents(rpc.ListEventsRequest(**options))


@pytest.mark.asyncio
async def test_events_are_listed_in_order_by_filter_view_and_page(database_url: str) -> None:
    async with running_store(database_url) as store:
        first = await store.planner.propose("a")
        second = await store.planner.propose("b")
        approved = await store.alice.approve(first, comment="go")
        events = (await listed(store.bob)).events
        assert [event.revision for event in events] == [1, 2, 3]
        assert [event.kind for event in events] == ["proposal.created", "proposal.created", "proposal.approved"]
        assert (events[2].actor, events[2].comment, events[2].version) == ("alice", "go", 2)
        assert not events[2].authenticated
        assert events[0].prev_hash == bytes(32)
        assert [event.prev_hash for event in events[1:]] == [event.hash for event in events[:2]]
        assert proposal_pb2.Proposal.FromString(events[2].snapshot) == approved
        assert events[2].WhichOneof("resource") is None

        basic = (await listed(store.bob, view=event_pb2.EVENT_VIEW_BASIC)).events
        assert all(event.snapshot == b"" and event.hash for event in basic)
        with_resource = (await listed(store.bob, view=RESOURCE, order_by="revision desc", page_size=1)).events
        assert with_resource[0].proposal == approved

        for filter_, revisions in (
            (f"entity_id = {first.id}", [1, 3]),
            ("kind = proposal.created", [1, 2]),
            ('actor = alice OR kind = "nothing"', [3]),
            ("revision > 1 AND version = 1", [2]),
            ("entity_type = PLAN", []),
            ("entity_type = PROPOSAL AND NOT actor = alice", [1, 2]),
            ("time > 2000-01-01T00:00:00Z AND via = ''", [1, 2, 3]),
            (f"plan_id = '{second.plan_id}'", [1, 2, 3]),
        ):
            assert [event.revision for event in (await listed(store.bob, filter=filter_)).events] == revisions, filter_
        request = rpc.ListEventsRequest(page_size=2)
        page = await store.bob.events.ListEvents(request)
        request.page_token = page.next_page_token
        rest = await store.bob.events.ListEvents(request)
        assert [event.revision for event in rest.events] == [3]
        assert rest.next_page_token == ""


@pytest.mark.asyncio
async def test_a_watch_begins_anywhere_follows_and_resumes(database_url: str) -> None:
    async with running_store(database_url) as store:
        first = await store.planner.propose("a")
        from_the_start = watch(store.bob, start_revision=1)
        from_now = watch(store.bob, view=RESOURCE)
        assert (await from_now.read()).progress.revision == 1
        assert [event.revision for event in await events_of(from_the_start, 1)] == [1]
        approved = await store.alice.approve(first)
        [event] = await events_of(from_now, 1)
        assert (event.revision, event.proposal) == (2, approved)
        [event] = await events_of(from_the_start, 1)
        assert (event.revision, event.proposal.id) == (2, "")
        from_the_start.cancel()
        await store.planner.propose("b")
        resumed = watch(store.bob, start_revision=3)
        assert [event.revision for event in await events_of(resumed, 1)] == [3]
        too_far = await failure_of(watch(store.bob, start_revision=5).read())
        assert (too_far.code, too_far.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_OUT_OF_RANGE")
        assert too_far.metadata == {"head_revision": "3"}
        negative = await failure_of(watch(store.bob, start_revision=-1).read())
        assert negative.metadata["field"] == "start_revision"
        from_now.cancel()
        resumed.cancel()


@pytest.mark.asyncio
async def test_a_filtered_watch_marks_its_progress(database_url: str) -> None:
    async with running_store(database_url) as store:
        call = watch(store.bob, filter="actor = alice", progress_interval={"nanos": 100_000_000})
        assert (await call.read()).progress.revision == 0
        proposal = await store.planner.propose("a")
        async with asyncio.timeout(10):
            while (update := await call.read()).progress.revision < 1:
                pass
        assert update.progress.revision == 1
        await store.alice.approve(proposal)
        [event] = await events_of(call, 1)
        assert (event.revision, event.actor) == (2, "alice")
        call.cancel()
        bad = await failure_of(watch(store.bob, filter="nope = 1").read())
        assert (bad.reason, bad.metadata) == ("INVALID_FILTER", {"position": "0"})
        for call in (watch(store.bob, view=99).read(), listed(store.bob, view=99), listed(store.bob, view=-1)):
            assert (await failure_of(call)).metadata == {"field": "view"}
        fast = await failure_of(watch(store.bob, progress_interval={"nanos": 1}).read())
        assert fast.metadata["field"] == "progress_interval"


@pytest.mark.asyncio
async def test_many_watchers_see_the_same_line_of_events(database_url: str) -> None:
    async with running_store(database_url) as store:
        calls = [watch(store.bob, start_revision=1 if number % 2 else 0) for number in range(20)]
        for call in calls:
            assert (await call.read()).HasField("progress")

        async def create(number: int) -> None:
            proposal = await store.planner.propose(f"a{number}")
            await store.alice.approve(proposal)

        await asyncio.gather(*(create(number) for number in range(25)))
        seen = [[event.hash for event in await events_of(call, 50)] for call in calls]
        assert all(hashes == seen[0] for hashes in seen)
        for call in calls:
            call.cancel()


@pytest.mark.asyncio
async def test_events_that_are_there_at_once_may_come_as_one_message(database_url: str) -> None:
    async with running_store(database_url, watch_buffer_events=100) as store:
        await fill(store, 240, 10)
        alone = watch(store.bob, start_revision=1)
        expected = [event.SerializeToString() for event in await events_of(alone, 240)]
        for start, at_once in ((1, 7), (1, 5000), (200, 50)):
            call = watch(store.bob, start_revision=start, max_events=at_once)
            assert (await call.read()).progress.revision == start - 1
            found: list[event_pb2.Event] = []
            longest = 0
            while len(found) < 241 - start:
                update = await call.read()
                assert update.WhichOneof("update") in ("event", "events")
                run = list(update.events.events) or [update.event]
                longest = max(longest, len(run))
                found += run
            assert 1 < longest <= at_once
            assert [event.SerializeToString() for event in found] == expected[start - 1 :]
            call.cancel()
        # Filters, views and progress marks are as they are without.
        call = watch(
            store.bob, start_revision=1, max_events=100, filter="revision > 200", view=event_pb2.EVENT_VIEW_BASIC
        )
        assert (await call.read()).HasField("progress")
        found = []
        while len(found) < 40:
            update = await call.read()
            found += list(update.events.events) or [update.event]
        assert [event.revision for event in found] == list(range(201, 241))
        assert not any(event.snapshot for event in found)
        await store.planner.propose("alone")
        assert (await call.read()).event.revision == 241
        call.cancel()
        alone.cancel()
        negative = await failure_of(watch(store.bob, max_events=-1).read())
        assert negative.metadata["field"] == "max_events"


async def fill(store: RunningStore, events: int, argument_bytes: int) -> None:
    """Append this many events, 20 to a commit."""
    one = rpc.CreateProposalRequest(proposal=proposal_pb2.Proposal(action_name="x"))
    one.proposal.action_args.update({"a": "x" * argument_bytes})
    for _ in range(events // 20):
        await store.planner.proposals.BatchCreateProposals(rpc.BatchCreateProposalsRequest(requests=[one] * 20))


def with_a_small_window(store: RunningStore) -> Client:
    """A client whose HTTP/2 window stays at 64 KiB, so that not reading soon stops the server from sending."""
    return Client(open_channel(store.target, ChannelSettings(), options=[("grpc.http2.bdp_probe", 0)]))


async def read_to_the_end(call: Any) -> tuple[int, RpcFailure]:
    """The last revision that came, and how the watch ended."""
    seen = 0
    try:
        async with asyncio.timeout(20):
            while (update := await call.read()) is not grpc.aio.EOF:
                seen = max(seen, update.event.revision, update.progress.revision)
    except grpc.aio.AioRpcError as ended:
        return seen, from_rpc_error(ended)
    raise AssertionError("the watch ended without an error")


@pytest.mark.asyncio
async def test_a_commit_larger_than_the_buffer_reaches_who_reads(database_url: str) -> None:
    async with running_store(database_url, watch_buffer_events=4) as store:
        call = watch(store.bob)
        assert (await call.read()).HasField("progress")
        await fill(store, 60, 10)
        assert [event.revision for event in await events_of(call, 60)] == list(range(1, 61))
        call.cancel()


@pytest.mark.asyncio
@pytest.mark.parametrize("limit", [{"watch_max_lag_events": 30}, {"watch_stall_seconds": 0.3}])
async def test_a_watcher_that_does_not_read_is_told_where_to_resume(database_url: str, limit: dict[str, Any]) -> None:
    async with running_store(database_url, watch_buffer_events=20, **limit) as store:
        client = with_a_small_window(store)
        call = watch(client)
        assert (await call.read()).HasField("progress")
        await fill(store, 200, 20_000)
        if "watch_stall_seconds" in limit:
            await asyncio.sleep(1)
        seen, failure = await read_to_the_end(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCH_TOO_SLOW")
        # What was on its way when the watch was ended may still arrive.
        resume = int(failure.metadata["revision"])
        assert 0 < resume <= seen + 1 < 200
        await client.channel.close()
    # Without the limit, which a busy machine might reach again.
    async with running_store(database_url) as store:
        resumed = watch(store.bob, start_revision=resume)
        assert [event.revision for event in await events_of(resumed, 201 - resume)] == list(range(resume, 201))
        resumed.cancel()


@pytest.mark.asyncio
async def test_the_chain_is_verified_in_whole_and_in_part(database_url: str) -> None:
    async with running_store(database_url) as store:
        empty = await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())
        assert (empty.valid, empty.events_checked, empty.head_revision) == (True, 0, 0)
        for number in range(5):
            await store.planner.propose(f"a{number}")
        whole = await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())
        assert (whole.valid, whole.events_checked, whole.head_revision) == (True, 5, 5)
        assert whole.head_hash == (await listed(store.bob)).events[-1].hash
        part = await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest(start_revision=2, end_revision=4))
        assert (part.valid, part.events_checked) == (True, 3)
        for wrong, field in (
            ({"start_revision": 6}, "start_revision"),
            ({"start_revision": -1}, "start_revision"),
            ({"end_revision": 6}, "end_revision"),
            ({"start_revision": 4, "end_revision": 2}, "end_revision"),
        ):
            failure = await failure_of(store.bob.events.VerifyEvents(rpc.VerifyEventsRequest(**wrong)))
            assert failure.metadata["field"] == field


@pytest.mark.asyncio
async def test_checkpoints_are_signed_with_the_key_that_was_given(database_url: str, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    async with running_store(database_url, checkpoint_key_file=key_file) as store:
        await store.planner.propose()
        checkpoint = await store.bob.events.GetCheckpoint(rpc.GetCheckpointRequest())
        [event] = (await listed(store.bob)).events
        assert (checkpoint.revision, checkpoint.hash) == (1, event.hash)
        head = LogHead(checkpoint.revision, checkpoint.hash)
        time = instant_of(checkpoint.time.ToDatetime(tzinfo=UTC))
        signed = signed_bytes(head, time, checkpoint.key_id)
        assert checkpoint.public_key == key.public_key().public_bytes_raw()
        Ed25519PublicKey.from_public_bytes(checkpoint.public_key).verify(checkpoint.signature, signed)
    async with running_store(database_url) as store:
        failure = await failure_of(store.bob.events.GetCheckpoint(rpc.GetCheckpointRequest()))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CHECKPOINT_KEY_MISSING")


@pytest.mark.asyncio
@pytest.mark.parametrize("noticed_by", ["a read", "a write"])
async def test_a_database_set_back_to_an_older_state_ends_all_watches(
    postgres_url: str, noticed_by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a failover to a replica that lacks the last commits, or a backup that was restored under the store."""
    async with running_store(postgres_url) as store:
        proposals = [await store.planner.propose() for _ in range(3)]
        following = watch(store.bob, start_revision=1)
        assert len(await events_of(following, 3)) == 3
        engine = create_async_engine(postgres_url.replace("postgresql:", "postgresql+asyncpg:"))
        async with engine.begin() as connection:
            await connection.execute(text("DELETE FROM events WHERE revision > 1"))
            await connection.execute(text("DELETE FROM proposals WHERE id <> :id"), {"id": proposals[0].id})
            await connection.execute(
                text("UPDATE log_head SET revision = 1, hash = (SELECT hash FROM events WHERE revision = 1)")
            )
        await engine.dispose()
        if noticed_by == "a write":
            await store.planner.propose()
        async with asyncio.timeout(10):
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await read_to_its_end(following)
        assert ended.value.code() is grpc.StatusCode.OUT_OF_RANGE
        # Those who begin anew get what there is.
        await store.planner.propose()
        count = 3 if noticed_by == "a write" else 2
        again = await events_of(watch(store.bob, start_revision=1), count)
        assert [event.revision for event in again] == list(range(1, count + 1))
        assert (await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())).valid
    assert "went back to an older state" in capsys.readouterr().out
