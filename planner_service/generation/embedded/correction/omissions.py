"""Optional arguments that a model made up: the request does not say them, and the model nearly left them out.

A small model likes to fill in what an action offers: a ticket gets a label and an assignee, a restart becomes graceful.
Whether a value is stated cannot tell these from values that are meant ("four-star" is 4), but where the model began to
write the argument, the probability that it gave to leaving it out can (figures: docs/laboratory/plan-quality.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from plangate_core.catalogue.catalogue import Action, Catalogue
from planner_service.generation.embedded.correction.profile import ReviewProfile
from planner_service.generation.embedded.correction.tokens import ARGUMENTS_DEPTH, ReplyTokens, marks
from planner_service.generation.reply.draft import PlanReply
from planner_service.wording.words import stems

_COLON = re.compile(r"\s*:")
_MAX_SPACE = 20
_COMMA_BEFORE = re.compile(r",\s*\Z")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def omission_probabilities(tokens: Sequence[Any]) -> Mapping[tuple[int, str], float]:
    """For each argument, by its job's position (from 0) and its name: how probable it was that it was left out.

    tokens: the reply's tokens, as `choices[0].logprobs.content` of OpenAI's protocol has them. What is not of
    that form says nothing.
    """
    reply = ReplyTokens(tokens)
    found: dict[tuple[int, str], float] = {}
    for job, name, quote in _argument_names(reply.text):
        comma = _COMMA_BEFORE.search(reply.text, max(0, quote - _MAX_SPACE), quote)
        begins = quote if comma is None else comma.start()
        ended = reply.share(begins, lambda rest: rest.lstrip().startswith("}"))
        another = reply.share(quote + 1, partial(_is_another, f'{name}"'))
        found[job, name] = 1 - (1 - ended) * (1 - another)
    return found


def made_up_arguments(
    reply: PlanReply, tokens: Sequence[Any], catalogue: Catalogue, request: str, profile: ReviewProfile
) -> dict[tuple[int, str], float]:
    """Optional arguments that the model nearly left out and the request does not state, by job and name.

    What is left out of one job is left out of those after it, too: there the model only repeats itself.
    """
    omissions = omission_probabilities(tokens)
    made_up: dict[tuple[int, str], float] = {}
    before: dict[tuple[str, str, str], float] = {}
    for position, job in enumerate(reply.jobs):
        action = catalogue.find(job.action_name)
        if action is None:
            continue
        args = dict(job.action_args)
        for name, value in job.action_args.items():
            same = (action.name, name, repr(value))
            probability = omissions.get((position, name), 0.0)
            unsure = probability >= _limit(_schema_of(name, action), profile)
            if not (unsure or same in before) or is_stated(name, value, request):
                continue
            rest = {other: value for other, value in args.items() if other != name}
            if _is_as_good(rest, args, action, catalogue):
                args = rest
                made_up[position, name] = before.setdefault(same, probability)
    return made_up


def _limit(schema: Mapping[str, Any], profile: ReviewProfile) -> float:
    if schema.get("type") == "boolean":
        return profile.switch_omission
    return profile.choice_omission if "enum" in schema else profile.omission


def _schema_of(argument: str, action: Action) -> Mapping[str, Any]:
    """As far as it stands where it usually does; else empty."""
    properties = action.parameters.get("properties")
    schema = properties.get(argument) if isinstance(properties, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def _is_as_good(args: Mapping[str, Any], than: Mapping[str, Any], action: Action, catalogue: Catalogue) -> bool:
    """Whether the catalogue finds no more fault with these arguments."""
    return len(catalogue.check_args(action, args)[1]) <= len(catalogue.check_args(action, than)[1])


def is_stated(name: str, value: Any, request: str) -> bool:
    """Whether the request states an argument's value, or speaks of the argument. Roughly: when in doubt it does."""
    text, request_stems = request.casefold(), frozenset(stems(request))
    numbers = {float(number) for number in _NUMBER.findall(request.replace(",", ""))}

    def states(value: Any) -> bool:
        if isinstance(value, bool) or value is None:
            return False
        if isinstance(value, (int, float)):
            return value in numbers
        if isinstance(value, str):
            return value.casefold() in text or not request_stems.isdisjoint(stems(value))
        return any(states(item) for item in (value.values() if isinstance(value, Mapping) else value))

    return not request_stems.isdisjoint(stems(name)) or states(value)


def _argument_names(text: str) -> Iterator[tuple[int, str, int]]:
    """Each argument's job, name, and where the name's first quotation mark stands."""
    for mark in marks(text):
        if mark.text not in "{}[]" and mark.depth == ARGUMENTS_DEPTH and _COLON.match(text, mark.end):
            yield mark.job, mark.text.strip('"'), mark.start


def _is_another(key: str, rest: str) -> bool:
    """Whether this is not the beginning of the key, nor the key the beginning of it."""
    return not (key.startswith(rest) or rest.startswith(key))
