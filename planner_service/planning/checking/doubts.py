"""Doubts whether a plan does what its request says. Steps with a doubt are not carried out by policy alone.

A model may leave out the one word that decides: of "turn it off in production" comes a job for staging, because staging
is the default, and policy lets staging be changed freely. So the values that the request names are compared with those
that the jobs have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from plangate_core.catalogue.catalogue import Catalogue
from plangate_core.catalogue.finding import Finding
from planner_service.generation.reply.draft import LEFT_OUT
from planner_service.governance.declared_arguments import Place
from planner_service.governance.policy import Policy
from planner_service.plan import Job
from planner_service.planning.checking.completeness import warnings_for
from planner_service.wording.opposites import opposite_asked
from planner_service.wording.words import words

RULE = "incomplete-request"
"""Stands beside the rule that allowed a job, where a doubt made it need an approval."""
_SHORTEST_ABBREVIATION = 4
_DEEPEST = 4
_MOST_VALUES = 200
_MOST_SHOWN = 5
# Of a long list, such as country codes, these are in every request without being meant.
_LITTLE_WORDS = frozenset(words("a am an as at be by do go he i if in is it me my no of on or so to up us we"))
_FEW_VALUES = 4
# Of shorter names of truth values other words are beginnings.
_SHORTEST_SWITCH = 4
_NEGATIONS = frozenset(words("no not without don dont t never nothing skip"))
_NEGATED_WORDS = 3


@dataclass(frozen=True, slots=True)
class Doubts:
    """incomplete: about the plan as a whole, empty when there is none. by_job: about single jobs, by their ids.

    notes: what was changed in the model's reply; no doubt about what there is now.
    """

    incomplete: str
    by_job: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """For the requester."""
        whole = (self.incomplete,) if self.incomplete else ()
        return (*whole, *(f"{job_id}: {doubt}" for job_id, doubt in self.by_job.items()), *self.notes)

    def raised(self, job: Job, policy: Policy) -> Job:
        """The job with at least one approval where there is a doubt about it, and the doubt as a reason.

        The policy may allow incomplete plans; what contradicts the request needs a person whatever it says.
        """
        doubts = [self.by_job.get(job.id, ""), "" if policy.allows_incomplete else self.incomplete]
        reason = "; ".join(doubt for doubt in doubts if doubt)
        if not reason or job.decision is None:
            return job
        return replace(job, decision=job.decision.left_to_a_person(RULE, reason))


NO_DOUBTS = Doubts("", {})


def doubts_about(prompt: str, jobs: Sequence[Job], catalogue: Catalogue, corrections: Sequence[Finding] = ()) -> Doubts:
    """Compares jobs with the request that they were made for.

    :param corrections: of the draft that the jobs were made of: doubts of the model itself, and what was changed
    """
    if not jobs:
        return Doubts("", {}, tuple(f"refused: {found.message}" for found in corrections))
    if not prompt:
        return NO_DOUBTS
    by_job: dict[str, str] = {}
    corrected = [(jobs[int(found.path.split(".")[1])], found) for found in corrections if found.path]
    doubted = [(job, found.message) for job, found in corrected if found.type != LEFT_OUT]
    found = (*_contradictions(prompt, jobs, catalogue), *_switches(prompt, jobs, catalogue))
    for job, doubt in (*found, *_opposites(prompt, jobs, catalogue), *doubted):
        by_job[job.id] = f"{by_job[job.id]}; {doubt}" if job.id in by_job else doubt
    notes = tuple(
        f"{job.id} ({job.action_name}): {found.message}" for job, found in corrected if found.type == LEFT_OUT
    )
    return Doubts(next(iter(warnings_for(prompt, jobs)), ""), by_job, notes)


def _opposites(prompt: str, jobs: Sequence[Job], catalogue: Catalogue) -> Iterator[tuple[Job, str]]:
    for job in jobs:
        action = catalogue.find(job.action_name)
        if action is not None and (opposite := opposite_asked(prompt, action)):
            yield job, f'it may do the opposite: the request says "{opposite}", the job {job.action_name}'


def _contradictions(prompt: str, jobs: Sequence[Job], catalogue: Catalogue) -> Iterator[tuple[Job, str]]:
    """Jobs with another value of an enum than the request names."""
    choices = [(job, path, values) for job in jobs for path, values in _choices(catalogue, job.action_name)]
    carried = {_value(job.action_args, path) for job, path, _ in choices}
    request = _Request(prompt)
    for job, path, values in choices:
        value = _value(job.action_args, path)
        named = [other for other in values if request.names(other, values)]
        lost = [other for other in named if other != value and (value not in named or other not in carried)]
        if lost:
            has = "is left open" if value is None else f"of this job is {value}"
            yield job, f"the request names {' and '.join(lost[:_MOST_SHOWN])}, and {'.'.join(path)} {has}"


def _switches(prompt: str, jobs: Sequence[Job], catalogue: Catalogue) -> Iterator[tuple[Job, str]]:
    """Jobs with another truth value than the request states, by the argument's own name."""
    request = _Request(prompt)
    found = [(job, name, job.action_args.get(name)) for job in jobs for name in _truths(catalogue, job.action_name)]
    carried = {(name, value) for _, name, value in found}
    for job, name, value in found:
        stated = request.states(name)
        if stated is not None and value is not stated and (name, stated) not in carried:
            has = "is left open" if value is None else f"of this job is {str(value).lower()}"
            yield job, f'the request says "{"" if stated else "no "}{" ".join(words(name))}", and {name} {has}'


