"""The page against other sites, other people and bad requests. Spoken to over HTTP, without a browser."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from plangate.store.v1 import proposal_pb2

from store_service import bootstrap as store_bootstrap
from store_service.settings import StoreSettings
from tests.support.processes import ServerProcess
from tests.support.support_desk import Desk, job, open_desk, write_tokens

pytestmark = pytest.mark.asyncio

SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


@pytest_asyncio.fixture
async def quiet_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as running:
        yield running


class Visitor:
    """A browser profile without a browser."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self.http = http
        self.csrf_token = ""

    async def get(self, path: str, **options: Any) -> tuple[int, str, Any]:
        async with self.http.get(self.url + path, allow_redirects=False, **options) as answer:
            return answer.status, await answer.text(), answer.headers

    async def post(
        self, path: str, form: dict[str, str], headers: dict[str, str] | None = None
    ) -> tuple[int, str, Any]:
        fields = {"csrf_token": self.csrf_token, **form}
        sent = SAME_SITE if headers is None else headers
        async with self.http.post(self.url + path, data=fields, headers=sent, allow_redirects=False) as answer:
            return answer.status, await answer.text(), answer.headers

    async def sign_in(self, **form: str) -> tuple[int, str, Any]:
        answer = await self.post("/sign-in", form)
        _, page, _ = await self.get("/")
        if found := re.search(r'name="csrf_token" value="([^"]+)"', page):
            self.csrf_token = found[1]
        return answer


def visitor_of(url: str) -> Visitor:
    return Visitor(url, aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)))


@pytest_asyncio.fixture
async def lea(quiet_desk: Desk) -> AsyncIterator[Visitor]:
    visitor = visitor_of(quiet_desk.url)
    async with visitor.http:
        status, _, headers = await visitor.sign_in(name="lea", roles="support-lead", next="/")
        assert (status, headers["Location"]) == (303, "/")
        assert "HttpOnly" in headers["Set-Cookie"]
        assert "SameSite=lax" in headers["Set-Cookie"]
        assert visitor.csrf_token
        yield visitor


async def test_nothing_is_shown_to_who_is_not_signed_in(quiet_desk: Desk) -> None:
    visitor = visitor_of(quiet_desk.url)
    async with visitor.http:
        for path in ("/", "/log", "/requests", "/policy", "/live?about=waiting", "/proposals?state=PENDING"):
            status, body, headers = await visitor.get(path)
            assert (status, body) == (303, ""), path
            assert headers["Location"].startswith("/sign-in?next=/"), path
        status, _, headers = await visitor.get("/", headers={"HX-Request": "true"})
        assert (status, headers["HX-Redirect"]) == (204, "/sign-in?next=/")
        status, body, _ = await visitor.get("/sign-in?next=//evil.example/")
        assert (status, 'name="next" value="/"' in body) == (200, True)


async def test_forms_of_other_sites_and_without_a_token_change_nothing(quiet_desk: Desk, lea: Visitor) -> None:
    [refund] = await quiet_desk.submit(job("refund_order", order_id="4711", amount=20))
    path = f"/proposals/{refund.id}/approve"
    form = {"version": "1", "args_digest": refund.args_digest}
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {},
    ):
        status, body, _ = await lea.post(path, form, headers)
        assert (status, "not sent from this site" in body) == (403, True), headers
    for token in ("", "x", lea.csrf_token[:-1], "\u00e9"):
        status, _, _ = await lea.post(path, {**form, "csrf_token": token})
        assert status == 403, token
    store = quiet_desk.store("lea")
    assert (await store.proposals.get(refund.id)).version == 1
    origin = {"Origin": quiet_desk.url}
    assert (await lea.post(path, form, origin))[0] == 303
    assert (await store.proposals.get(refund.id)).state == proposal_pb2.PROPOSAL_STATE_APPROVED


