"""Typed errors cross the wire and become the same type again."""

from __future__ import annotations

import grpc
import pytest
from plangate.errors.v1 import error_reason_pb2
from plangate.plan.v1 import plan_pb2

import plangate_client
from plangate_client import errors
from plangate_client.calls import CallPolicy, may_be_repeated
from plangate_client.errors import typed_error
from plangate_core.rpc.status import RpcFailure, from_rpc_status, to_rpc_status

REASONS = [name.removeprefix("ERROR_REASON_") for name, number in error_reason_pb2.ErrorReason.items() if number]


def crossed(failure: RpcFailure) -> errors.PlangateError:
    return typed_error(from_rpc_status(to_rpc_status(failure)), "store")


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_the_contract_has_its_own_type(reason: str) -> None:
    error = crossed(RpcFailure(grpc.StatusCode.UNKNOWN, reason, "x"))
    name = "".join(part.capitalize() for part in reason.split("_"))
    assert type(error).__name__ in (name, f"{name}Failure")
    assert error.reason == reason
    assert type(error).__name__ in plangate_client.__all__


def test_details_come_along() -> None:
    detail = error_reason_pb2.IllegalTransition(state="REJECTED", command="approve", allowed_commands=["delete"])
    error = crossed(RpcFailure(grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION", "x", details=[detail]))
    assert isinstance(error, errors.IllegalTransition)
    assert error.allowed_commands == ("delete",)
    report = plan_pb2.GenerationReport(model="m", attempts=[plan_pb2.Attempt(number=1)])
    error = crossed(RpcFailure(grpc.StatusCode.ABORTED, "PLAN_INVALID", "x", details=[report]))
    assert error.generation == report


def test_versions_are_numbers() -> None:
    metadata = {"expected_version": "3", "current_version": "4"}
    error = crossed(RpcFailure(grpc.StatusCode.ABORTED, "VERSION_CONFLICT", "x", metadata=metadata))
    assert isinstance(error, errors.VersionConflict)
    assert (error.expected_version, error.current_version) == (3, 4)


def test_an_unknown_reason_has_the_type_of_its_code() -> None:
    error = crossed(RpcFailure(grpc.StatusCode.NOT_FOUND, "NEW_REASON", "x"))
    assert type(error) is errors.NotFound


@pytest.mark.parametrize(
    ("code", "reason", "repeated"),
    [
        (grpc.StatusCode.UNAVAILABLE, "", True),
        (grpc.StatusCode.UNAVAILABLE, "DRAINING", True),
        (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", True),
        (grpc.StatusCode.UNKNOWN, "COMMIT_UNKNOWN", True),
        (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE", False),
        (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", False),
        (grpc.StatusCode.ABORTED, "VERSION_CONFLICT", False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", False),
        (grpc.StatusCode.UNKNOWN, "", False),
    ],
)
def test_what_may_be_repeated(code: grpc.StatusCode, reason: str, repeated: bool) -> None:
    assert may_be_repeated(crossed(RpcFailure(code, reason, "x"))) is repeated


def test_delays_grow_up_to_a_limit() -> None:
    call_policy = CallPolicy(first_delay_seconds=0.1, longest_delay_seconds=1.0)
    for failed_attempts in range(1, 20):
        assert 0 < call_policy.delay_seconds(failed_attempts) <= min(1.0, 0.1 * 2**failed_attempts)


@pytest.mark.parametrize("name", plangate_client.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(plangate_client, name).__name__.rpartition(".")[2] == name