@lru_cache(maxsize=1024)
def _truths(catalogue: Catalogue, action_name: str) -> tuple[str, ...]:
    """The arguments of an action that are truth values."""
    action = catalogue.find(action_name)
    declared = {} if action is None else action.parameters.get("properties", {})
    return tuple(
        name
        for name, schema in declared.items()
        if isinstance(schema, Mapping) and schema.get("type") == "boolean" and len(name) >= _SHORTEST_SWITCH
    )


@lru_cache(maxsize=1024)
def _choices(catalogue: Catalogue, action_name: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """The arguments of an action that have a list of values: path and values. Kept for all plans of a catalogue."""
    action = catalogue.find(action_name)
    return () if action is None else tuple(_listed(Place.arguments_of([action]), ()))


def _listed(place: Place, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    texts = tuple(value for value in place.values() or () if isinstance(value, str))
    if path and len(texts) > 1:
        yield path, texts[:_MOST_VALUES]
    elif len(path) < _DEEPEST:
        for name, member in place.members():
            yield from _listed(member, (*path, name))


def _value(args: Any, path: tuple[str, ...]) -> str | None:
    for name in path:
        args = args.get(name) if isinstance(args, Mapping) else None
    return args if isinstance(args, str) else None


class _Request:
    """The words of a request."""

    def __init__(self, prompt: str) -> None:
        self._in_order = found = words(prompt)
        self._text = f" {' '.join(found)} "
        self._words = frozenset(found)

    def names(self, value: str, values: Sequence[str]) -> bool:
        """Whether the request has the value, its plural, or a beginning of four letters: prod for production."""
        parts = words(value)
        text = " ".join(parts)
        if not text or (text in _LITTLE_WORDS and len(values) > _FEW_VALUES):
            return False
        if f" {text} " in self._text or f" {text}s " in self._text:
            return True
        return len(parts) == 1 and any(text[:end] in self._words for end in range(_SHORTEST_ABBREVIATION, len(text)))

    def states(self, name: str) -> bool | None:
        """Whether the request has the words of a truth value's name (gracefully for graceful), plainly or after a word
        such as "without"; None where it has not, or has both."""
        parts = words(name)
        endings = {parts[-1] + ending for ending in ("", "s", "d", "ed", "ly")} if parts else set()
        places = (
            start
            for start in range(len(self._in_order) - len(parts) + 1)
            if self._in_order[start : start + len(parts) - 1] == parts[:-1]
            and self._in_order[start + len(parts) - 1] in endings
        )
        found = {_NEGATIONS.isdisjoint(self._in_order[max(0, start - _NEGATED_WORDS) : start]) for start in places}
        return found.pop() if len(found) == 1 else None
