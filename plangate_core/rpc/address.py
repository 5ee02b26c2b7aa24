"""Addresses as gRPC writes them: host:port, [v6]:port, unix:path, dns:///host:port."""

from __future__ import annotations

import ipaddress
import re

_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:/\[\]]+)):(?P<port>\d{1,5})")


class AddressInvalid(ValueError):
    """Not an address that a server can listen on; the message says so on one line."""


def split_host_port(address: str) -> tuple[str, int]:
    """Split "host:port". Raises AddressInvalid."""
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None or int(match["port"]) > 65535:
        raise AddressInvalid(f"{address!r} is not an address such as 127.0.0.1:50051")
    return match["v6"] or match["host"], int(match["port"])


def with_port(address: str, port: int) -> str:
    """Return the address with another port: what "host:0" became once bound."""
    return address if address.startswith(("unix:", "unix-abstract:")) else f"{address.rpartition(':')[0]}:{port}"


def is_local(address: str) -> bool:
    """Whether only this machine can be at the other end: loopback or a Unix socket."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    match = _HOST_AND_PORT.fullmatch(re.sub(r"^(?:dns:(?://[^/]*/)?|ipv[46]:)", "", address))
    if match is None:
        return False
    host = match["v6"] or match["host"]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
