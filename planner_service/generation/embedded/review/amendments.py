"""What of the embedded model's reply does not count, and what counts otherwise.

All of it is read from the reply and its tokens' probabilities, without another call. It was found by looking at what a
small model gets wrong (docs/plan-quality.md); other models' replies are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plangate_core.catalogue.catalogue import Action, Catalogue
from planner_service.generation.embedded.review.doubt import doubted_jobs
from planner_service.generation.embedded.review.omissions import is_said, omission_probabilities, was_nearly_omitted
from planner_service.generation.embedded.review.split_jobs import cut_short
from planner_service.generation.embedded.review.units import in_its_unit
from planner_service.generation.reply.draft import Amendments, PlanReply, joined
from planner_service.wording.opposites import opposite_asked


def amendments_to(told: PlanReply, tokens: Sequence[Any], catalogue: Catalogue, said: str) -> Amendments:
    """What to change in the reply.

    tokens: of the reply so far, as `choices[0].logprobs.content` of OpenAI's protocol has them. said: all that the
    requester says.
    """
    return Amendments(
        refused_jobs=_refused_jobs(told, tokens, catalogue, said),
        continued_jobs=_continued_jobs(told, tokens, catalogue),
        left_out=_made_up_arguments(told, tokens, catalogue, said),
        converted=_converted_times(told, catalogue, said),
    )


def _refused_jobs(told: PlanReply, tokens: Sequence[Any], catalogue: Catalogue, said: str) -> frozenset[int]:
    """Positions of jobs that the model was not sure of, and of those that do the opposite of what is asked."""
    unsaid = frozenset(
        position
        for position, job in enumerate(told.jobs)
        if job.action_args and not any(is_said(name, value, said) for name, value in job.action_args.items())
    )
    contrary = {position for position, action, _ in _jobs(told, catalogue) if opposite_asked(said, action)}
    return doubted_jobs(tokens, [action.name for action in catalogue.actions], said, unsaid) | contrary


def _continued_jobs(told: PlanReply, tokens: Sequence[Any], catalogue: Catalogue) -> frozenset[int]:
    """Positions of jobs that go on with the one before, which the grammar had ended. Each says something of its own."""
    ended = cut_short(tokens)
    continued: set[int] = set()
    args: Mapping[str, Any] = {}
    for position, action, more in _jobs(told, catalogue):
        both = None
        if position - 1 in ended and told.jobs[position - 1].action_name == action.name:
            both = joined(args, more)
        if both is not None and both not in (args, more) and _is_as_good(both, args, action, catalogue):
            continued.add(position)
            args = both
        else:
            args = more
    return frozenset(continued)


def _made_up_arguments(
    told: PlanReply, tokens: Sequence[Any], catalogue: Catalogue, said: str
) -> frozenset[tuple[int, str]]:
    """Optional arguments that the model nearly left out and the request does not say, by job and name.

    What was left out of one job is left out of those after it, too: there the model only repeats itself.
    """
    omissions = omission_probabilities(tokens)
    made_up: set[tuple[int, str]] = set()
    before: set[tuple[str, str, str]] = set()
    for position, action, given in _jobs(told, catalogue):
        args = dict(given)
        for name, value in given.items():
            same = (action.name, name, repr(value))
            unsure = was_nearly_omitted(_schema_of(name, action), omissions.get((position, name), 0.0))
            if not (unsure or same in before) or is_said(name, value, said):
                continue
            rest = {other: value for other, value in args.items() if other != name}
            if _is_as_good(rest, args, action, catalogue):
                args = rest
                made_up.add((position, name))
                before.add(same)
    return frozenset(made_up)


def _converted_times(told: PlanReply, catalogue: Catalogue, said: str) -> dict[tuple[int, str], Any]:
    """Values in their arguments' units, by job and name."""
    converted: dict[tuple[int, str], Any] = {}
    for position, action, args in _jobs(told, catalogue):
        for name, value in args.items():
            meant = in_its_unit(name, _schema_of(name, action), value, said)
            if meant is not None and _is_as_good({**args, name: meant}, args, action, catalogue):
                converted[position, name] = meant
    return converted


def _jobs(told: PlanReply, catalogue: Catalogue) -> Iterator[tuple[int, Action, Mapping[str, Any]]]:
    """Those that name an action."""
    for position, job in enumerate(told.jobs):
        if (action := catalogue.find(job.action_name)) is not None:
            yield position, action, job.action_args


def _schema_of(argument: str, action: Action) -> Mapping[str, Any]:
    """As far as it stands where it usually does; else empty."""
    properties = action.parameters.get("properties")
    schema = properties.get(argument) if isinstance(properties, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def _is_as_good(args: Mapping[str, Any], than: Mapping[str, Any], action: Action, catalogue: Catalogue) -> bool:
    """Whether the catalogue finds no more fault with these arguments."""
    return len(catalogue.check_args(action, args)[1]) <= len(catalogue.check_args(action, than)[1])
