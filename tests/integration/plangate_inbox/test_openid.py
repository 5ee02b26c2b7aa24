"""Signing in at an OpenID provider, in a real browser: there, back, and again when the token has expired."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Error as PlaywrightError

from plangate_inbox.settings import InboxSettings
from plangate_inbox.web.openid import OpenIdProvider, OpenIdRefused
from store_service import bootstrap as store_bootstrap
from store_service.settings import StoreSettings
from tests.support.browser import Browser, accessibility_findings
from tests.support.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdServer, open_provider
from tests.support.polling import eventually
from tests.support.processes import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLBACK = "http://127.0.0.1/sign-in/callback"
TOKENS = """
issuers:
  - issuer: ISSUER
    audience: plangate-page
    algorithms: [RS256]
    jwks: ISSUER/keys
    leeway_seconds: 0
    roles_claim: groups
    roles: {leads: [reviewer, support-lead]}
"""


@pytest_asyncio.fixture(loop_scope="session")
async def provider() -> AsyncIterator[OpenIdServer]:
    async with open_provider() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def url(tmp_path: Path, provider: OpenIdServer) -> AsyncIterator[str]:
    """Of a review page whose store knows the provider."""
    tokens_file = tmp_path / "tokens.yaml"
    tokens_file.write_text(TOKENS.replace("ISSUER", provider.issuer))
    database_url = f"sqlite:///{tmp_path}/plangate.db"
    store = store_bootstrap.build_server(
        StoreSettings(store_listen="127.0.0.1:0", database_url=database_url, auth_tokens_file=tokens_file)
    )
    await store.start()
    environment = {
        "PLANGATE_INBOX_LISTEN": "127.0.0.1:0",
        "PLANGATE_INBOX_OIDC_ISSUER": provider.issuer,
        "PLANGATE_INBOX_OIDC_CLIENT_ID": CLIENT_ID,
        "PLANGATE_INBOX_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "PLANGATE_STORE_TARGET": store.address,
        "PLANGATE_PLANNER_TARGET": store.address,
    }
    page = ServerProcess("plangate_inbox", environment, tmp_path / "inbox.log")
    await page.start()
    try:
        yield f"http://{page.address}"
    finally:
        assert await page.stop() == 0
        await store.stop(0)
        assert CLIENT_SECRET not in page.log()
        assert "eyJ" not in page.log(), "no token of anybody"


async def to_provider(page: Any) -> None:
    await page.get_by_role("link", name="Sign in at 127.0.0.1").click()
    await page.get_by_role("link", name="Continue as lea").wait_for()


async def test_somebody_signs_in_and_again_when_the_token_has_expired(
    url: str, provider: OpenIdServer, browser: Browser
) -> None:
    page = await browser.page()
    await page.goto(f"{url}/proposals?state=PENDING")
    assert await accessibility_findings(page) == []
    await to_provider(page)
    await page.get_by_role("link", name="Continue as lea").click()
    await page.get_by_role("heading", name="Proposals").wait_for()
    assert page.url == f"{url}/proposals?state=PENDING"
    await page.get_by_label("Signed in as lea").click()
    await page.get_by_text("Roles: reviewer, support-lead").wait_for()
    await page.get_by_role("button", name="Sign out").click()
    # A token that has expired is no sign-in, neither at the beginning nor later.
    provider.lifetime_seconds = 2
    await to_provider(page)
    await page.get_by_role("link", name="Continue as lea").click()
    await page.get_by_role("heading", name="Waiting for me").wait_for()

    async def must_sign_in_again() -> bool:
        # Its stream may just be leading the page there.
        with contextlib.suppress(PlaywrightError):
            await page.reload()
        return bool(await page.get_by_role("heading", name="Sign in").count())

    assert await eventually(must_sign_in_again)
    provider.lifetime_seconds = -1
    await to_provider(page)
    await page.get_by_role("link", name="Continue as lea").click()
    await page.get_by_text("The store does not know this token.").wait_for()


async def test_answers_that_belong_to_no_sign_in_of_this_browser_are_refused(
    url: str, provider: OpenIdServer, browser: Browser
) -> None:
    page, other = await browser.page(), await browser.page()
    await page.goto(f"{url}/sign-in")
    await to_provider(page)
    back = await page.get_by_role("link", name="Continue as lea").get_attribute("href")
    answered = await page.request.get(f"{provider.issuer}{back}", max_redirects=0)
    answer = answered.headers["location"]
    # Another browser, which began none: somebody was sent a link that signs them in as somebody else.
    await other.goto(answer)
    await other.get_by_text("This sign-in was begun elsewhere or too long ago.").wait_for()
    await page.goto(answer.replace("state=", "state=x"))
    await page.get_by_text("The answer belongs to another sign-in.").wait_for()
    await page.goto(answer)
    await page.get_by_text("This sign-in was begun elsewhere or too long ago.").wait_for()
    await to_provider(page)
    await page.get_by_role("link", name="Cancel").click()
    await page.get_by_text("did not sign you in: You said no.").wait_for()
    provider.nonce = "of another sign-in"
    await to_provider(page)
    await page.get_by_role("link", name="Continue as lea").click()
    await page.get_by_text("token was not made for this sign-in.").wait_for()
    assert not [cookie for cookie in await page.context.cookies() if cookie["name"] == "plangate_session"]


async def test_answers_of_the_provider_are_read_whole_or_refused(provider: OpenIdServer) -> None:
    settings = InboxSettings(inbox_oidc_issuer=provider.issuer, inbox_oidc_client_id=CLIENT_ID)
    _, location = await OpenIdProvider(settings).begin(CALLBACK, "/")
    assert location.startswith(f"{provider.issuer}/authorize?")
    for discovered in ({"service_documentation": "x" * 300_000}, {"token_endpoint": "https://host:port/token"}):
        provider.discovered = discovered
        with pytest.raises(OpenIdRefused):
            await OpenIdProvider(settings).begin(CALLBACK, "/")


async def test_what_the_provider_says_of_itself_is_kept_for_ten_minutes(provider: OpenIdServer) -> None:
    now = 1000.0
    settings = InboxSettings(inbox_oidc_issuer=provider.issuer, inbox_oidc_client_id=CLIENT_ID)
    page = OpenIdProvider(settings, clock=lambda: now)
    provider.discovered = {"issuer": "https://another.example.org"}
    with pytest.raises(OpenIdRefused):
        await page.begin(CALLBACK, "/")
    provider.discovered = {}
    begun = {await page.begin(CALLBACK, "/") for _ in range(3)}
    assert len({key for key, _ in begun}) == len({location for _, location in begun}) == 3
    assert provider.discoveries == 2, "what was refused is not kept"
    provider.discovered = {"authorization_endpoint": f"{provider.issuer}/moved"}
    now += 599
    _, location = await page.begin(CALLBACK, "/")
    assert location.startswith(f"{provider.issuer}/authorize?")
    now += 1
    _, location = await page.begin(CALLBACK, "/")
    assert location.startswith(f"{provider.issuer}/moved?")
    assert provider.discoveries == 3
