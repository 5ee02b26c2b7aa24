"""Notifications from the log to real receivers: nothing is lost, a slow one delays nobody."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from plangate.store.v1 import store_service_pb2 as rpc
from prometheus_client import CollectorRegistry

from plangate_client.client import StoreClient
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from plangate_inbox.notifications.channels import channel_of
from plangate_inbox.notifications.delivery import Delivery, Rules, end
from plangate_inbox.notifications.metrics import NotificationMetrics
from plangate_inbox.notifications.notify_file import NotifyForm
from plangate_inbox.notifications.position import Position
from plangate_inbox.notifications.service import notifying
from tests.support.polling import until
from tests.support.receivers import running_hook, running_mailbox
from tests.support.served_store import RunningStore, running_store

pytestmark = pytest.mark.asyncio

URL = "https://plangate.example.org"


def notify(*receivers: dict[str, Any], **fields: Any) -> NotifyForm:
    return NotifyForm.model_validate({"version": 1, "receivers": list(receivers), **fields})


def events_of(bodies: Sequence[Any]) -> list[tuple[str, str]]:
    return [(body["event"], body["action"]) for body in bodies]


def client(store: RunningStore) -> StoreClient:
    return StoreClient(open_channel(store.target, ChannelSettings(), actor="notifier"))


def kept(directory: Path, name: str) -> Any:
    """What a receiver's position is on disk."""
    return json.loads((directory / f"{name}.json").read_text())


def ended(registry: CollectorRegistry, receiver: str, outcome: str) -> float | None:
    return registry.get_sample_value("plangate_notifications_total", {"receiver": receiver, "outcome": outcome})


def waiting_seconds(registry: CollectorRegistry, receiver: str) -> float:
    seconds = registry.get_sample_value("plangate_notifications_waiting_seconds", {"receiver": receiver})
    assert seconds is not None
    return seconds


async def delivering(directory: Path, name: str) -> None:
    """Wait until a receiver follows the log: its position is there."""
    await until(lambda: (directory / f"{name}.json").exists())


