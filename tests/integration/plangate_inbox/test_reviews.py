"""A review from the list to the result, in a real browser against real servers."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct
from plangate.store.v1 import proposal_pb2

from tests.support.browser import Browser
from tests.support.support_desk import Desk, job

pytestmark = pytest.mark.asyncio(loop_scope="session")

LEA = ("lea", "support-lead", "finance")


async def test_a_proposal_is_found_understood_and_approved(desk: Desk, browser: Browser) -> None:
    context = Struct()
    context.update({"ticket": "ZD-991"})
    look, refund = await desk.submit(
        job("get_order", id="look", order_id="4711"),
        job("refund_order", "look", id="refund", order_id="4711", amount=20, reason="broken"),
        objective="Pay 20 back for order 4711",
        context=context,
        labels={"team": "shop"},
    )
    page = await browser.person(desk.url, *LEA)
    await page.get_by_role("link", name="Pay an order's price back").click()
    text = await page.locator("main").inner_text()
    for expected in (
        "Pay 20 back for order 4711",
        "ZD-991",
        "team: shop",
        "a lead looks at every refund",
        "small-refunds",
        "1 approval by support-lead",
        "20 EUR",
        "The number on the receipt.",
        "refund_order is carried out with exactly these arguments as soon as look (get_order) is done",
        "It is asked of you because you have the role support-lead.",
    ):
        assert expected in text, expected
    await page.get_by_label("Comment").fill("checked the photo")
    await page.get_by_role("button", name="Approve version 1").click()
    await page.get_by_text("You approved it.").wait_for()
    stored = await desk.store("lea").proposals.get(refund.id)
    assert stored.state == proposal_pb2.PROPOSAL_STATE_APPROVED
    assert [(each.reviewer, each.version, each.comment) for each in stored.approvals] == [
        ("lea", 1, "checked the photo")
    ]
    assert stored.approvals[0].args_digest == refund.args_digest
    assert await page.get_by_text("Waits until look (get_order) is done.").count() >= 1
    assert look.id in await page.locator(".steps").inner_html()


async def test_a_proposal_is_rejected_with_a_reason_and_takes_along_what_it_says(desk: Desk, browser: Browser) -> None:
    flag, restart = await desk.submit(
        job("set_feature_flag", id="flag", flag="new-checkout", enabled=True),
        job("restart_service", "flag", id="restart", service="shop"),
    )
    page = await browser.person(desk.url, "otto")
    await page.goto(f"{desk.url}/proposals/{flag.id}")
    await page.get_by_text("Reject…").click()
    assert "Restart all replicas of a service" in await page.locator("details.no[open]").inner_text()
    await page.get_by_label("Why? The requester reads it.").fill("not before Monday")
    await page.get_by_role("button", name="Reject", exact=True).click()
    await page.get_by_text("You rejected it.").wait_for()
    store = desk.store("ria")
    assert (await store.proposals.get(flag.id)).failure.message == "not before Monday"
    assert (await store.proposals.get(restart.id)).state == proposal_pb2.PROPOSAL_STATE_CANCELLED


async def test_one_hears_of_what_another_one_did_and_of_new_proposals(desk: Desk, browser: Browser) -> None:
    [refund] = await desk.submit(job("refund_order", order_id="4711", amount=89.9))
    lea = await browser.person(desk.url, *LEA)
    finn = await browser.person(desk.url, "finn", "finance")
    for page in (lea, finn):
        await page.get_by_role("link", name="Pay an order's price back").click()
    await lea.get_by_label("Comment").fill("half written")
    await finn.get_by_role("button", name="Approve version 1").click()
    await finn.get_by_text("You approved it.").wait_for()
    # The other page follows by itself and keeps what is being typed: what is asked of its reader is the same.
    await lea.get_by_text("1 of 2").or_(lea.get_by_text("still missing: 1 approval by finance")).first.wait_for()
    await lea.get_by_role("button", name="Approve version 2").wait_for()
    assert "finn approved for finance" in await lea.locator(".approvals").inner_text()
    assert await lea.get_by_label("Comment").input_value() == "half written"
    await lea.get_by_role("button", name="Approve version 2").click()
    await lea.get_by_text("You approved it.").wait_for()
    stored = await desk.store("lea").proposals.get(refund.id)
    assert [each.reviewer for each in stored.approvals] == ["finn", "lea"]
    await lea.get_by_role("link", name="Waiting for me").click()
    await lea.get_by_text("Nothing waits for you.").wait_for()
    await desk.submit(job("unlock_account", email="ben@example.org"))
    await lea.get_by_role("link", name="Let a customer sign in again").wait_for()


async def test_what_changed_meanwhile_is_not_approved_but_shown(desk: Desk, browser: Browser) -> None:
    [refund] = await desk.submit(job("refund_order", order_id="4711", amount=20))
    live = await browser.person(desk.url, *LEA)
    # A page whose scripts do not run hears of nothing, and is stopped by the store.
    deaf = await browser.person(desk.url, *LEA, java_script_enabled=False)
    for page in (live, deaf):
        await page.goto(f"{desk.url}/proposals/{refund.id}")
    await live.get_by_role("button", name="Approve version 1").wait_for()
    args = Struct()
    args.update({"order_id": "4711", "amount": 45})
    await desk.planner("ria").revise_proposal(refund.id, expected_version=1, action_args=args, comment="more")
    await live.get_by_text("This proposal changed while you were reading.").wait_for()
    # What was read stays, and is the old version still.
    assert await live.get_by_role("button", name="Approve version 1").count() == 1
    for page in (live, deaf):
        await page.get_by_role("button", name="Approve version 1").click()
        await page.get_by_text("Nothing was decided").wait_for()
        row = page.get_by_role("row", name="amount").first
        assert [await cell.inner_text() for cell in await row.get_by_role("cell").all()] == ["20", "45"]
    stored = await desk.store("lea").proposals.get(refund.id)
    assert (stored.version, len(stored.approvals)) == (2, 0)
    await live.get_by_role("link", name="Look at it as it is now").click()
    assert "What was changed after the request" in await live.locator("main").inner_text()
    await live.get_by_role("button", name="Approve version 2").click()
    await live.get_by_text("You approved it.").wait_for()


async def test_who_may_not_decide_is_told_why(desk: Desk, browser: Browser) -> None:
    [refund] = await desk.submit(job("refund_order", order_id="4711", amount=89.9))
    for name, roles, reason in (
        ("ria", ("finance",), "You requested it."),
        ("otto", (), "You do not have the role finance."),
    ):
        page = await browser.person(desk.url, name, *roles)
        assert await page.get_by_text("Nothing waits for you.").count() == 1
        await page.goto(f"{desk.url}/proposals/{refund.id}")
        await page.get_by_text(reason).wait_for()
        assert await page.get_by_role("button", name="Approve").count() == 0


async def test_an_approval_is_taken_back(desk: Desk, browser: Browser) -> None:
    [refund] = await desk.submit(job("refund_order", order_id="4711", amount=89.9))
    page = await browser.person(desk.url, *LEA)
    await page.goto(f"{desk.url}/proposals/{refund.id}")
    await page.get_by_role("button", name="Approve version 1").click()
    await page.get_by_text("You approved it already.").wait_for()
    await page.get_by_role("button", name="Take my approval back").click()
    await page.get_by_text("You took your approval back.").wait_for()
    assert len((await desk.store("lea").proposals.get(refund.id)).approvals) == 0


async def test_a_person_reports_an_outcome_that_no_executor_did(desk: Desk, browser: Browser) -> None:
    [refund] = await desk.submit(job("refund_order", order_id="4711", amount=20))
    await desk.store("lea", "support-lead").proposals.approve(refund.id, expected_version=1)
    [claimed] = await desk.store("runner").proposals.claim(lease_seconds=1, wait_seconds=10)
    page = await browser.person(desk.url, "otto")
    await page.goto(f"{desk.url}/proposals/{claimed.id}")
    # The lease runs out, and the page follows.
    await page.get_by_text("runner began it and never reported").wait_for()
    await page.get_by_label("It was carried out").check()
    await page.get_by_label("How do you know?").fill("the bank shows it")
    await page.get_by_role("button", name="Report the outcome").click()
    await page.get_by_text("You reported the outcome.").wait_for()
    assert (await desk.store("otto").proposals.get(refund.id)).state == proposal_pb2.PROPOSAL_STATE_EXECUTED


async def test_two_admins_break_the_glass_and_every_page_says_so(desk: Desk, browser: Browser) -> None:
    [refund] = await desk.submit(job("refund_order", order_id="4711", amount=900))
    for name, expected in (("root", "as one of two admins."), ("dora", "You are the second")):
        page = await browser.person(desk.url, name, "admin")
        await page.goto(f"{desk.url}/proposals/{refund.id}")
        if name == "root":
            await page.get_by_text("Break-glass…").click()
        assert expected in await page.locator("details.no[open]").inner_text()
        await page.get_by_label("Why it cannot wait.").fill("the bank closes")
        await page.get_by_role("button", name="Override the review of exactly this").click()
        await page.get_by_text("You were one of the two admins who override its review.").wait_for()
    await page.get_by_text("Two admins had it executed without the approvals that policy asks for.").wait_for()
    stored = await desk.store("lea").proposals.get(refund.id)
    assert (stored.state, stored.break_glass) == (proposal_pb2.PROPOSAL_STATE_APPROVED, True)
    assert [(each.reviewer, each.comment) for each in stored.approvals] == [
        ("root", "the bank closes"),
        ("dora", "the bank closes"),
    ]
    lea = await browser.person(desk.url, *LEA)
    await lea.goto(f"{desk.url}/proposals/{refund.id}")
    await lea.get_by_text("dora wants it executed without review").first.wait_for()
    assert await lea.get_by_text("Break-glass…").count() == 0
