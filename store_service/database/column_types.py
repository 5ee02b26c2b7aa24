"""Column types: the domain's values on one side, what both databases store on the other.

JSON is stored as text: SQLite has no other, and PostgreSQL's would rewrite it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import BigInteger, Dialect, Text
from sqlalchemy.types import TypeDecorator

from store_service.domain.instant import Instant
from store_service.domain.lease import Failure
from store_service.domain.plan import GenerationOptions, Job
from store_service.domain.proposal import Approval, ApprovalRequirement, Decision, Effect, Fact, Notice, OnRefusal

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


class _JsonText(TypeDecorator[V], Generic[V]):
    """JSON as text. `empty_text` stands for `empty`, which is what most rows hold. Reading anything else than JSON of
    this kind raises ValueError, TypeError, KeyError, AttributeError or RecursionError."""

    impl = Text
    empty: ClassVar[Any]
    empty_text: ClassVar[str | None]

    def to_json(self, value: V) -> Any:
        return value

    def from_json(self, value: Any) -> V:
        raise NotImplementedError

    def process_bind_param(self, value: V | None, dialect: Dialect) -> str | None:
        return _encode(self.to_json(value)) if value else self.empty_text

    def process_result_value(self, value: Any | None, dialect: Dialect) -> V | None:
        empty: V = self.empty
        return empty if value == self.empty_text else self.from_json(json.loads(value))  # type: ignore[arg-type]


class Labels(_JsonText[Mapping[str, str]]):
    """A map of texts."""

    empty: ClassVar[Mapping[str, str]] = {}
    empty_text = "{}"
    cache_ok = True

    def to_json(self, value: Mapping[str, str]) -> dict[str, str]:
        return dict(value)

    def from_json(self, value: dict[str, str]) -> Mapping[str, str]:
        return value


class Texts(_JsonText[tuple[str, ...]]):
    """A list of texts."""

    empty = ()
    empty_text = "[]"
    cache_ok = True

    def from_json(self, value: list[str]) -> tuple[str, ...]:
        return tuple(value)


class Approvals(_JsonText[tuple[Approval, ...]]):
    empty = ()
    empty_text = "[]"
    cache_ok = True

    def to_json(self, value: tuple[Approval, ...]) -> list[tuple[Any, ...]]:
        return [_approval_values(each) for each in value]

    def from_json(self, value: list[list[Any]]) -> tuple[Approval, ...]:
        return tuple(map(_approval_from_json, value))


class Notices(_JsonText[tuple[Notice, ...]]):
    empty = ()
    empty_text = "[]"
    cache_ok = True

    def to_json(self, value: tuple[Notice, ...]) -> list[tuple[Any, ...]]:
        return [_notice_values(each) for each in value]

    def from_json(self, value: list[list[Any]]) -> tuple[Notice, ...]:
        return tuple(Notice(*each) for each in value)


class Facts(_JsonText[tuple[Fact, ...]]):
    """Without decisions: the proposals that fetch them have those."""

    empty = ()
    empty_text = "[]"
    cache_ok = True

    def to_json(self, value: tuple[Fact, ...]) -> list[dict[str, Any]]:
        return [
            {
                "action_name": fact.action_name,
                "args_json": fact.args_json,
                "proposal_id": fact.proposal_id,
                "result_json": fact.result_json,
                "failure": fact.failure and [fact.failure.reason, fact.failure.message],
                "end_time": fact.end_time,
            }
            for fact in value
        ]

    def from_json(self, value: list[dict[str, Any]]) -> tuple[Fact, ...]:
        return tuple(Fact(**{**fact, "failure": fact["failure"] and Failure(*fact["failure"])}) for fact in value)


class OptionalDecision(_JsonText[Decision | None]):
    empty = None
    empty_text = None
    cache_ok = True

    def to_json(self, value: Decision | None) -> dict[str, Any] | None:
        return _decision_to_json(value)

    def from_json(self, value: dict[str, Any]) -> Decision:
        return _decision_from_json(value)


class OptionalGenerationOptions(_JsonText[GenerationOptions | None]):
    empty = None
    empty_text = None
    cache_ok = True

    def to_json(self, value: GenerationOptions | None) -> tuple[Any, ...] | None:
        return None if value is None else _option_values(value)

    def from_json(self, value: list[Any]) -> GenerationOptions:
        return GenerationOptions(*value)


class Jobs(_JsonText[tuple[Job, ...]]):
    empty = ()
    empty_text = "[]"
    cache_ok = True

    def to_json(self, value: tuple[Job, ...]) -> list[dict[str, Any]]:
        return [
            {
                **{name: value for name, value in vars(job).items() if name != "facts"},
                "decision": _decision_to_json(job.decision),
                "will_not_run": job.will_not_run and [job.will_not_run.reason, job.will_not_run.message],
            }
            for job in value
        ]

    def from_json(self, value: list[dict[str, Any]]) -> tuple[Job, ...]:
        return tuple(
            Job(
                **{
                    **job,
                    "input_context": tuple(job["input_context"]),
                    "depends_on": tuple(job["depends_on"]),
                    "decision": None if job["decision"] is None else _decision_from_json(job["decision"]),
                    # Older stores wrote none of these.
                    "assumed": tuple(job.get("assumed", ())),
                    "on_refusal": OnRefusal(job.get("on_refusal", "")),
                    "will_not_run": Failure(*job["will_not_run"]) if job.get("will_not_run") else None,
                }
            )
            for job in value
        )


def _decision_to_json(decision: Decision | None) -> dict[str, Any] | None:
    if decision is None:
        return None
    values = {name: getattr(decision, name) for name in _DECISION_FIELDS}
    return {**values, "approval_requirements": [(each.role, each.count) for each in decision.approval_requirements]}


def _decision_from_json(value: dict[str, Any]) -> Decision:
    requirements = tuple(ApprovalRequirement(*each) for each in value.get("approval_requirements", ()))
    return Decision(**{**value, "effect": Effect(value["effect"]), "approval_requirements": requirements})


def _approval_from_json(value: list[Any]) -> Approval:
    """Older stores wrote five values: no roles, no break_glass."""
    return Approval(*value[:5], *((tuple(value[5]), *value[6:]) if len(value) > 5 else ()))