async def test_a_webhook_hears_of_what_waits_for_its_role_and_of_the_end(sqlite_url: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hmac-key\n")
    async with running_store(sqlite_url) as store, running_hook() as hook, client(store) as reader:
        form = notify(
            {
                "name": "finance",
                "events": ["waiting", "revised", "ended"],
                "actions": "refund*",
                "webhook": {"url": hook.url, "secret_file": str(secret)},
            }
        )
        await store.planner.propose("before_there_was_a_receiver")
        async with notifying(form, tmp_path / "positions", reader, URL):
            await delivering(tmp_path / "positions", "finance")
            await store.planner.propose("restart")
            refund = await store.planner.propose("refund", reviewer_role="finance", required_approvals=1)
            await store.as_("lea", "finance").approve(refund)
            [claimed] = await store.worker.claim(action_names=["refund"])
            done = rpc.CompleteProposalRequest(id=claimed.id, attempt=claimed.lease.attempt)
            await store.worker.proposals.CompleteProposal(done)
            await until(lambda: len(hook.posts) == 2)
        assert events_of([post.json for post in hook.posts]) == [("waiting", "refund"), ("ended", "refund")]
        post = hook.posts[0]
        assert post.json["roles"] == ["finance"]
        assert post.json["link"] == f"{URL}/proposals/{refund.id}"
        assert post.headers["Plangate-Notification-Id"] == post.json["id"]
        timestamp = post.headers["Plangate-Signature"].partition(",")[0].removeprefix("t=")
        expected = hmac.new(b"hmac-key", timestamp.encode() + b"." + post.body, hashlib.sha256).hexdigest()
        assert post.headers["Plangate-Signature"] == f"t={timestamp},v1={expected}"


async def test_a_receiver_that_is_down_gets_everything_later_and_delays_nobody(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        running_store(sqlite_url) as store,
        running_hook() as slow,
        running_hook() as quick,
        client(store) as reader,
    ):
        slow.held = asyncio.Event()
        form = notify(
            {"name": "slow", "events": ["waiting"], "webhook": {"url": slow.url}},
            {"name": "quick", "events": ["waiting"], "webhook": {"url": quick.url}},
        )
        actions = [f"act_{number}" for number in range(5)]
        registry = CollectorRegistry()
        async with notifying(form, tmp_path, reader, URL, NotificationMetrics(registry)):
            await delivering(tmp_path, "slow")
            await delivering(tmp_path, "quick")
            for action in actions:
                await store.planner.propose(action)
            await until(lambda: len(quick.posts) == 5 and kept(tmp_path, "quick")["revision"] == 5)
            assert (slow.posts, kept(tmp_path, "slow")["revision"]) == ([], 0)
            assert waiting_seconds(registry, "slow") > 0 == waiting_seconds(registry, "quick")
            assert (ended(registry, "slow", "delivered"), ended(registry, "quick", "delivered")) == (0, 5)
        # The process ended while one receiver had taken nothing. The next one begins where that one is.
        slow.held.set()
        slow.statuses = [503, 429]
        async with notifying(form, tmp_path, reader, URL):
            await store.planner.propose("act_5")
            await until(lambda: len(slow.taken()) == 6, timeout_seconds=60)
            await until(lambda: len(quick.posts) == 6)
        assert [body["action"] for body in slow.taken()] == [*actions, "act_5"]
        assert [post.json["action"] for post in quick.posts] == [*actions, "act_5"]
        # What was tried again has the id it had.
        ids = [post.json["id"] for post in slow.posts if post.json["action"] == "act_0"]
        assert len(ids) == 3
        assert len(set(ids)) == 1


async def test_a_receiver_that_is_down_for_an_hour_loses_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """The hour passes in pauses: each is noted and not waited for."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if sum(pauses) >= 3600:
            hook.statuses = []
        await asyncio.sleep(0)

    actions = [f"act_{number}" for number in range(4)]
    async with (
        running_store(sqlite_url) as store,
        running_hook() as hook,
        client(store) as reader,
        aiohttp.ClientSession() as http,
    ):
        hook.statuses = [503] * 10_000
        form = notify({"name": "room", "events": ["waiting"], "webhook": {"url": hook.url}})
        [receiver] = form.receivers
        delivery = Delivery(
            receiver,
            channel_of(receiver, form, http),
            Position(tmp_path / "room.json"),
            reader,
            Rules(URL, timedelta(hours=1), form.give_up_seconds),
            NotificationMetrics(CollectorRegistry()),
            sleep=pause,
        )
        delivery.metrics.add("room")
        running = asyncio.create_task(delivery.run())
        try:
            await delivering(tmp_path, "room")
            for action in actions:
                await store.planner.propose(action)
            await until(lambda: len(hook.taken()) == len(actions), timeout_seconds=30)
        finally:
            await end([running])
    assert [body["action"] for body in hook.taken()] == actions
    assert len({post.json["id"] for post in hook.posts if post.json["action"] == "act_0"}) == 1
    assert sum(pauses) >= 3600
    # Once the receiver is back, it hears of everything within the longest pause; it is not tried more often than that.
    assert max(pauses) <= 300
    assert len(hook.posts) < 100
    assert form.give_up_seconds == 3 * 86_400


async def test_what_a_receiver_refuses_for_good_does_not_hold_up_the_rest(sqlite_url: str, tmp_path: Path) -> None:
    async with running_store(sqlite_url) as store, running_hook() as hook, client(store) as reader:
        hook.statuses = [400]
        form = notify({"name": "room", "events": ["waiting"], "webhook": {"url": hook.url}})
        registry = CollectorRegistry()
        async with notifying(form, tmp_path, reader, URL, NotificationMetrics(registry)):
            await delivering(tmp_path, "room")
            await store.planner.propose("first")
            await store.planner.propose("second")
            await until(lambda: ended(registry, "room", "delivered") == 1)
        assert ended(registry, "room", "refused") == 1
        assert [post.json["action"] for post in hook.posts] == ["first", "second"]


async def test_requesters_are_written_to_at_the_end(sqlite_url: str, tmp_path: Path) -> None:
    async with running_store(sqlite_url) as store, running_mailbox() as box, client(store) as reader:
        box.refusals = [450]
        form = notify(
            {"name": "requesters", "events": ["ended"], "email": {"to": ["requester", "audit@example.org"]}},
            smtp={"host": "127.0.0.1", "port": box.port, "sender": "plangate@example.org", "security": "none"},
            people={"ria": "ria@example.org"},
        )
        async with notifying(form, tmp_path, reader, URL):
            await delivering(tmp_path, "requesters")
            on_behalf = (("x-plangate-on-behalf-of", "ria"),)
            request = rpc.CreateProposalRequest(
                proposal={"action_name": "refund", "description": "Pay 20 back\r\nBcc: x@evil"}, submit=True
            )
            proposal = await store.planner.proposals.CreateProposal(request, metadata=on_behalf)
            await store.bob.proposals.RejectProposal(
                rpc.RejectProposalRequest(id=proposal.id, expected_version=1, reason="too late")
            )
            await until(lambda: len(box.messages) >= 1, timeout_seconds=30)
        [message] = box.messages
        assert message["To"] == "ria@example.org, audit@example.org"
        assert message["Subject"].startswith("Ended: Pay 20 back")
        assert message["Bcc"] is None
        content = message.get_content()
        assert "It was rejected. too late" in content
        assert f"{URL}/proposals/{proposal.id}" in content


async def test_a_command_gets_the_notification_and_none_of_our_environment(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANGATE_TOKEN", "secret")
    taken = tmp_path / "taken.json"
    script = tmp_path / "notify.py"
    script.write_text(
        "import json, os, sys\n"
        f"mark = {str(tmp_path / 'tried')!r}\n"
        "if not os.path.exists(mark):\n"
        "    open(mark, 'w').close()\n"
        "    sys.exit(3)\n"
        "ours = sorted(name for name in os.environ if name.startswith('PLANGATE_'))\n"
        f"json.dump([json.load(sys.stdin), ours], open({str(taken) + '.new'!r}, 'w'))\n"
        f"os.replace({str(taken) + '.new'!r}, {str(taken)!r})\n"
    )
    async with running_store(sqlite_url) as store, client(store) as reader:
        form = notify(
            {"name": "script", "events": ["waiting"], "command": {"argv": [sys.executable, str(script)]}},
        )
        async with notifying(form, tmp_path / "positions", reader, URL):
            await delivering(tmp_path / "positions", "script")
            await store.planner.propose("refund")
            await until(taken.exists, timeout_seconds=30)
    notification, ours = json.loads(taken.read_text())
    assert notification["event"] == "waiting"
    assert ours == ["PLANGATE_NOTIFICATION_ID"]


async def test_what_expires_soon_is_told_once_and_what_was_decided_is_not(sqlite_url: str, tmp_path: Path) -> None:
    async with running_store(sqlite_url) as store, running_hook() as hook, client(store) as reader:
        form = notify({"name": "room", "events": ["expiring"], "webhook": {"url": hook.url}}, before_expiry="1h")

        def in_minutes(minutes: float) -> Timestamp:
            time = Timestamp()
            time.FromDatetime(datetime.now(UTC) + timedelta(minutes=minutes))
            return time

        early = await store.planner.propose("known_before", expire_time=in_minutes(30))
        async with notifying(form, tmp_path, reader, URL):
            await until(lambda: len(hook.posts) == 1)
            await store.planner.propose("much_later", expire_time=in_minutes(300))
            await store.planner.propose("soon", expire_time=in_minutes(60.02))
            # Who stops between a delivery and keeping it delivers again.
            await until(lambda: len(kept(tmp_path, "room")["reminded"]) == 2, timeout_seconds=60)
        async with notifying(form, tmp_path, reader, URL):
            await store.planner.propose("soon_too", expire_time=in_minutes(10))
            await until(lambda: len(hook.posts) == 3)
        assert events_of([post.json for post in hook.posts]) == [
            ("expiring", "known_before"),
            ("expiring", "soon"),
            ("expiring", "soon_too"),
        ]
        assert hook.posts[0].json["proposal_id"] == early.id
