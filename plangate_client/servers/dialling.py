"""Where a client on this machine reaches a server that listens: by a name that its certificate is good for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plangate_core.rpc.address import AddressInvalid, split_host_port
from plangate_core.rpc.tls_diagnosis import certificate_names

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def dial_target(listening: str, names: Sequence[str] = ()) -> str:
    """The address to dial for a server that announced that it listens at `listening`.

    :param names: what its certificate is good for; empty: it does not use TLS.
    """
    try:
        host, port = split_host_port(listening)
    except AddressInvalid:
        # A Unix socket.
        return listening
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
    wanted = [*_LOOPBACK, *names] if everywhere or host in _LOOPBACK else [host, *names]
    if not names:
        return f"127.0.0.1:{port}" if everywhere else listening
    # One that it is good for by name; a wildcard stands for none in particular.
    chosen = next((name for name in wanted if name in names and not name.startswith("*")), host)
    return f"[{chosen}]:{port}" if ":" in chosen else f"{chosen}:{port}"


def names_in(file: str | None) -> list[str]:
    """As certificate_names, of a file that may not be there: the server itself says what is wrong with it."""
    if not file:
        return []
    try:
        return certificate_names(Path(file).read_bytes())
    except (OSError, ValueError):
        return []
