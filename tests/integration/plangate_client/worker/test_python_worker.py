"""A Python worker, from its signature to an executed proposal."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest
from plangate.store.v1 import proposal_pb2

from plangate_client import worker
from plangate_client.executor.execution import Ending, Execution, Observer
from plangate_client.leased_worker import WorkerOptions
from tests.support.pair import running_pair
from tests.support.polling import eventually, until

MODULE = '''
from decimal import Decimal
from pydantic import BaseModel
from plangate_client import worker

class Refund(BaseModel):
    refund_id: str
    key: str

@worker.action("refund_order", risk="low")
async def refund(order_id: str, amount: Decimal) -> Refund:
    """Pay an order back."""
    with open("ledger", "a") as ledger:
        ledger.write(f"{order_id} {amount!r}\\n")
    return Refund(refund_id=f"r-{order_id}", key=worker.current_call().proposal_id)
'''
POLICY = """
version: 1
rules:
  - {name: small, match: {action: refund_order}, when: args.amount <= 100, effect: allow, reason: small}
  - {name: large, match: {action: refund_order}, when: args.amount > 100, effect: require_approval, reason: large}
"""


@pytest.mark.asyncio
async def test_from_a_signature_to_what_was_done(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)

    @worker.action("placeholder")
    def placeholder() -> None:
        """Something to start with."""

    async with running_pair(tmp_path, worker.catalogue_yaml([placeholder])) as pair:
        written = await pair.command("catalogue", "from-worker", "shop:worker", "--output", "shop.yaml")
        assert (written.status, written.stderr) == (0, "")
        catalogue = (tmp_path / "shop.yaml").read_text()
        missing = await pair.command("catalogue", "from-worker", "none")
        assert missing.status == 2
        assert "cannot import none" in missing.stderr
    async with running_pair(tmp_path, catalogue, policy=POLICY) as pair:
        small, large = await pair.submit(
            ("refund_order", {"order_id": "4711", "amount": 10}), ("refund_order", {"order_id": "4712", "amount": 500})
        )
        worked = await pair.command("work", "--worker", "shop", "--once", "--json")
        assert worked.status == 0, worked.stderr
        [line] = [json.loads(line) for line in worked.stdout.splitlines()]
        assert (line["ending"], line["proposal"]["id"]) == ("executed", small.id)
        assert line["proposal"]["result"] == {"refund_id": "r-4711", "key": small.id}
        approved = await pair.command("approve", large.id, "--yes", actor="bob")
        assert approved.status == 0
        assert (await pair.command("work", "--worker", "shop", "--once")).status == 0
    assert (tmp_path / "ledger").read_text() == "4711 Decimal('10')\n4712 Decimal('500')\n"


@pytest.mark.asyncio
async def test_what_a_dead_worker_did_is_looked_up_by_the_next(tmp_path: Path) -> None:
    def look_up(order_id: str) -> str:
        return f"r-{order_id}"

    @worker.action("pay", reconcile=look_up)
    def pay(order_id: str) -> str:
        """Pay."""
        raise AssertionError("it was done already")

    catalogue = worker.catalogue_yaml([pay]) + "  policy: allow\n"
    async with running_pair(tmp_path, catalogue) as pair, pair.store("worker") as store:
        [proposal] = await pair.submit(("pay", {"order_id": "4711"}))
        await store.proposals.claim(action_names=["pay"], lease_seconds=1)

        async def unresolved() -> bool:
            return (await store.proposals.get(proposal.id)).state == proposal_pb2.PROPOSAL_STATE_UNRESOLVED

        await eventually(unresolved)
        await worker.run(store, {"pay": pay}, asyncio.Event(), until_idle=True)
        resolved = await store.proposals.get(proposal.id)
    assert resolved.state == proposal_pb2.PROPOSAL_STATE_EXECUTED
    assert dict(resolved.result) == {"value": "r-4711"}


@pytest.mark.asyncio
async def test_a_thread_keeps_its_lease_until_it_is_done_though_a_cancel_was_requested(tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()

    @worker.action("slow")
    def slow() -> str:
        """Take a while."""
        begun.set()
        go.wait(60)
        return "done"

    catalogue = worker.catalogue_yaml([slow]) + "  policy: allow\n"
    executions: list[Execution] = []
    async with running_pair(tmp_path, catalogue) as pair, pair.store("worker") as store:
        [proposal] = await pair.submit(("slow", {}))
        stop = asyncio.Event()
        running = asyncio.create_task(
            worker.run(
                store,
                {"slow": slow},
                stop,
                options=WorkerOptions(lease_seconds=3.0, wait_seconds=1.0),
                observer=Observer(ended=executions.append),
            )
        )
        await asyncio.to_thread(begun.wait, 30)
        async with pair.store() as requester:
            asked = await requester.proposals.cancel(proposal.id, reason="changed my mind")
            assert asked.cancel_requested
            ends = asked.lease.expire_time.ToMicroseconds()

            async def renewed_twice() -> None:
                while True:
                    lease = (await requester.proposals.get(proposal.id)).lease
                    if lease.expire_time.ToMicroseconds() > ends + 3_000_000:
                        return
                    await asyncio.sleep(0.05)

            await asyncio.wait_for(renewed_twice(), 30)
            assert executions == []
            go.set()
            await until(lambda: len(executions) == 1)
        stop.set()
        await running
    # It was done: a cancel does not undo it, and it is not reported as if it had.
    assert [execution.ending for execution in executions] == [Ending.EXECUTED]
