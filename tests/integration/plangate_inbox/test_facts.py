"""Facts are fetched before a review, and the page shows them: in a real browser against real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.struct_pb2 import Struct

from plangate_client.client import StoreClient
from tests.support.browser import Browser
from tests.support.planner_house import struct
from tests.support.support_desk import SHOWING_ORDERS, Desk, job, open_desk

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def showing_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, catalogue=SHOWING_ORDERS) as running:
        yield running


async def fetch(runner: StoreClient, result: Struct) -> str:
    """As an executor does. Returns the number of the order."""
    [fetched] = await runner.proposals.claim(action_names=["get_order"])
    await runner.proposals.complete(fetched.id, attempt=fetched.attempt, result=result)
    return str(fetched.action_args["order_id"])


async def test_a_reviewer_sees_the_order_and_approves_what_was_seen(showing_desk: Desk, browser: Browser) -> None:
    desk = showing_desk
    [refund] = await desk.submit(job("refund_order", order_id="4711", amount=20))
    page = await browser.person(desk.url, "lea", "support-lead")
    await page.goto(f"{desk.url}/proposals/{refund.id}")
    await page.get_by_text("It is being fetched: waits for an executor.").wait_for()
    await page.get_by_text("What get_order says is being fetched for you first.").wait_for()
    assert await page.get_by_role("button", name="Approve").count() == 0
    runner = desk.store("runner", "executor")
    assert await fetch(runner, struct(total=19.9, state="shipped")) == "4711"
    # The page follows: nothing could be decided on before.
    await page.get_by_role("button", name="Approve version 2").wait_for()
    facts = page.locator("section", has=page.get_by_role("heading", name="Looked up for this decision"))
    text = await facts.inner_text()
    assert all(expected in text for expected in ("get_order", "4711", "19.9", "shipped")), text
    await desk.planner("ria").revise_proposal(
        refund.id, expected_version=2, action_args=struct(order_id="4712", amount=20)
    )
    await page.get_by_text("This proposal changed while you were reading.").wait_for()
    await page.reload()
    await page.get_by_text("It is being fetched").wait_for()
    assert "19.9" not in await facts.inner_text()
    assert await fetch(runner, struct(total=5)) == "4712"
    await page.get_by_role("link", name="Waiting for me").click()
    await page.get_by_text('get_order: {"total": 5}').click()
    await page.get_by_role("button", name="Approve version 4").click()
    await page.get_by_text("You approved it.").wait_for()
    stored = await desk.store("lea").proposals.get(refund.id)
    assert [(each.version, dict(stored.facts[0].result)) for each in stored.approvals] == [(4, {"total": 5})]
