"""By which name a server that listens is dialled."""

from __future__ import annotations

import pytest

from plangate_client.servers.server_pair import dial_target, metrics_addresses


@pytest.mark.parametrize(
    ("listening", "names", "target"),
    [
        ("127.0.0.1:1", [], "127.0.0.1:1"),
        ("0.0.0.0:1", [], "127.0.0.1:1"),
        ("0.0.0.0:1", ["store.internal", "localhost"], "localhost:1"),
        ("0.0.0.0:1", ["store.internal", "127.0.0.1"], "127.0.0.1:1"),
        ("0.0.0.0:1", ["*.internal", "store.internal"], "store.internal:1"),
        ("127.0.0.1:1", ["localhost"], "localhost:1"),
        ("[::]:1", ["::1"], "[::1]:1"),
        ("10.0.0.5:1", ["localhost", "10.0.0.5"], "10.0.0.5:1"),
        ("10.0.0.5:1", ["store.internal"], "store.internal:1"),
        ("10.0.0.5:1", [], "10.0.0.5:1"),
        ("unix:/run/store.sock", ["localhost"], "unix:/run/store.sock"),
    ],
)
def test_a_name_that_the_certificate_is_good_for(listening: str, names: list[str], target: str) -> None:
    assert dial_target(listening, names) == target


def test_no_two_servers_share_a_port_for_metrics() -> None:
    assert metrics_addresses("127.0.0.1:9464") == {
        "store": "127.0.0.1:9464",
        "planner": "127.0.0.1:9465",
        "inbox": "127.0.0.1:9466",
    }
    assert metrics_addresses("127.0.0.1:65534")["inbox"] == "127.0.0.1:0"
    assert metrics_addresses("127.0.0.1:0")["planner"] == "127.0.0.1:0"
    assert metrics_addresses("") == {}
