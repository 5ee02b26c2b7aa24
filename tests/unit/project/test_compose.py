"""docker-compose.yml: who can reach what, as far as the file itself says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

SERVICES: dict[str, Any] = yaml.safe_load((Path(__file__).parents[3] / "docker-compose.yml").read_text())["services"]
OURS = ("credentials", "model", "store", "planner", "executor", "command")


def volumes(service: str) -> dict[str, str]:
    """Name of a volume -> where and how it is mounted."""
    return dict(volume.split(":", 1) for volume in SERVICES[service]["volumes"])


def test_no_server_holds_tokens_of_people() -> None:
    assert {service for service in OURS if "credentials" in volumes(service)} == {"credentials", "command"}
    assert volumes("store") == {"data": "/data", "servers": "/servers:ro"}
    assert volumes("planner") == {"models": "/data", "servers": "/servers:ro", "planner": "/planner:ro"}
    assert volumes("executor") == {"executor": "/executor:ro", "work": "/work"}


def test_settings_name_files_that_are_mounted() -> None:
    for service in ("store", "planner", "executor", "command"):
        mounts = [place.partition(":")[0] for place in volumes(service).values()]
        for name, value in SERVICES[service]["environment"].items():
            if name.endswith("_FILE"):
                assert str(Path(value).parent) in mounts, (service, name)


@pytest.mark.parametrize("service", ["store", "planner"])
def test_health_is_checked_whatever_the_image_says(service: str) -> None:
    assert "plangate_core.rpc.probe" in SERVICES[service]["healthcheck"]["test"][-1]
    assert SERVICES[service]["environment"]["PLANGATE_HEALTH_TARGET"].startswith("localhost:")


@pytest.mark.parametrize("service", OURS)
def test_containers_have_no_more_than_they_need(service: str) -> None:
    assert SERVICES[service]["read_only"] is True
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", ()))
