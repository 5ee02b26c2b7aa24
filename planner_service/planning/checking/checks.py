"""Whether jobs make sense: actions of the catalogue, arguments that fit their schemas, dependencies that can be met."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from plangate_core.catalogue.argument_schema import deeper_than, more_values_than
from plangate_core.catalogue.catalogue import Catalogue
from plangate_core.catalogue.finding import Finding, dotted
from plangate_core.contract.limits import (
    INEXACT_FROM,
    JOB_ID,
    MAX_ARGS_BYTES,
    MAX_ARGS_DEPTH,
    MAX_ATTEMPTS,
    MAX_DEPENDENCIES,
    MAX_DESCRIPTION_CHARACTERS,
    MAX_EVIDENCE_CHARACTERS,
    MAX_JOBS,
    MAX_NAME_CHARACTERS,
    MAX_PRIORITY,
)
from planner_service.generation.reply.draft import JobDraft, PlanDraft
from planner_service.plan import Job
from planner_service.planning.checking.assumptions import filled_in

MAX_ARGS_BYTES_TOGETHER = 3 * 1024 * 1024
"""Of all jobs of a plan: with the rest of the plan less than a message to the store may have (4 MiB)."""
_TOO_LARGE = Finding("action_args", "too_large", f"more than {MAX_ARGS_BYTES} bytes of JSON")


def jobs_of_draft(draft: PlanDraft) -> tuple[Job, ...]:
    """The jobs a model drafted, with ids job_1, job_2, ... A dependency on a position that is not there stays wrong."""
    return tuple(job_of_draft(index, job) for index, job in enumerate(draft.jobs))


def job_of_draft(index: int, draft: JobDraft) -> Job:
    """The job at a position, counted from 0."""
    return Job(
        id=job_id(index),
        action_name=draft.action_name,
        action_args=draft.action_args,
        depends_on=tuple(job_id(position) for position in draft.depends_on),
    )


def job_id(index: int) -> str:
    """The id of a job that came without one. `index` counts from 0."""
    return f"job_{index + 1}"


def check_jobs(jobs: Sequence[Job], catalogue: Catalogue) -> tuple[tuple[Job, ...], list[Finding]]:
    """The jobs with defaults filled in, and what is wrong with them, by position: `jobs.0.action_args.path`."""
    errors: list[Finding] = []
    if len(jobs) > MAX_JOBS:
        errors.append(Finding("jobs", "too_long", f"a plan has at most {MAX_JOBS} jobs"))
        return tuple(jobs), errors
    complete: list[Job] = []
    for index, job in enumerate(jobs):
        args, found = check_args(job.action_name, job.action_args, catalogue)
        errors.extend(error.under(f"jobs.{index}") for error in [*_check_fields(job), *found])
        assumed = () if found else filled_in(job.action_args, args)
        action = catalogue.find(job.action_name)
        if action is not None and not found:
            job = replace(job, idempotent=action.idempotent, effect_key=action.effect_of(args))
        complete.append(replace(job, action_args=args, assumed=assumed))
    if len(jobs) * MAX_ARGS_BYTES > MAX_ARGS_BYTES_TOGETHER and not errors:
        together = sum(len(_json_text(job.action_args).encode()) for job in complete)
        if together > MAX_ARGS_BYTES_TOGETHER:
            what = f"their arguments are more than {MAX_ARGS_BYTES_TOGETHER} bytes of JSON together"
            errors.append(Finding("jobs", "too_large", what))
    errors.extend(_check_dependencies(jobs))
    return tuple(complete), errors


def check_args(
    action_name: str, args: Mapping[str, Any], catalogue: Catalogue
) -> tuple[Mapping[str, Any], list[Finding]]:
    """Arguments with defaults filled in, and what is wrong: paths begin with action_name or action_args."""
    action = catalogue.find(action_name)
    if action is None:
        known = [known.name for known in catalogue.actions]
        close = difflib.get_close_matches(action_name[:200], known, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return args, [Finding("action_name", "unknown_action", f"the catalogue has no such action{hint}")]
    if more_values_than(MAX_ARGS_BYTES, args):
        return args, [_TOO_LARGE]
    if deeper_than(args, MAX_ARGS_DEPTH):
        return args, [Finding("action_args", "too_deep", f"nested deeper than {MAX_ARGS_DEPTH}")]
    if len(_json_text(args)) > MAX_ARGS_BYTES:
        # Before anything looks at each value: a model's reply may hold megabytes of them.
        return args, [_TOO_LARGE]
    if unfit := _unfit_value(args, ()):
        return args, [unfit.under("action_args")]
    complete, errors = catalogue.check_args(action, args)
    if not errors and len(_json_text(complete).encode()) > MAX_ARGS_BYTES:
        return complete, [_TOO_LARGE]
    return complete, [error.under("action_args") for error in errors]


def _json_text(args: Mapping[str, Any]) -> str:
    return json.dumps(args, ensure_ascii=False, separators=(",", ":"))


def _check_fields(job: Job) -> Iterable[Finding]:
    if not JOB_ID.fullmatch(job.id):
        yield Finding("id", "pattern", f"must match {JOB_ID.pattern}")
    for field, text, limit in (
        ("description", job.description, MAX_DESCRIPTION_CHARACTERS),
        ("evidence", job.evidence, MAX_EVIDENCE_CHARACTERS),
        ("role", job.role, MAX_NAME_CHARACTERS),
    ):
        if len(text) > limit:
            yield Finding(field, "too_long", f"at most {limit} characters")
        if "\0" in text:
            yield Finding(field, "nul", "must not contain NUL")
    for field, names in (("depends_on", job.depends_on), ("input_context", job.input_context)):
        if len(names) > MAX_DEPENDENCIES:
            yield Finding(field, "too_long", f"at most {MAX_DEPENDENCIES} entries")
    if any(len(name) > MAX_NAME_CHARACTERS or "\0" in name for name in job.input_context):
        yield Finding("input_context", "too_long", f"at most {MAX_NAME_CHARACTERS} characters each, without NUL")
    if abs(job.priority) > MAX_PRIORITY:
        yield Finding("priority", "range", f"must be from -{MAX_PRIORITY} to {MAX_PRIORITY}")
    if not 0 <= job.max_attempts <= MAX_ATTEMPTS:
        yield Finding("max_attempts", "range", f"must be from 0 to {MAX_ATTEMPTS}")


def _check_dependencies(jobs: Sequence[Job]) -> list[Finding]:
    errors: list[Finding] = []
    positions: dict[str, int] = {}
    for index, job in enumerate(jobs):
        if job.id in positions:
            errors.append(Finding(f"jobs.{index}.id", "not_unique", f"job {positions[job.id]} has the same id"))
        positions.setdefault(job.id, index)
    for index, job in enumerate(jobs):
        # More than the limit is a finding already; the rest is not looked at, because it may be a million.
        for place, name in enumerate(job.depends_on[:MAX_DEPENDENCIES]):
            path = f"jobs.{index}.depends_on.{place}"
            if name not in positions:
                errors.append(Finding(path, "unknown_job", "no job of this plan has this id"))
            elif name == job.id:
                errors.append(Finding(path, "cycle", "a job cannot wait for itself"))
    if not errors and (circle := _circle(jobs)):
        errors.append(Finding(f"jobs.{positions[circle[0]]}.depends_on", "cycle", " waits for ".join(circle)))
    return errors


def _circle(jobs: Sequence[Job]) -> list[str]:
    """The ids of jobs that wait for one another in a circle, the first again at the end; empty when there are none."""
    try:
        TopologicalSorter({job.id: job.depends_on for job in jobs}).prepare()
    except CycleError as error:
        # Backwards: in graphlib's circle each comes before the next.
        circle: list[str] = error.args[1][:0:-1]
        first = next(circle.index(job.id) for job in jobs if job.id in circle)
        return [*circle[first:], *circle[: first + 1]]
    return []


def _unfit_value(value: Any, path: tuple[str | int, ...]) -> Finding | None:
    """The first thing that cannot cross the wire as it is: numbers a double would round, broken Unicode."""
    if isinstance(value, Mapping):
        if any(map(_broken, value)):
            return Finding(dotted(path), "unicode", "a name holds half of a surrogate pair")
        members: Iterable[tuple[str | int, Any]] = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    elif isinstance(value, str):
        return Finding(dotted(path), "unicode", "holds half of a surrogate pair") if _broken(value) else None
    else:
        return _unfit_number(value, path)
    return next((found for name, item in members if (found := _unfit_value(item, (*path, name)))), None)


def _unfit_number(value: Any, path: tuple[str | int, ...]) -> Finding | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return Finding(dotted(path), "number", "not a number that JSON can hold")
    if abs(value) >= INEXACT_FROM and (isinstance(value, int) or value.is_integer()):
        return Finding(dotted(path), "number", "2^53 or more, which may have been rounded: give it as a string")
    return None


def _broken(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else False