async def test_an_approval_names_a_version_and_the_digest_that_was_shown(quiet_desk: Desk, lea: Visitor) -> None:
    [refund] = await quiet_desk.submit(job("refund_order", order_id="4711", amount=20))
    path = f"/proposals/{refund.id}/approve"
    for form, expected in (
        ({"args_digest": refund.args_digest}, 400),
        ({"version": "0", "args_digest": refund.args_digest}, 400),
        ({"version": "-1", "args_digest": refund.args_digest}, 400),
        ({"version": "one", "args_digest": refund.args_digest}, 400),
        ({"version": "1"}, 400),
        ({"version": "1", "args_digest": ""}, 400),
        ({"version": "1", "args_digest": "0" * 64}, 409),
        ({"version": "2", "args_digest": refund.args_digest}, 409),
    ):
        status, _, _ = await lea.post(path, form)
        assert status == expected, form
    assert len((await quiet_desk.store("lea").proposals.get(refund.id)).approvals) == 0
    # A form that is sent twice counts once.
    form = {"version": "1", "args_digest": refund.args_digest, "request_id": "0b1f3c1e-8d52-4f0e-9a3c-6f2f3a1f1c11"}
    assert [(await lea.post(path, form))[0] for _ in range(2)] == [303, 303]


async def test_pages_cannot_be_framed_cached_or_run_foreign_scripts(quiet_desk: Desk, lea: Visitor) -> None:
    for path in ("/", "/log", "/no-such-page", "/sign-in"):
        _, body, headers = await lea.get(path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|\sstyle=", body), path
    status, _, headers = await lea.get("/static/style.css")
    assert (status, "immutable" in headers["Cache-Control"]) == (200, True)


async def test_other_host_names_and_bad_paths_are_refused(quiet_desk: Desk, lea: Visitor) -> None:
    assert (await lea.get("/", headers={"Host": "rebound.example"}))[0] == 400
    for path, expected in (
        ("/proposals/not-an-id", 404),
        ("/plans/01a226f9-3cc3-71a2-8ad5-4e75c6427dce", 404),
        ("/proposals/01a226f9-3cc3-71a2-8ad5-4e75c6427dce", 404),
        ("/live?about=nothing", 400),
        ('/live?about=plan&plan=x"%20OR%20kind="x', 400),
        ("/static/../app.py", 404),
        ("/static/%2e%2e/app.py", 404),
        ("/?page=nonsense", 422),
    ):
        assert (await lea.get(path))[0] == expected, path
    large = io.BytesIO(b"prompt=" + b"x" * 3_000_000)
    async with lea.http.post(f"{lea.url}/requests/new", data=large, headers=SAME_SITE) as answer:
        assert answer.status == 413


async def test_signed_out_is_signed_out(quiet_desk: Desk, lea: Visitor) -> None:
    kept = {cookie.key: cookie.value for cookie in lea.http.cookie_jar}
    assert (await lea.post("/sign-out", {}))[0] == 303
    assert (await lea.get("/", cookies=kept))[0] == 303


async def test_with_tokens_only_tokens_sign_in_and_none_of_ours_is_used(tmp_path: Path) -> None:
    write_tokens(tmp_path / "tokens.yaml")
    store = store_bootstrap.build_server(
        StoreSettings(
            store_listen="127.0.0.1:0",
            database_url=f"sqlite:///{tmp_path}/plangate.db",
            auth_tokens_file=tmp_path / "tokens.yaml",
        )
    )
    await store.start()
    # What lies in the page's environment is nobody's sign-in.
    environment = {
        "PLANGATE_INBOX_LISTEN": "127.0.0.1:0",
        "PLANGATE_STORE_TARGET": store.address,
        "PLANGATE_PLANNER_TARGET": store.address,
        "PLANGATE_TOKEN": "planner-token",
    }
    page = ServerProcess("plangate_inbox", environment, tmp_path / "inbox.log")
    await page.start()
    visitor = visitor_of(f"http://{page.address}")
    try:
        async with visitor.http:
            _, form, _ = await visitor.get("/sign-in")
            assert "Your token" in form
            for given in ({"token": ""}, {"token": "wrong"}, {"name": "lea", "roles": "admin"}, {"token": "\u00e9"}):
                status, body, _ = await visitor.sign_in(**given)
                assert status in (403, 422), given
                assert "planner-token" not in body
            assert (await visitor.sign_in(token="otto-token"))[0] == 303
            _, body, _ = await visitor.get("/")
            assert "Signed in as otto" in body
            assert "otto-token" not in body
        assert "otto-token" not in page.log()
    finally:
        assert await page.stop() == 0
        await store.stop(0)
