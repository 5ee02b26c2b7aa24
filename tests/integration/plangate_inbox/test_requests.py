"""From a request in plain words to its result, without a terminal: requester and reviewers in browsers of their own."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct
from plangate.store.v1 import proposal_pb2

from tests.support.browser import Browser
from tests.support.support_desk import Desk, job

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def carry_out(desk: Desk, count: int) -> None:
    """What an executor does with what may be done."""
    store = desk.store("runner")
    for _ in range(count):
        [claimed] = await store.proposals.claim(wait_seconds=10)
        result = Struct()
        result.update({"reference": f"done-{claimed.action_name}"})
        await store.proposals.complete(claimed.id, attempt=claimed.attempt, result=result)


async def test_from_request_to_result(desk: Desk, browser: Browser) -> None:
    desk.house.answers(
        ("refund_order", {"order_id": "4711", "amount": 89.9}),
        ("unlock_account", {"email": "ben@example.org"}),
        ("set_feature_flag", {"flag": "new-checkout", "enabled": False, "environment": "production"}),
        ("restart_service", {"service": "shop"}),
    )
    ria = await browser.person(desk.url, "ria")
    lea = await browser.person(desk.url, "lea", "finance", "support-lead")
    finn = await browser.person(desk.url, "finn", "finance")
    await ria.keyboard.press("n")
    await ria.get_by_label("What is wanted").fill(
        "Pay 89.9 back for order 4711, unlock ben@example.org, turn new-checkout off in production and restart the shop"
    )
    await ria.get_by_label("Facts that belong to it").fill("ticket: ZD-991")
    await ria.get_by_label("Labels").fill("team=shop")
    await ria.get_by_role("button", name="Request it").click()
    # The plan's page fills itself.
    await (
        ria.get_by_role("link", name="refund_order, pending")
        .or_(ria.get_by_label("job_1, refund_order, pending"))
        .wait_for()
    )
    assert "ZD-991" in await ria.locator("main").inner_text()
    for reviewer in (lea, finn):
        await reviewer.get_by_role("link", name="Pay an order's price back").click()
        await reviewer.get_by_role("button", name="Approve").click()
        await reviewer.get_by_text("You approved it.").wait_for()
    for step in ("Let a customer sign in again", "Turn a feature on or off", "Restart all replicas"):
        await lea.get_by_role("link", name=f"Next: {step}").click()
        await lea.get_by_role("button", name="Approve").click()
        await lea.get_by_text("You approved it.").wait_for()
    await carry_out(desk, 4)
    await ria.get_by_label("job_4, restart_service, executed").wait_for()
    await ria.get_by_role("link", name="My requests").click()
    await ria.get_by_text("4 executed").wait_for()
    await ria.get_by_role("link", name="Pay 89.9 back").or_(ria.locator("[data-entry]")).first.click()
    await ria.locator(".steps a").first.click()
    await ria.get_by_text("done-refund_order").wait_for()


async def test_a_requester_revises_and_sees_what_policy_would_say(desk: Desk, browser: Browser) -> None:
    [refund] = await desk.submit(job("refund_order", order_id="4711", amount=20))
    page = await browser.person(desk.url, "ria")
    await page.goto(f"{desk.url}/proposals/{refund.id}")
    await page.get_by_role("link", name="Revise…").click()
    await page.get_by_label("amount").fill("a lot")
    await page.get_by_role("button", name="Check only").click()
    await page.get_by_text("amount: 'a lot' is not a number").wait_for()
    await page.get_by_label("amount").fill("80")
    await page.get_by_role("button", name="Check only").click()
    await page.get_by_text("Checked, not stored.").wait_for()
    assert "It would need 2 approvals by finance" in await page.locator("main").inner_text()
    store = desk.store("ria")
    assert (await store.proposals.get(refund.id)).version == 1
    await page.get_by_label("amount").fill("20000")
    await page.get_by_role("button", name="Check only").click()
    await page.get_by_role("alert").wait_for()
    await page.get_by_label("amount").fill("80")
    await page.get_by_label("Why?").fill("two items")
    await page.get_by_role("button", name="Revise version 1").click()
    await page.get_by_text("You revised it.").wait_for()
    stored = await store.proposals.get(refund.id)
    assert (stored.action_args["amount"], stored.required_approvals, stored.version) == (80, 2, 2)


async def test_plans_proposals_log_and_policy_are_searched(desk: Desk, browser: Browser) -> None:
    look, refund = await desk.submit(
        job("get_order", id="look", order_id="4711"),
        job("refund_order", "look", id="refund", order_id="4711", amount=20),
    )
    await desk.submit(job("restart_service", service="web"), actor="lea")
    page = await browser.person(desk.url, "otto")
    await page.goto(f"{desk.url}/proposals")
    await page.get_by_role("link", name="Approved 1").click()
    assert await page.locator("[data-entry]").count() == 1
    await page.goto(f"{desk.url}/proposals")
    await page.keyboard.press("/")
    await page.keyboard.type('action_name = "restart_service"')
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Restart all replicas").wait_for()
    assert await page.locator("[data-entry]").count() == 1
    await page.get_by_label("Filter").fill("no such field = 1")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("alert").wait_for()
    await page.goto(f"{desk.url}/log")
    await page.get_by_label("Who").fill("lea")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_text("lea requested the plan").or_(page.get_by_text("lea proposed it")).first.wait_for()
    assert "ria" not in await page.locator(".entries").inner_text()
    await page.goto(f"{desk.url}/plans/{refund.plan_id}")
    await page.get_by_text("Cancel the whole plan…").click()
    await page.get_by_label("Why? It goes to the log.").fill("a mistake")
    await page.get_by_role("button", name="Cancel the plan").click()
    await page.get_by_label("refund, refund_order, cancelled").wait_for()
    assert (await desk.store("ria").proposals.get(look.id)).state == proposal_pb2.PROPOSAL_STATE_CANCELLED
    await page.goto(f"{desk.url}/policy")
    await page.get_by_label("The candidate").fill("version: 1\nrules: nonsense")
    await page.get_by_role("button", name="Try it").click()
    await page.get_by_role("alert").wait_for()
    await page.get_by_label("The candidate").fill(
        "version: 1\nrules: [{name: open, match: {action: refund_order}, effect: allow}]"
    )
    await page.get_by_role("button", name="Try it").click()
    await page.get_by_role("status").wait_for()
    row = page.get_by_role("row", name="refund_order")
    assert "needs 1 approval by support-lead" in await row.inner_text()
    assert "allowed" in await row.inner_text()
