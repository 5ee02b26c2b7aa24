"""The page over TLS, and the store behind it: with credentials as `plangate credentials init` makes them."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import pytest

from plangate_client.servers.credentials import write_credentials
from store_service import bootstrap as store_bootstrap
from store_service.settings import StoreSettings
from tests.support.browser import Browser
from tests.support.processes import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_people_sign_in_over_tls_and_their_cookie_stays_there(tmp_path: Path, browser: Browser) -> None:
    made = tmp_path / "credentials"
    write_credentials(made, ["localhost"])
    store = store_bootstrap.build_server(
        StoreSettings(
            store_listen="127.0.0.1:0",
            database_url=f"sqlite:///{tmp_path}/plangate.db",
            auth_tokens_file=made / "tokens.yaml",
            tls_cert_file=made / "server.pem",
            tls_key_file=made / "server-key.pem",
        )
    )
    await store.start()
    store_target = f"localhost:{store.address.rpartition(':')[2]}"
    environment = {
        "PLANGATE_INBOX_LISTEN": "127.0.0.1:0",
        "PLANGATE_TLS_CERT_FILE": str(made / "server.pem"),
        "PLANGATE_TLS_KEY_FILE": str(made / "server-key.pem"),
        "PLANGATE_TLS_CA_FILE": str(made / "ca.pem"),
        "PLANGATE_STORE_TARGET": store_target,
        "PLANGATE_PLANNER_TARGET": store_target,
    }
    page_process = ServerProcess("plangate_inbox", environment, tmp_path / "inbox.log")
    await page_process.start()
    host = f"localhost:{page_process.address.rpartition(':')[2]}"
    try:
        trusting = ssl.create_default_context(cafile=made / "ca.pem")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"https://{host}/sign-in", ssl=trusting) as answer:
                assert answer.status == 200
                assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await http.get(f"https://{host}/sign-in")
            with pytest.raises(aiohttp.ClientError):
                await http.get(f"http://{host}/sign-in")
        # The browser knows no authority of ours; the connection is TLS all the same.
        token = (made / "reviewer.token").read_text().strip()
        page = await browser.person(f"https://{host}", "", token=token, ignore_https_errors=True)
        [cookie] = await page.context.cookies()
        assert (cookie["name"], cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
            "__Host-plangate",
            True,
            True,
            "Lax",
            "/",
        )
        assert await page.evaluate("document.cookie") == ""
        await page.get_by_label("Signed in as reviewer").click()
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("heading", name="Sign in").wait_for()
        assert await page.context.cookies() == []
    finally:
        await browser.close()
        assert await page_process.stop() == 0
        await store.stop(0)
