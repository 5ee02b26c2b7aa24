"""Every page for people who use a keyboard, a screen reader, a phone or a dark screen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from plangate.store.v1 import proposal_pb2

from tests.support.browser import PHONE, Browser, accessibility_findings
from tests.support.support_desk import Desk, job

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURES = Path(__file__).parents[3] / "docs" / "pictures"


async def support_case(desk: Desk) -> list[proposal_pb2.Proposal]:
    """One request with every kind of step, revised once, and one that has ended."""
    context = Struct()
    context.update({"ticket": "ZD-991", "customer": "Ben Example"})
    steps = await desk.submit(
        job("get_order", id="look", order_id="4711"),
        job("refund_order", "look", id="refund", order_id="4711", amount=120, reason="arrived broken"),
        job("unlock_account", id="unlock", email="ben@example.org"),
        job("set_feature_flag", "refund", id="flag", flag="new-checkout", enabled=False),
        job("drop_database", id="drop", name="orders"),
        objective="Ben cannot sign in, and order 4711 arrived broken: pay it back, and turn the new checkout off",
        context=context,
        labels={"team": "shop"},
    )
    args = Struct()
    args.update({"order_id": "4711", "amount": 89.9, "reason": "arrived broken"})
    await desk.planner("ria").revise_proposal(
        steps[1].id, expected_version=1, action_args=args, comment="without postage"
    )
    [restart] = await desk.submit(job("restart_service", service="search"), objective="Search is slow since noon")
    await desk.store("otto").proposals.approve(restart.id, expected_version=1, comment="go")
    await desk.submit(job("restart_service", service="mail"), objective="Mails are late", actor="lea")
    return steps


async def ready(page: Any, url: str) -> None:
    """Open a page and wait until it follows the log, if it does."""
    await page.goto(url)
    if await page.locator("#live").count():
        await page.wait_for_load_state("load")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "phone"])
async def test_no_page_has_a_finding(desk: Desk, browser: Browser, scheme: str, width: str) -> None:
    steps = await support_case(desk)
    options: dict[str, Any] = {"color_scheme": scheme, **({"viewport": PHONE} if width == "phone" else {})}
    stranger = await browser.page(**options)
    await stranger.set_content("<html><body><img src='data:,'><input></body></html>")
    assert len(await accessibility_findings(stranger)) >= 3
    await stranger.goto(f"{desk.url}/sign-in")
    assert await accessibility_findings(stranger) == []
    page = await browser.person(desk.url, "lea", "support-lead", "finance", **options)
    paths = {
        "waiting": "/",
        "proposal": f"/proposals/{steps[1].id}",
        "revise": f"/proposals/{steps[1].id}/revise",
        "plan": f"/plans/{steps[1].plan_id}",
        "requests": "/requests",
        "new-request": "/requests/new",
        "proposals": "/proposals",
        "log": "/log",
        "policy": "/policy",
        "missing": "/proposals/01a226f9-3cc3-71a2-8ad5-4e75c6427dce",
    }
    for name, path in paths.items():
        await ready(page, desk.url + path)
        if name == "proposal":
            await page.get_by_text("Reject…").click()
        assert await accessibility_findings(page) == [], (name, scheme, width)
        overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{name} is {overflow} px wider than the screen"
    await page.get_by_label("Signed in as lea").click()
    await page.get_by_role("button", name="Keyboard shortcuts").click()
    assert await accessibility_findings(page) == []


async def test_everything_is_reached_by_keyboard(desk: Desk, browser: Browser) -> None:
    steps = await support_case(desk)
    page = await browser.person(desk.url, "lea", "support-lead", "finance")
    press = page.keyboard.press
    await page.get_by_role("link", name="Let a customer sign in again").wait_for()
    titles = await page.locator(".entry-title").all_inner_texts()
    await press("j")
    for _ in range(titles.index("Let a customer sign in again (email=ben@example.org)")):
        await press("j")
    await press("Enter")
    await page.get_by_role("button", name="Approve version 1").wait_for()
    # A key leads to the button; only Enter presses it.
    await press("a")
    store = desk.store("lea")
    assert (await store.proposals.get(steps[2].id)).state == proposal_pb2.PROPOSAL_STATE_PENDING
    assert await page.evaluate("document.activeElement.textContent.trim()") == "Approve version 1"
    await press("Enter")
    await page.get_by_text("You approved it.").wait_for()
    assert (await store.proposals.get(steps[2].id)).state == proposal_pb2.PROPOSAL_STATE_APPROVED
    await page.goto(f"{desk.url}/proposals/{steps[1].id}")
    await page.get_by_text("Reject…").wait_for()
    await press("x")
    await page.keyboard.type("not without the receipt, a j and an x are letters here")
    await press("Tab")
    await press("Enter")
    await page.get_by_text("You rejected it.").wait_for()
    rejected = await store.proposals.get(steps[1].id)
    assert rejected.failure.message == "not without the receipt, a j and an x are letters here"
    await press("g")
    await press("l")
    await page.wait_for_url("**/log")
    await press("?")
    await page.get_by_role("dialog").wait_for()
    await page.get_by_label("Shortcuts are on in this browser").uncheck()
    await press("Escape")
    await press("u")
    await page.wait_for_timeout(200)
    assert page.url.endswith("/log")


async def test_pictures_for_the_documentation(desk: Desk, browser: Browser, tmp_path: Path) -> None:
    """Kept in docs/pictures when the variable UPDATE_PICTURES is set."""
    directory = PICTURES if os.environ.get("UPDATE_PICTURES") else tmp_path
    directory.mkdir(exist_ok=True)
    steps = await support_case(desk)
    page = await browser.person(desk.url, "lea", "support-lead", "finance", viewport={"width": 1180, "height": 760})
    for name, path in (
        ("review-waiting", "/"),
        ("review-proposal", f"/proposals/{steps[1].id}"),
        ("review-plan", f"/plans/{steps[1].plan_id}"),
    ):
        await ready(page, desk.url + path)
        await page.screenshot(path=directory / f"{name}.png", full_page=name != "review-waiting")
    phone = await browser.person(
        desk.url, "lea", "support-lead", "finance", viewport=PHONE, color_scheme="dark", device_scale_factor=1
    )
    await ready(phone, f"{desk.url}/proposals/{steps[2].id}")
    await phone.screenshot(path=directory / "review-phone.png")
    assert sum(file.stat().st_size for file in directory.glob("review-*.png")) > 50_000
