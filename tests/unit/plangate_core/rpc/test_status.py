"""Failures cross the wire whole where they fit, and cut where gRPC's metadata would not hold them."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from plangate.errors.v1 import error_reason_pb2
from plangate.plan.v1 import plan_pb2

from plangate_core.rpc.status import (
    DOMAIN,
    RpcFailure,
    from_rpc_status,
    internal,
    invalid_field,
    invalid_fields,
    not_found,
    to_rpc_status,
)

# gRPC's soft limit is 8 KiB for all metadata. The status travels as base64, its message once more percent-encoded.
METADATA_LIMIT = 8192


def metadata_bytes(status: status_pb2.Status) -> int:
    return len(status.SerializeToString()) * 4 // 3 + 3 * len(status.message.encode())


def test_a_failure_comes_back_as_it_went() -> None:
    failure = RpcFailure(
        grpc.StatusCode.FAILED_PRECONDITION,
        "ILLEGAL_TRANSITION",
        "approve is not possible",
        metadata={"state": "REJECTED"},
        details=[error_reason_pb2.IllegalTransition(state="REJECTED", allowed_commands=["delete"])],
        retry_after_seconds=1.5,
    )
    status = to_rpc_status(failure)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason) == (DOMAIN, "ILLEGAL_TRANSITION")
    back = from_rpc_status(status)
    for name in ("code", "reason", "message", "metadata", "details", "retry_after_seconds"):
        assert getattr(back, name) == getattr(failure, name), name
    assert back.detail(error_reason_pb2.IllegalTransition) == failure.details[0]
    assert back.detail(plan_pb2.GenerationReport) is None


@given(st.text(max_size=5000), st.dictionaries(st.sampled_from("abcd"), st.text(max_size=2000)), st.integers(0, 12))
def test_no_status_is_larger_than_metadata_may_be(message: str, metadata: dict[str, str], attempts: int) -> None:
    message = message.encode(errors="replace").decode()
    metadata = {key: value.encode(errors="replace").decode() for key, value in metadata.items()}
    report = plan_pb2.GenerationReport(
        attempts=[
            plan_pb2.Attempt(
                number=number,
                raw_text="é" * 16_000,
                errors=[plan_pb2.AttemptError(path="jobs", type="missing", message="Field required" * 50)] * 20,
            )
            for number in range(attempts)
        ]
    )
    failure = RpcFailure(grpc.StatusCode.ABORTED, "PLAN_INVALID", message, metadata=metadata, details=[report])
    status = to_rpc_status(failure)
    assert metadata_bytes(status) < METADATA_LIMIT - 512
    back = from_rpc_status(status)
    assert back.reason == "PLAN_INVALID"
    kept = back.detail(plan_pb2.GenerationReport)
    if attempts:
        # The first and the last attempt say most.
        assert kept is not None
        assert kept.attempts[0].number == 0
        assert len(kept.attempts) == 1 or kept.attempts[-1].number == attempts - 1


def test_what_does_not_fit_at_all_is_left_out_and_counted() -> None:
    huge = status_pb2.Status(code=1)
    for number in range(300):
        huge.details.add(type_url=f"type.googleapis.com/{'x' * 200}{number}", value=b"y" * 200)
    failure = RpcFailure(grpc.StatusCode.ABORTED, "X", "m", details=[plan_pb2.Plan(generation={}), huge])
    blob = plan_pb2.Plan(labels={f"k{number}": "v" * 200 for number in range(64)})
    status = to_rpc_status(RpcFailure(grpc.StatusCode.ABORTED, "X", "m", details=[blob]))
    back = from_rpc_status(status)
    assert back.metadata == {"details_left_out": "1"}
    assert metadata_bytes(to_rpc_status(failure)) < METADATA_LIMIT


def test_unknown_details_and_codes_are_survived() -> None:
    status = status_pb2.Status(code=99, message="m")
    status.details.add(type_url="type.googleapis.com/never.heard.Of", value=b"\xff")
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    back = from_rpc_status(status)
    assert (back.code, back.reason, back.details) == (grpc.StatusCode.UNKNOWN, "", ())


@pytest.mark.parametrize(
    ("failure", "code", "reason", "message"),
    [
        (invalid_field("plan.id", "is required"), "INVALID_ARGUMENT", "INVALID_FIELD", "plan.id is required"),
        (
            invalid_fields({"a": "is b", "c": "is d"}, reason="JOB_INVALID"),
            "INVALID_ARGUMENT",
            "JOB_INVALID",
            "2 fields are wrong, first a",
        ),
        (not_found("PLAN_NOT_FOUND", "plan", "p1"), "NOT_FOUND", "PLAN_NOT_FOUND", "plan p1 does not exist"),
        (internal("r1"), "INTERNAL", "INTERNAL", "the server failed; its log says why under request id r1"),
    ],
)
def test_the_usual_failures(failure: RpcFailure, code: str, reason: str, message: str) -> None:
    assert (failure.code.name, failure.reason, failure.message) == (code, reason, message)
    back = from_rpc_status(to_rpc_status(failure))
    assert back.details == failure.details
