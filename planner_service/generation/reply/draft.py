"""The form of a model's reply, and how its answer is read.

The answer is kept small, because a small model writes a dozen tokens a second:

    {"jobs": [{"action_name": "...", "action_args": {...}}]}

An objective is taken when a model states one, but not requested: a small model that has just summed up the first step
of a request forgets the others (docs/laboratory/plan-quality.md).

A request that fits no action is answered with the pseudo-action `no_matching_action` and a reason, so that `jobs` is
never empty and a model never has to choose between an invention and an empty list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from instructor import OpenAISchema
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic_core import PydanticKnownError

from plangate_core.catalogue.catalogue import Catalogue
from plangate_core.catalogue.finding import Finding
from plangate_core.contract.limits import MAX_JOBS
from planner_service.generation.reply.reply_grammar import grammar_schema

NO_MATCHING_ACTION = "no_matching_action"
LEFT_OUT = "left_out"
"""Type of a correction that took an argument out of a job; corrections of other types doubt the job."""
# What a grammar lets a model write in one reply; a repetition of 100 unrolls into too many rules.
MAX_REPLY_JOBS = 30


@dataclass(frozen=True)
class JobDraft:
    """One step as the model wrote it. `depends_on`: positions (from 0) of earlier jobs of the draft that it needs."""

    action_name: str
    action_args: dict[str, Any]
    depends_on: tuple[int, ...] = ()


@dataclass(frozen=True)
class PlanDraft:
    """A model's answer. `no_action_reason` is not empty when the request, or a part of it, fits no action.

    corrections: what of the reply is doubted or was changed; paths name jobs of the draft by position, and are empty
    where the job was refused.
    """

    objective: str
    jobs: tuple[JobDraft, ...]
    no_action_reason: str = ""
    corrections: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Corrections:
    """What a review changes in a reply: jobs by their position in it, arguments by their job and their name.

    findings: each change and each doubt; paths begin with `jobs.POSITION`.
    """

    refused_jobs: frozenset[int] = frozenset()
    left_out: frozenset[tuple[int, str]] = frozenset()
    findings: tuple[Finding, ...] = ()


NO_CORRECTIONS = Corrections()


def _not_too_many(items: Any) -> Any:
    """Pydantic looks at each element before it says that a list is too long, and lists what is wrong with each.

    Of a reply of nothing but empty jobs that took ten seconds and gigabytes.
    """
    if isinstance(items, list) and len(items) > MAX_JOBS:
        raise PydanticKnownError("too_long", {"field_type": "List", "max_length": MAX_JOBS, "actual_length": None})
    return items


_BOUNDED = BeforeValidator(_not_too_many)


class JobReply(BaseModel):
    """One element of `jobs`, before it is read. Keys a model adds of its own are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    action_name: str
    action_args: dict[str, Any]
    depends_on: Annotated[list[int] | None, _BOUNDED] = None


