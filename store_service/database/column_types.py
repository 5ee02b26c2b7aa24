"""Column types: the domain's values on one side, what both databases store on the other.

JSON is stored as text: SQLite has no other, and PostgreSQL's would rewrite it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Dialect, Text
from sqlalchemy.types import TypeDecorator

from store_service.domain.instant import Instant
from store_service.domain.lease import Failure
from store_service.domain.plan import GenerationOptions, Job
from store_service.domain.proposal import Approval, ApprovalRequirement, Decision, Effect, Fact, Notice, OnRefusal

T = TypeVar("T")
V = TypeVar("V")
E = TypeVar("E", bound=StrEnum)

_DECISION_FIELDS = tuple(field.name for field in fields(Decision))
_notice_values = attrgetter(*(field.name for field in fields(Notice)))
_approval_values = attrgetter(*(field.name for field in fields(Approval)))
_option_values = attrgetter(*(field.name for field in fields(GenerationOptions)))
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class Microseconds(TypeDecorator[Instant]):
    """Microseconds since 1970 (UTC): exact, and the same number in the log's hashes."""

    impl = BigInteger
    cache_ok = True


class EnumValue(TypeDecorator[E]):
    """A member of an enum by its value. Reading a text that is none raises KeyError."""

    impl = Text
    cache_ok = True

    def __init__(self, members: type[E]) -> None:
        super().__init__()
        self.members = members
        self._by_value: dict[str, E] = {member.value: member for member in members}

    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:
        return None if value is None else value.value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> E | None:
        return None if value is None else self._by_value[value]


class JsonText(TypeDecorator[V]):
    """JSON as text. Reading anything else than JSON of this kind raises ValueError, TypeError, KeyError, AttributeError
    or RecursionError."""

    impl = Text
    cache_ok = True

    def __init__(self, to_json: Callable[[V], Any], from_json: Callable[[Any], V], empty_text: str | None) -> None:
        """`empty_text`: what an empty value is stored as, which is what most rows hold."""
        super().__init__()
        self.to_json, self.from_json, self.empty_text = to_json, from_json, empty_text
        self._empty = None if empty_text is None else from_json(json.loads(empty_text))

    def process_bind_param(self, value: V | None, dialect: Dialect) -> str | None:
        return _encode(self.to_json(value)) if value else self.empty_text

    def process_result_value(self, value: Any | None, dialect: Dialect) -> V | None:
        return self._empty if value == self.empty_text else self.from_json(json.loads(value))  # type: ignore[arg-type]


def _tuple_of(to_json: Callable[[T], Any], from_json: Callable[[Any], T]) -> JsonText[tuple[T, ...]]:
    return JsonText(lambda items: [to_json(item) for item in items], lambda items: tuple(map(from_json, items)), "[]")


def _failure_to_json(failure: Failure | None) -> tuple[str, str] | None:
    return None if failure is None else (failure.reason, failure.message)


def _decision_to_json(decision: Decision) -> dict[str, Any]:
    values = {name: getattr(decision, name) for name in _DECISION_FIELDS}
    return {**values, "approval_requirements": [(each.role, each.count) for each in decision.approval_requirements]}


def _decision_from_json(value: dict[str, Any]) -> Decision:
    requirements = tuple(ApprovalRequirement(*each) for each in value.get("approval_requirements", ()))
    return Decision(**{**value, "effect": Effect(value["effect"]), "approval_requirements": requirements})


def _approval_from_json(value: list[Any]) -> Approval:
    """Older stores wrote five values: no roles, no break_glass."""
    return Approval(*value[:5], *((tuple(value[5]), *value[6:]) if len(value) > 5 else ()))


def _fact_to_json(fact: Fact) -> dict[str, Any]:
    """Without the decision: the proposal that fetches it has that."""
    return {
        "action_name": fact.action_name,
        "args_json": fact.args_json,
        "proposal_id": fact.proposal_id,
        "result_json": fact.result_json,
        "failure": _failure_to_json(fact.failure),
        "end_time": fact.end_time,
    }


def _fact_from_json(value: dict[str, Any]) -> Fact:
    return Fact(**{**value, "failure": value["failure"] and Failure(*value["failure"])})


def _job_to_json(job: Job) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(job).items() if name != "facts"},
        "decision": job.decision and _decision_to_json(job.decision),
        "will_not_run": _failure_to_json(job.will_not_run),
    }


def _job_from_json(value: dict[str, Any]) -> Job:
    return Job(
        **{
            **value,
            "input_context": tuple(value["input_context"]),
            "depends_on": tuple(value["depends_on"]),
            "decision": None if value["decision"] is None else _decision_from_json(value["decision"]),
            # Older stores wrote none of these.
            "assumed": tuple(value.get("assumed", ())),
            "on_refusal": OnRefusal(value.get("on_refusal", "")),
            "will_not_run": Failure(*value["will_not_run"]) if value.get("will_not_run") else None,
        }
    )


LABELS: JsonText[Mapping[str, str]] = JsonText(dict, lambda value: value, "{}")
TEXTS: JsonText[tuple[str, ...]] = JsonText(list, tuple, "[]")
APPROVALS = _tuple_of(_approval_values, _approval_from_json)
NOTICES = _tuple_of(_notice_values, lambda value: Notice(*value))
FACTS = _tuple_of(_fact_to_json, _fact_from_json)
JOBS = _tuple_of(_job_to_json, _job_from_json)
OPTIONAL_DECISION = JsonText(_decision_to_json, _decision_from_json, None)
OPTIONAL_GENERATION_OPTIONS = JsonText(_option_values, lambda value: GenerationOptions(*value), None)
