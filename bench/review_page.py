"""How fast is the review page with many proposals waiting?

    python -m bench.review_page [PROPOSALS]

Fills a SQLite file, starts the store and the page on it, and measures over HTTP on loopback: time to the first byte of
the pages, and the time from a commit to the `update` that makes an open page load itself again, with that load. Prints
medians and 95th percentiles in milliseconds.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from bench.growth import fill
from bench.processes import server, store
from plangate_client.client import StoreClient
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings

PROPOSALS = 100_000
ROUNDS = 60


def summary(name: str, seconds: Sequence[float]) -> str:
    """One line: median and 95th percentile."""
    ordered = sorted(seconds)
    high = ordered[int(len(ordered) * 0.95)]
    return f"{name:<34} {statistics.median(ordered) * 1e3:7.1f} ms   p95 {high * 1e3:7.1f} ms"


async def first_byte(http: aiohttp.ClientSession, url: str) -> float:
    """Seconds until the answer's head and first byte are there."""
    began = time.perf_counter()
    async with http.get(url) as answer:
        assert answer.status == 200, (url, answer.status)
        await answer.content.readany()
        seconds = time.perf_counter() - began
        await answer.read()
    return seconds


async def measure(store_address: str, page_address: str) -> list[str]:
    """Sign in, open pages, change something."""
    url = f"http://{page_address}"
    jar = aiohttp.CookieJar(unsafe=True)
    lines: list[str] = []
    async with (
        aiohttp.ClientSession(cookie_jar=jar) as http,
        StoreClient(open_channel(store_address, ChannelSettings(), actor="bob")) as store,
    ):
        form = {"name": "lea", "roles": "", "next": "/"}
        async with http.post(f"{url}/sign-in", data=form, headers={"Sec-Fetch-Site": "same-origin"}) as answer:
            assert answer.status == 200
        waiting = [*(await store.proposals.list_page(filter="state = PENDING", page_size=ROUNDS)).proposals]
        proposal = f"{url}/proposals/{waiting[0].id}"
        for name, path in (("what waits for me", f"{url}/"), ("a proposal", proposal), ("the log", f"{url}/log")):
            await first_byte(http, path)
            lines.append(summary(f"first byte: {name}", [await first_byte(http, path) for _ in range(ROUNDS)]))
        seconds: list[float] = []
        async with http.get(f"{url}/live?about=waiting", timeout=aiohttp.ClientTimeout(total=None)) as live:
            await live.content.readuntil(b"\n\n")
            for target in waiting[1:]:
                await asyncio.sleep(0.3)
                await store.proposals.approve(target.id, expected_version=target.version)
                began = time.perf_counter()
                await live.content.readuntil(b"\n\n")
                async with http.get(proposal) as answer:
                    await answer.read()
                seconds.append(time.perf_counter() - began)
        lines.append(summary("commit to the page loaded again", seconds))
    return lines


def main() -> None:
    """Fill, serve, measure, print."""
    proposals = int(sys.argv[1]) if len(sys.argv) > 1 else PROPOSALS
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "store.db"
        asyncio.run(fill(f"sqlite:///{file}", proposals))
        with store(file) as (store_address, _):
            page = {
                "PLANGATE_INBOX_LISTEN": "127.0.0.1:0",
                "PLANGATE_STORE_TARGET": store_address,
                "PLANGATE_PLANNER_TARGET": store_address,
            }
            with server([sys.executable, "-m", "plangate_inbox"], page) as (page_address, _):
                print(f"{proposals} proposals wait")
                print("\n".join(asyncio.run(measure(store_address, page_address))))


if __name__ == "__main__":
    main()
