"""What clients send, as the planner's own types.

What is missing, too large or malformed is refused with InvalidField, which names the field as on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2

from plangate_core.contract.limits import (
    LABEL_KEY,
    MAX_ATTEMPTS,
    MAX_COMMENT_CHARACTERS,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_JOBS,
    MAX_LABEL_VALUE_CHARACTERS,
    MAX_LABELS,
    MAX_MODEL_CALLS,
    MAX_NAME_CHARACTERS,
    MAX_OBJECTIVE_CHARACTERS,
    MAX_PRIORITY,
    MAX_TOKEN_BUDGET,
    REQUEST_ID,
)
from planner_service.errors import InvalidField
from planner_service.messages.decoding import ON_REFUSAL_OF, STEP_ORDER_OF, job_from_proto, json_from_proto
from planner_service.plan import Job, Options, Plan, PlanRequest, Queueing, Revision

_REVISABLE = ("action_args", "description", "priority", "depends_on", "on_refusal")


def plan_request_from_proto(
    message: planner_pb2.CreatePlanRequest, *, max_prompt_characters: int, path: str = ""
) -> PlanRequest:
    """A request in plain words. `path` is what its field names are prefixed with."""
    return PlanRequest(
        prompt=_text(f"{path}prompt", message.prompt, max_prompt_characters, required=True),
        context=json_from_proto(message.context, f"{path}context"),
        labels=labels_from_proto(message.labels, f"{path}labels"),
        options=Options(
            model=_text(f"{path}model", message.model, MAX_NAME_CHARACTERS),
            max_attempts=_in_range(f"{path}max_attempts", message.max_attempts, 0, MAX_MODEL_CALLS),
            token_budget=_in_range(f"{path}token_budget", message.token_budget, 0, MAX_TOKEN_BUDGET),
            order=STEP_ORDER_OF.get(message.order),
        ),
    )


def queueing_from_proto(message: planner_pb2.EnqueuePlanRequest) -> Queueing:
    """How a request waits."""
    return Queueing(
        _in_range("priority", message.priority, -MAX_PRIORITY, MAX_PRIORITY),
        _in_range("max_planning_attempts", message.max_planning_attempts, 0, MAX_ATTEMPTS),
    )


def brought_plan_from_proto(message: planner_pb2.SubmitPlanRequest) -> Plan:
    """A plan that a client brings."""
    objective = _text("objective", message.objective, MAX_OBJECTIVE_CHARACTERS, required=True)
    if not message.jobs:
        raise InvalidField("jobs", "is required")
    return Plan(
        objective=objective,
        jobs=brought_jobs_from_proto(message.jobs),
        labels=labels_from_proto(message.labels, "labels"),
        context=json_from_proto(message.context, "context"),
        options=Options(order=STEP_ORDER_OF.get(message.order)),
    )


def brought_jobs_from_proto(messages: Sequence[plan_pb2.Job]) -> tuple[Job, ...]:
    """Jobs that a client brings; decisions and proposals in them are ignored."""
    if len(messages) > MAX_JOBS:
        raise InvalidField("jobs", f"must have at most {MAX_JOBS} entries")
    return tuple(job_from_proto(message, f"jobs[{index}]") for index, message in enumerate(messages))


def revision_from_proto(message: planner_pb2.ReviseProposalRequest) -> Revision:
    """An edit of a proposal."""
    if not message.id:
        raise InvalidField("id", "is required")
    if message.expected_version < 1:
        raise InvalidField("expected_version", "is required: the version that was read")
    paths = set(message.update_mask.paths) or {"action_args"}
    if not paths <= set(_REVISABLE):
        raise InvalidField("update_mask", f"may name {', '.join(_REVISABLE)}")
    changed: dict[str, Any] = {}
    if "action_args" in paths:
        changed["action_args"] = json_from_proto(message.action_args, "action_args")
    if "description" in paths:
        changed["description"] = _text("description", message.description, MAX_DESCRIPTION_CHARACTERS)
    if "priority" in paths:
        changed["priority"] = _in_range("priority", message.priority, -MAX_PRIORITY, MAX_PRIORITY)
    if "depends_on" in paths:
        changed["depends_on"] = tuple(message.depends_on)
    if "on_refusal" in paths:
        changed["on_refusal"] = ON_REFUSAL_OF.get(message.on_refusal)
        if changed["on_refusal"] is None:
            raise InvalidField("on_refusal", "must be ON_REFUSAL_ASK, ON_REFUSAL_CONTINUE or ON_REFUSAL_CANCEL")
    return Revision(
        proposal_id=message.id,
        expected_version=message.expected_version,
        comment=_text("comment", message.comment, MAX_COMMENT_CHARACTERS),
        request_id=request_id_from_proto(message.request_id),
        validate_only=message.validate_only,
        **changed,
    )


def request_id_from_proto(text: str, path: str = "request_id") -> str:
    """Empty, or a UUID in small letters, as the store keeps it: in capitals it is the same one."""
    if text and not REQUEST_ID.fullmatch(text):
        raise InvalidField(path, "must be a UUID")
    return text.lower()


def labels_from_proto(labels: Mapping[str, str], path: str) -> dict[str, str]:
    """The requester's own key/value pairs."""
    if len(labels) > MAX_LABELS:
        raise InvalidField(path, f"must have at most {MAX_LABELS} entries")
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key):
            raise InvalidField(f'{path}["{key[:64]}"]', f"key must match {LABEL_KEY.pattern}")
        _text(f'{path}["{key}"]', value, MAX_LABEL_VALUE_CHARACTERS)
    return dict(labels)


def _text(path: str, text: str, most: int, *, required: bool = False) -> str:
    if required and not text.strip():
        raise InvalidField(path, "is required")
    if len(text) > most:
        raise InvalidField(path, f"must be at most {most} characters")
    if "\0" in text:
        # PostgreSQL cannot keep it; no store does, so that all behave alike.
        raise InvalidField(path, "must not contain NUL")
    return text


def _in_range(path: str, number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise InvalidField(path, f"must be from {least} to {most}")
    return number
