"""Ports for servers that cannot be given port 0, because somebody must know the port before they start."""

from __future__ import annotations

import contextlib
import random
import socket

# Below those that Linux and others give to sockets bound to port 0: no other server of a test takes one meanwhile.
_FIRST, _LAST = 12_000, 32_000
_chance = random.SystemRandom()


def unused_port(count: int = 1) -> int:
    """The first of `count` successive ports of the loopback on which nothing listens."""
    while True:
        first = _chance.randrange(_FIRST, _LAST - count)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
