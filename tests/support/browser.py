"""The machine's own Chromium, driven by Playwright. Tests that need it are skipped where one of the two is missing."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_MISSING = (
    "no Chromium: apt-get install chromium"
    if CHROMIUM is None
    else "no Playwright: pip install -e '.[browser]'"
    if importlib.util.find_spec("playwright") is None
    else ""
)
needs_browser = pytest.mark.skipif(bool(_MISSING), reason=_MISSING or "there is one")
"""On tests that need a browser; the reason says what to install."""

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
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


class Browser:
    """Chromium. `faults` collects what pages say of scripts, styles or resources that fail."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self.faults: list[str] = []

    async def person(self, url: str, name: str, *roles: str, token: str = "", **options: Any) -> Any:
        """A page of a browser profile of its own, signed in as somebody."""
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
        """A page of a browser profile of its own. Every wait ends after half a minute."""
        context = await self._browser.new_context(**{"viewport": WIDE, "locale": "en-GB", **options})
        context.set_default_timeout(30_000)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("console", lambda message: self._heard(message))
        return page

    def _heard(self, message: Any) -> None:
        # A browser reports pages with an error status as resources that failed.
        if message.type == "error" and "status of 4" not in message.text:
            self.faults.append(f"console: {message.text}")


@contextlib.asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Chromium, until the end of the block. AssertionError when a page had a fault."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=_OPTIONS)
        browser = Browser(chromium)
        try:
            yield browser
        finally:
            await chromium.close()
    assert not browser.faults, browser.faults
