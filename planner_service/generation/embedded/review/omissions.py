"""Optional arguments that a model made up: the request does not say them, and the model nearly left them out.

A small model likes to fill in what an action offers: a ticket gets a label and an assignee, a restart becomes graceful.
Whether a value is said cannot tell these from values that are meant ("four-star" is 4), but where the model began to
write the argument, the probability that it gave to leaving it out can (docs/plan-quality.md has the figures).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from planner_service.generation.embedded.review.tokens import ARGUMENTS_DEPTH, ReplyTokens, marks
from planner_service.wording.words import stems

MIN_OMISSION_PROBABILITY = 0.15
MIN_OMISSION_PROBABILITY_OF_A_SWITCH = 0.05
MIN_OMISSION_PROBABILITY_OF_A_CHOICE = 0.4
"""From here on an optional argument that the request does not say is left out. Measured for the embedded model.

A switch that nobody speaks of is seldom meant. One of several given values, though, is often meant in other words.
"""

_COLON = re.compile(r"\s*:")
_MAX_SPACE = 20
_COMMA_BEFORE = re.compile(r",\s*\Z")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def omission_probabilities(tokens: Sequence[Any]) -> Mapping[tuple[int, str], float]:
    """For each argument, by its job's position (from 0) and its name: how probable it was that it was left out.

    tokens: the reply's tokens so far, as `choices[0].logprobs.content` of OpenAI's protocol has them. What is not of
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


def was_nearly_omitted(schema: Mapping[str, Any], omission_probability: float) -> bool:
    """Whether that is so probable that the model made the argument up. schema: the argument's."""
    if schema.get("type") == "boolean":
        return omission_probability >= MIN_OMISSION_PROBABILITY_OF_A_SWITCH
    if "enum" in schema:
        return omission_probability >= MIN_OMISSION_PROBABILITY_OF_A_CHOICE
    return omission_probability >= MIN_OMISSION_PROBABILITY


def is_said(name: str, value: Any, said: str) -> bool:
    """Whether the request says an argument's value, or speaks of the argument. Roughly: when in doubt it does."""
    asked = _asked(said)
    return not asked.stems.isdisjoint(stems(name)) or _is_said(value, asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as values are looked for in it."""

    text: str
    stems: frozenset[str]
    numbers: frozenset[float]


@lru_cache(maxsize=16)
def _asked(said: str) -> _Asked:
    """Kept for the next argument of the same plan."""
    numbers = [float(number) for number in _NUMBER.findall(said.replace(",", ""))]
    return _Asked(said.casefold(), frozenset(stems(said)), frozenset(numbers))


def _is_said(value: Any, asked: _Asked) -> bool:
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, (int, float)):
        return value in asked.numbers
    if isinstance(value, str):
        return value.casefold() in asked.text or not asked.stems.isdisjoint(stems(value))
    items = value.values() if isinstance(value, Mapping) else value
    return any(_is_said(item, asked) for item in items)


def _argument_names(text: str) -> Iterator[tuple[int, str, int]]:
    """Each argument's job, name, and where the name's first quotation mark stands."""
    for mark in marks(text):
        if mark.text not in "{}[]" and mark.depth == ARGUMENTS_DEPTH and _COLON.match(text, mark.end):
            yield mark.job, mark.text.strip('"'), mark.start


def _is_another(key: str, rest: str) -> bool:
    """Whether this is not the beginning of the key, nor the key the beginning of it."""
    return not (key.startswith(rest) or rest.startswith(key))
