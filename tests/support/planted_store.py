"""`python -m tests.support.planted_store`: the store with a fault planted, named by PLANTED in its environment.

no_version_check            versions that callers read are not compared any more
kill:before_commit:N        SIGKILL when the (N + 1)th batch is flushed and not yet committed
kill:after_commit:N         SIGKILL when the (N + 1)th batch is committed and nobody was answered
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from plangate_core.rpc.telemetry import configure_logging
from store_service.bootstrap import build_server
from store_service.domain.entity import Entity
from store_service.engine.failpoints import FailPoint, FailPoints
from store_service.settings import StoreSettings


def plant(name: str) -> FailPoints | None:
    if name == "no_version_check":
        Entity.expect = lambda self, expected_version: None  # type: ignore[method-assign]
        return None
    _, point, passes = name.split(":")
    left = int(passes)

    async def kill() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    return {FailPoint(point): kill}


async def serve() -> None:
    settings = StoreSettings()
    configure_logging(settings)
    server = build_server(settings, fail_points=plant(os.environ["PLANTED"]))
    await server.start()
    print(f"plangate-store listening on {server.address}", flush=True)
    try:
        await server.grpc.run_until_signal(server.stop)
    finally:
        await server.stop()


if __name__ == "__main__":
    sys.exit(asyncio.run(serve()))
