"""The table of roles: every RPC has a row, and a row means what it says."""

from __future__ import annotations

import pytest
from plangate.planner.v1 import planner_service_pb2 as planner_pb2

from planner_service.api.permissions import PERMISSIONS, missing_role


def test_every_rpc_has_a_row() -> None:
    service = planner_pb2.DESCRIPTOR.services_by_name["PlannerService"]
    assert set(PERMISSIONS) == set(service.methods_by_name)


@pytest.mark.parametrize("method", ["SimulatePolicy", "ReviseProposal"])
def test_any_role_of_the_row_allows_the_call_and_no_other(method: str) -> None:
    for role in ("reviewer", "admin"):
        assert missing_role(method, frozenset({role, "executor"})) is None
    for roles in (frozenset[str](), frozenset({"executor"})):
        assert "reviewer or admin" in str(missing_role(method, roles))


def test_a_row_without_roles_allows_anybody() -> None:
    assert missing_role("CreatePlan", frozenset()) is None
