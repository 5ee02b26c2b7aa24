"""The machine's own Chromium, driven by Playwright. Tests that need it are skipped where one of the two is missing.

One Chromium serves all tests, which therefore run in the session's event loop:
`pytest.mark.asyncio(loop_scope="session")`.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest
import pytest_asyncio

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
# No sandbox: containers often run as root. No traffic but the test's own.
_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Every wait ends after so long. Two cores may have much else to do.
_WAIT_MS = 30_000


class Browser:
    """Browser profiles of people. `faults` collects what pages say of scripts, styles or resources that fail."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium
        self._contexts: list[Any] = []
        self.faults: list[str] = []

    async def person(self, url: str, name: str, *roles: str, token: str = "", **options: Any) -> Any:
        """A page of a profile of its own, signed in as somebody."""
        page = await self.page(**options)
        await page.goto(url)
        if token:
            await page.get_by_label("Your token").fill(token)
        else:
            await page.get_by_label("Your name").fill(name)
            await page.get_by_label("Roles").fill(", ".join(roles))
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_role("heading", name="Waiting for me").wait_for()
        return page

    async def page(self, **options: Any) -> Any:
        """A page of a profile of its own."""
        context = await self._chromium.new_context(**{"viewport": WIDE, "locale": "en-GB", **options})
        self._contexts.append(context)
        context.set_default_timeout(_WAIT_MS)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("console", self._heard)
        return page

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()

    def _heard(self, message: Any) -> None:
        # A browser reports pages with an error status as resources that failed.
        if message.type == "error" and "status of 4" not in message.text:
            self.faults.append(f"console: {message.text}")


async def accessibility_findings(page: Any) -> list[str]:
    """What axe finds wrong with a page by the rules of WCAG 2.2 level AA and its own best practices."""
    script = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    await page.evaluate(script)
    result = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['html'][:120]}: {node['failureSummary']}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Any]:
    """The browser's process."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    if any(importlib.util.find_spec(name) is None for name in ("playwright", "axe_playwright_python")):
        pytest.skip("no Playwright: pip install -e '.[browser]'")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        process = await playwright.chromium.launch(executable_path=CHROMIUM, args=_OPTIONS)
        yield process
        await process.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser(chromium: Any) -> AsyncIterator[Browser]:
    """A browser without any profile yet. Fails the test when one of its pages had a fault."""
    browser = Browser(chromium)
    yield browser
    await browser.close()
    assert not browser.faults, browser.faults
