"""The form of a model's reply, and how its answer is read.

The answer is kept small, because a small model writes a dozen tokens a second:

    {"jobs": [{"action_name": "...", "action_args": {...}}]}

An objective is taken when a model states one, but not requested: a small model that has just summed up the first step
of a request forgets the others (docs/laboratory/plan-quality.md).

A request that fits no action is answered with the pseudo-action `no_matching_action` and a reason, so that `jobs` is
never empty and a model never has to choose between an invention and an empty list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import from_json

from plangate_core.catalogue.catalogue import Action, Catalogue
from plangate_core.catalogue.finding import Finding
from plangate_core.contract.limits import MAX_JOBS
from planner_service.generation.reply.reply_grammar import grammar_schema

NO_MATCHING_ACTION = "no_matching_action"
LEFT_OUT = "left_out"
"""Type of a correction that took an argument out of a job; corrections of other types doubt the job."""
# What a grammar lets a model write in one reply; a repetition of 100 unrolls into too many rules.
MAX_REPLY_JOBS = 30
_LONG_TEXT = 8_192


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


class JobReply(BaseModel):
    """One element of `jobs`, before it is read. Keys a model adds of its own are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    action_name: str
    action_args: dict[str, Any]
    depends_on: tuple[int, ...] | None = None


class PlanReply(BaseModel):
    """The whole answer, before it is read. `draft_model` makes a subclass that knows the actions' names."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    objective: str = ""
    jobs: tuple[JobReply, ...] = Field(min_length=1, max_length=MAX_JOBS)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **_: Any) -> Self:
        """The reply in a text; nothing is converted. Raises pydantic.ValidationError.

        Pydantic looks at all of a list before it says that it is too long, and lists what is wrong with each element:
        of a reply of nothing but empty jobs that took ten seconds and gigabytes.
        """
        if len(json_data) > _LONG_TEXT and (place := _too_long_list(json_data)):
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    {
                        "type": "too_long",
                        "loc": place,
                        "input": None,
                        "ctx": {"field_type": "List", "max_length": MAX_JOBS, "actual_length": None},
                    }
                ],
            )
        return super().model_validate_json(json_data, strict=True)


def _too_long_list(text: str | bytes | bytearray) -> tuple[str | int, ...]:
    """Where a reply has more elements than it may, before anything looks at them; empty when nowhere."""
    try:
        reply = from_json(text)
    except ValueError:
        return ()
    jobs = reply.get("jobs") if isinstance(reply, dict) else None
    if not isinstance(jobs, list):
        return ()
    if len(jobs) > MAX_JOBS:
        return ("jobs",)
    for index, job in enumerate(jobs):
        others = job.get("depends_on") if isinstance(job, dict) else None
        if isinstance(others, list) and len(others) > MAX_JOBS:
            return ("jobs", index, "depends_on")
    return ()


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

    :param choices: what `action_choice` gives for each action that the model is shown
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


def action_choice(action: Action) -> dict[str, Any]:
    """The schema of one job that names this action."""
    return _choice(action.name, grammar_schema(action.parameters))


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
    jobs: Any = tuple[job, ...]
    return create_model("PlanReply", __base__=PlanReply, jobs=(jobs, Field(min_length=1, max_length=MAX_JOBS)))
