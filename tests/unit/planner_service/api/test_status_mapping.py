"""Every typed error becomes a status whose reason and code the contract has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from plangate.errors.v1 import error_reason_pb2

from plangate_core.catalogue.finding import Finding
from plangate_core.catalogue.policy_effect import Effect
from planner_service import errors
from planner_service.api.status_mapping import map_error
from planner_service.generation import errors as generation
from planner_service.governance.decision import Decision

_SAMPLES: dict[type[Exception], Exception] = {
    errors.InvalidField: errors.InvalidField("prompt", "is required"),
    errors.JobsInvalid: errors.JobsInvalid([Finding("jobs.0", "missing", "is missing")]),
    errors.ActionNotFound: errors.ActionNotFound("a"),
    errors.InvalidPageToken: errors.InvalidPageToken(),
    errors.ModelNotAllowed: errors.ModelNotAllowed("m"),
    errors.PolicyDenied: errors.PolicyDenied(Decision(Effect.DENY, "rule", "reason")),
    errors.RoleMissing: errors.RoleMissing(["admin"]),
    errors.RequestIdReused: errors.RequestIdReused("id"),
    errors.TooMany: errors.TooMany("plans", 1, retry_after_seconds=1.0),
    errors.PlanningTimedOut: errors.PlanningTimedOut("m"),
    errors.StreamNotRead: errors.StreamNotRead(),
    errors.StoreUnavailable: errors.StoreUnavailable(),
    errors.StoreTimedOut: errors.StoreTimedOut(),
}


def _kinds(root: type[Exception]) -> list[type[Exception]]:
    return [kind for child in root.__subclasses__() for kind in (child, *_kinds(child))]


def _sample(kind: type[Exception]) -> Exception:
    if issubclass(kind, generation.BudgetExhausted):
        return kind("m", token_budget=5)  # type: ignore[call-arg]
    return _SAMPLES[kind] if kind in _SAMPLES else kind("m")


def _documented() -> dict[str, str]:
    """Reason -> status code, as the contract's comments give it."""
    text = (Path(__file__).parents[4] / "protos/plangate/errors/v1/error_reason.proto").read_text(encoding="utf-8")
    entries = re.findall(r"((?:^ *//.*\n)+) *ERROR_REASON_(\w+) =", text, re.MULTILINE)
    return {reason: comment.split("//")[1].partition(".")[0].strip() for comment, reason in entries}


@pytest.mark.parametrize("kind", [*_kinds(errors.PlanningRefused), *_kinds(generation.GenerationFailed)])
def test_an_error_has_a_reason_and_the_code_documented_for_it(kind: type[Exception]) -> None:
    failure = map_error(_sample(kind))
    assert failure is not None
    assert f"ERROR_REASON_{failure.reason}" in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118 - an enum wrapper
    assert _documented()[failure.reason] == failure.code.name
