"""Executors killed with SIGKILL between effect and report, on a bank that remembers every payment it was asked for: no
payment is made twice, and none is lost without a word."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.client import StoreClient
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.processes import store_process

CATALOGUE = """
version: 1
actions:
  - name: pay
    description: Pays an order.
    policy: allow
    parameters:
      properties: {order_id: {type: string}, dies: {type: string, enum: [before, after, never]}}
      required: [order_id, dies]
    command:
      argv:
        - "{python}"
        - "{catalogue_directory}/bank.py"
        - "{catalogue_directory}/ledger"
        - "{args.order_id}"
        - "{args.dies}"
"""
RECONCILE = """
    reconcile:
      command:
        argv: ["{python}", "{catalogue_directory}/books.py", "{catalogue_directory}/ledger", "{args.order_id}"]
"""
BOOKS = """
import sys
ledger, order_id = sys.argv[1:]
sys.exit(0 if order_id in open(ledger).read().split() else 1)
"""
# What it is run by is the executor: killed before the payment or after it, and never when it was killed for it before.
BANK = """
import os, signal, sys
ledger, order_id, dies = sys.argv[1:]
marker = f"{ledger}.{order_id}.killed"
def die(when):
    if dies == when and not os.path.exists(marker):
        open(marker, "x").close()
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
die("before")
with open(ledger, "a") as file:
    file.write(order_id + "\\n")
die("after")
"""
DEADLINE_SECONDS = 90.0
SETTLED = (
    proposal_pb2.PROPOSAL_STATE_EXECUTED,
    proposal_pb2.PROPOSAL_STATE_FAILED,
    proposal_pb2.PROPOSAL_STATE_UNRESOLVED,
)


async def work(directory: Path, store_address: str) -> int:
    """One executor, until it is killed or there is nothing to do; returns its status."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "plangate_client", "work", "--once", "--lease", "1", "--parallel", "1"),
        *("--catalogue", str(directory / "catalogue.yaml"), "--directory", str(directory)),
        env={"PATH": "/usr/bin:/bin", "PLANGATE_STORE_TARGET": store_address, "HOME": str(directory)},
        cwd=directory,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


@pytest.mark.asyncio
@pytest.mark.timeout(180)
async def test_the_books_are_asked_first_where_the_catalogue_says_how(tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE.rstrip() + RECONCILE)
    (tmp_path / "bank.py").write_text(BANK)
    (tmp_path / "books.py").write_text(BOOKS)
    ledger = tmp_path / "ledger"
    ledger.touch()
    async with (
        store_process(tmp_path) as server,
        StoreClient(open_channel(server.address, ChannelSettings(), actor="planner")) as planner,
    ):
        plan = plan_pb2.Plan(objective="pay", prompt="pay", state=plan_pb2.PLAN_STATE_PLANNED)
        for dies in ("after", "before", "never"):
            job = plan.jobs.add(id=dies, action_name="pay", effect_key=f"pay:{dies}")
            job.action_args.update({"order_id": dies, "dies": dies})
            job.decision.effect = plan_pb2.EFFECT_ALLOW
        jobs = (await planner.plans.create(plan)).jobs
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                await work(tmp_path, server.address)
                found = [await planner.proposals.get(job.proposal_id) for job in jobs]
                if {each.state for each in found} == {proposal_pb2.PROPOSAL_STATE_EXECUTED}:
                    break
        assert Counter(ledger.read_text().split()) == {"after": 1, "before": 1, "never": 1}
        filter_ = f'kind = "proposal.resolved" AND entity_id = "{jobs[0].proposal_id}"'
        [resolved] = [event async for event in planner.events.list_all(filter=filter_)]
        assert resolved.comment == "looked up: exit status 0"


@pytest.mark.asyncio
@pytest.mark.timeout(180)
async def test_no_payment_twice_and_none_lost(tmp_path: Path) -> None:
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    (tmp_path / "bank.py").write_text(BANK)
    ledger = tmp_path / "ledger"
    ledger.touch()
    orders = {f"order-{number}": dies for number, dies in enumerate(("after", "before", "never", "after", "never"))}
    async with (
        store_process(tmp_path) as server,
        StoreClient(open_channel(server.address, ChannelSettings(), actor="planner")) as planner,
        StoreClient(open_channel(server.address, ChannelSettings(), actor="bob")) as bob,
    ):
        plan = plan_pb2.Plan(objective="pay", prompt="pay", state=plan_pb2.PLAN_STATE_PLANNED)
        for order_id, dies in orders.items():
            job = plan.jobs.add(id=order_id, action_name="pay", effect_key=f"pay:{order_id}", max_attempts=5)
            job.action_args.update({"order_id": order_id, "dies": dies})
            job.decision.effect = plan_pb2.EFFECT_ALLOW
        jobs = (await planner.plans.create(plan)).jobs

        async def settled() -> list[proposal_pb2.Proposal]:
            """Everything, once executors that are started again and again have nothing more to do."""
            while True:
                await work(tmp_path, server.address)
                found = [await bob.proposals.get(job.proposal_id) for job in jobs]
                if all(proposal.state in SETTLED for proposal in found):
                    return found

        async with asyncio.timeout(DEADLINE_SECONDS):
            found = await settled()
        paid = Counter(ledger.read_text().split())
        assert max(paid.values()) == 1, paid
        states = {each.job_id: proposal_pb2.ProposalState.Name(each.state) for each in found}
        assert states == {
            order_id: f"PROPOSAL_STATE_{'EXECUTED' if dies == 'never' else 'UNRESOLVED'}"
            for order_id, dies in orders.items()
        }

        # A person looks into the bank's books and says what they found.
        for proposal in found:
            if proposal.state == proposal_pb2.PROPOSAL_STATE_UNRESOLVED:
                done = proposal.job_id in paid
                await bob.proposals.resolve(
                    proposal.id,
                    expected_version=proposal.version,
                    done=done,
                    retry=not done,
                    reason="it is in the books" if done else "it is not in the books",
                )
        async with asyncio.timeout(DEADLINE_SECONDS):
            found = await settled()
        assert {each.state for each in found} == {proposal_pb2.PROPOSAL_STATE_EXECUTED}
        assert Counter(ledger.read_text().split()) == dict.fromkeys(orders, 1)