class PlanReply(OpenAISchema):
    """The whole answer, before it is read. `draft_model` makes a subclass that knows the actions' names."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    grammar: ClassVar[dict[str, Any]] = {}
    """What Instructor is given instead of the schema that pydantic derives."""

    objective: str = ""
    jobs: Annotated[list[JobReply], Field(min_length=1), _BOUNDED]

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        return cls.grammar


def read_draft(reply: PlanReply, corrections: Corrections = NO_CORRECTIONS) -> PlanDraft:
    """The jobs that name a real action, in order, and the reason given for whatever fits none.

    Dependencies are those that the model wrote; positions that are unknown or not earlier are left out.
    """
    kept: dict[int, int] = {}
    jobs: list[JobDraft] = []
    reasons: list[str] = []
    for position, job in enumerate(reply.jobs):
        if job.action_name == NO_MATCHING_ACTION:
            reasons.append(str(job.action_args.get("reason", "")).strip() or "no action of the catalogue fits")
            continue
        if position in corrections.refused_jobs:
            reasons.append(f"no action of the catalogue fits; the nearest is {job.action_name}")
            continue
        args = {name: value for name, value in job.action_args.items() if (position, name) not in corrections.left_out}
        depends_on = tuple(sorted({kept[other] for other in job.depends_on or () if other in kept}))
        kept[position] = len(jobs)
        jobs.append(JobDraft(job.action_name, args, depends_on))
    findings = tuple(_moved(corrections.findings, kept))
    return PlanDraft(reply.objective.strip(), tuple(jobs), " ".join(reasons), findings)


def _moved(findings: Sequence[Finding], kept: Mapping[int, int]) -> Iterator[Finding]:
    """Renumbers findings about kept jobs. A finding about a whole dropped job becomes one about the plan."""
    for finding in findings:
        jobs, position, *rest = finding.path.split(".", 2)
        now = kept.get(int(position))
        if now is not None:
            yield replace(finding, path=".".join([jobs, str(now), *rest]))
        elif not rest:
            yield replace(finding, path="")


def draft_schema(choices: Sequence[dict[str, Any]], *, asks_for_ties: bool = False) -> dict[str, Any]:
    """The JSON Schema of an answer: each action's name goes with its own arguments only.

    Property order is the order in which a grammar makes the model write.

    :param choices: the schema of a job for each action that the model is shown
    :param asks_for_ties: whether a job may name the earlier jobs that it needs
    """
    if asks_for_ties:
        choices = [{**choice, "properties": {**choice["properties"], "depends_on": _DEPENDS_ON}} for choice in choices]
    refusal = _choice(NO_MATCHING_ACTION, _REASON_ONLY)
    return {
        "title": "PlanReply",
        **_closed_object(
            {
                "jobs": {
                    "type": "array",
                    "items": {"anyOf": [*choices, refusal]},
                    "minItems": 1,
                    "maxItems": MAX_REPLY_JOBS,
                }
            }
        ),
    }


_DEPENDS_ON = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": MAX_REPLY_JOBS - 1},
    "maxItems": MAX_REPLY_JOBS,
    "description": "Positions, from 0, of the earlier jobs whose success this job needs.",
}
_REASON_ONLY = {
    "type": "object",
    "properties": {"reason": {"type": "string", "maxLength": 160}},
    "required": ["reason"],
    "additionalProperties": False,
}


def _choice(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return _closed_object({"action_name": {"type": "string", "const": name}, "action_args": arguments})


def _closed_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def draft_model(catalogue: Catalogue) -> type[PlanReply]:
    """The reply's model for a catalogue. Checks names and form; arguments are for `Catalogue.check_args`."""
    names = (*(action.name for action in catalogue.actions), NO_MATCHING_ACTION)
    # Types made at run time: pydantic follows, mypy cannot.
    one_of_them: Any = Literal[names]
    job: Any = create_model("JobReply", __base__=JobReply, action_name=(one_of_them, ...))
    jobs: Any = Annotated[list[job], Field(min_length=1), _BOUNDED]
    return create_model("PlanReply", __base__=PlanReply, __doc__=PlanReply.__doc__, jobs=(jobs, ...))


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """What a call asks for. model: for Instructor. schema_size: characters of the schema that goes with the call."""

    model: type[PlanReply]
    action_names: tuple[str, ...]
    schema_size: int


@lru_cache(maxsize=64)
def reply_form(catalogue: Catalogue, shown: Catalogue, *, asks_for_ties: bool = False) -> ReplyForm:
    """The form of replies about a catalogue to a model that is shown a part of it, or all."""
    model, choices = _parts_of(catalogue)
    names = tuple(action.name for action in shown.actions)
    schema = draft_schema([choices[name] for name in names], asks_for_ties=asks_for_ties)
    # The tool's description is the docstring.
    form: Any = create_model("PlanReply", __base__=model, __doc__=PlanReply.__doc__)
    form.grammar = schema
    return ReplyForm(form, names, len(json.dumps(schema)))


@lru_cache(maxsize=8)
def _parts_of(catalogue: Catalogue) -> tuple[type[PlanReply], dict[str, dict[str, Any]]]:
    """What takes long: the model that validates, and each action's grammar."""
    return draft_model(catalogue), {
        action.name: _choice(action.name, grammar_schema(action.parameters)) for action in catalogue.actions
    }
