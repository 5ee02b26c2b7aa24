"""Texts of requesters, models and executors: shown as what they are, on every page, and never run."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct

from tests.support.browser import Browser
from tests.support.support_desk import Desk, job

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPT = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
ALIKE = "p\u0430ypal.example"
TURNED = "invoice\u202efdp.exe"
ZERO = "ad\u200bmin"
MARKUP = "{{ 7 * 7 }} {% if 1 %} ${7*7} <b hx-get='/x' hx-trigger='load'>bold</b>"
HOSTILE = f"{SCRIPT} {ALIKE} {TURNED} {ZERO} {MARKUP}"


async def test_hostile_texts_are_shown_as_what_they_are(desk: Desk, browser: Browser) -> None:
    context = Struct()
    context.update({HOSTILE: HOSTILE})
    [refund] = await desk.submit(
        job("refund_order", order_id="4711", amount=20, reason=HOSTILE[:400]),
        objective=HOSTILE,
        context=context,
        labels={"team": ALIKE + SCRIPT},
    )
    lea = await browser.person(desk.url, "lea", "support-lead")
    requests: list[str] = []
    lea.on("request", lambda request: requests.append(request.url))
    await desk.store("otto").proposals.cancel(
        (await desk.submit(job("restart_service", service="web"), objective=HOSTILE))[0].id, reason=HOSTILE
    )
    for path in (
        "/",
        f"/proposals/{refund.id}",
        f"/proposals/{refund.id}/revise",
        f"/plans/{refund.plan_id}",
        "/proposals",
        f"/proposals?filter={HOSTILE}",
        "/log",
        f"/log?actor={HOSTILE}",
        f"/proposals/{refund.id}?notice={HOSTILE}",
        f"/sign-in?next=//evil.example/{HOSTILE}",
    ):
        await lea.goto(desk.url + path)
        body = await lea.content()
        visible = await lea.locator("body").inner_text()
        assert "taken" not in await lea.title(), path
        assert await lea.locator("img, b[hx-get], main script").count() == 0, path
        assert "\u202e" not in body.replace("&#x202e;", "") or "filter=" in path or "actor=" in path, path
        assert "49" not in visible.replace("4711", ""), path
        assert "\u0430" not in visible, path
    await lea.goto(f"{desk.url}/proposals/{refund.id}")
    text = await lea.locator("main").inner_text()
    for escaped in ("p\\u0430ypal.example", "invoice\\u202efdp.exe", "ad\\u200bmin", "<script>document.title='taken'"):
        assert escaped in text, escaped
    assert all(url.startswith(f"{desk.url}/") and not url.endswith("/x") for url in requests)


async def test_a_revision_keeps_characters_that_do_not_show(desk: Desk, browser: Browser) -> None:
    reason = f"{ALIKE} {TURNED} \u4e2d\u6587"
    [refund] = await desk.submit(job("refund_order", order_id="4711", amount=20, reason=reason))
    lea = await browser.person(desk.url, "lea", "support-lead")
    await lea.goto(f"{desk.url}/proposals/{refund.id}/revise")
    editor = lea.get_by_label("Arguments as JSON")
    text = await editor.input_value()
    assert text.isascii()
    await editor.fill(text.replace('"amount": 20', '"amount": 30'))
    await lea.get_by_role("button", name="Revise version 1").click()
    await lea.get_by_text("You revised it.").wait_for()
    stored = await desk.store("lea").proposals.get(refund.id)
    assert dict(stored.action_args) == {"order_id": "4711", "amount": 30, "reason": reason}


async def test_a_result_is_foreign_text_too(desk: Desk, browser: Browser) -> None:
    [order] = await desk.submit(job("get_order", order_id="4711"))
    runner = desk.store("runner")
    [claimed] = await runner.proposals.claim(wait_seconds=10)
    result = Struct()
    result.update({"name": HOSTILE})
    await runner.proposals.complete(claimed.id, attempt=claimed.attempt, result=result)
    page = await browser.person(desk.url, "otto")
    await page.goto(f"{desk.url}/proposals/{order.id}")
    await page.get_by_role("heading", name="Result").wait_for()
    assert "taken" not in await page.title()
    assert "p\\u0430ypal.example" in await page.locator("main").inner_text()
