"""What of the embedded model's reply does not count, and what counts otherwise.

All of it is read from the reply and its tokens' probabilities, without another call. It was found by looking at what a
small model gets wrong (docs/plan-quality.md); other models' replies are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plangate_core.catalogue.catalogue import Action, Catalogue
from planner_service.generation.embedded.review.doubt import doubted_jobs
from planner_service.generation.embedded.review.omissions import (
    is_said,
    omission_probabilities,
    was_nearly_omitted,
)
from planner_service.generation.reply.draft import Amendments, PlanReply
from planner_service.wording.opposites import opposite_asked


def amendments_to(told: PlanReply, tokens: Sequence[Any], catalogue: Catalogue, said: str) -> Amendments:
    """What to change in the reply.

    tokens: of the reply so far, as `choices[0].logprobs.content` of OpenAI's protocol has them. said: all that the
    requester says.
    """
    return Amendments(
        refused_jobs=_refused_jobs(told, tokens, catalogue, said),
        left_out=_made_up_arguments(told, tokens, catalogue, said),
    )


def _refused_jobs(told: PlanReply, tokens: Sequence[Any], catalogue: Catalogue, said: str) -> frozenset[int]:
    """Positions of jobs that the model was not sure of, and of those that do the opposite of what is asked."""
    contrary = {position for position, action, _ in _jobs(told, catalogue) if opposite_asked(said, action)}
    return doubted_jobs(tokens, [action.name for action in catalogue.actions], said) | contrary


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
