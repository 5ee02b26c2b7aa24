"""The table of roles: every RPC has a row, and a row means what it says."""

from __future__ import annotations

import pytest
from plangate.planner.v1 import planner_service_pb2 as planner_pb2

from planner_service.api.permissions import PERMISSIONS, authorize
from planner_service.errors import RoleMissing


def test_every_rpc_has_a_row() -> None:
    service = planner_pb2.DESCRIPTOR.services_by_name["PlannerService"]
    assert set(PERMISSIONS) == set(service.methods_by_name)


@pytest.mark.parametrize("role", ["reviewer", "admin"])
def test_a_role_of_the_row_allows_the_call(role: str) -> None:
    assert authorize("SimulatePolicy", frozenset({role})) is None
    assert authorize("ReviseProposal", frozenset({role})) is None


def test_without_a_role_the_call_is_refused_or_left_to_the_creator() -> None:
    with pytest.raises(RoleMissing, match="reviewer or admin"):
        authorize("SimulatePolicy", frozenset({"executor"}))
    assert isinstance(authorize("ReviseProposal", frozenset({"executor"})), RoleMissing)
    assert authorize("CreatePlan", frozenset()) is None
