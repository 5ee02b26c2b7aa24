"""Jobs that a model wrote although it held it possible that no action fits.

A small model seldom refuses: it finds a use for any action. But where it writes an action's name, the probability that
it gave to `no_matching_action` instead tells wanted refusals from right plans well (docs/laboratory/plan-quality.md),
unless the request uses the very words of that name. So does the probability of names that the catalogue does not have,
`close_port` where there is only `open_port`: the grammar kept the model from writing them. Both are read from the
tokens' probabilities (`logprobs` of OpenAI's protocol) at no cost.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from planner_service.generation.embedded.correction.profile import ReviewProfile
from planner_service.generation.embedded.correction.tokens import JOB_DEPTH, listed_candidates, marks
from planner_service.generation.reply.draft import NO_MATCHING_ACTION
from planner_service.wording.words import stems, words

_NAMED_WORDS = 2

_NAME_BEGINS = re.compile(r'(?<!\\)"action_name"\s*:\s*"\Z')
_NAME = re.compile(r'(?:[^"\\]|\\.)*')


def doubts(
    tokens: Sequence[Any], action_names: Sequence[str], request: str, profile: ReviewProfile
) -> dict[int, float]:
    """The jobs whose action the model was not sure of, by position (from 0), and the probability that none fits.

    tokens: the reply's tokens, as `choices[0].logprobs.content` has them. What is not of that form counts as
    certainty. request: all that the requester says.
    """
    requested = frozenset(stems(request))
    doubted: dict[int, float] = {}
    for position, name, candidates in named_actions(tokens):
        refusal = _refusal_probability(candidates, action_names)
        invention = _invention_probability(candidates, action_names)
        refused = refusal >= profile.refusal and not _is_named(name, requested)
        if refused or invention >= profile.invention:
            doubted[position] = max(refusal if refused else 0.0, invention)
    return doubted


def _is_named(action_name: str, requested: frozenset[str]) -> bool:
    """Whether the request says half of the words of an action's name, and no fewer than two."""
    name = set(stems(action_name))
    common = len(name & requested)
    return common >= _NAMED_WORDS and common * 2 >= len(name)


def named_actions(tokens: Sequence[Any]) -> Iterator[tuple[int, str, Any]]:
    """Each job's position (from 0), its action's name as far as it has come, and the candidates for its first token."""
    text = ""
    found: list[tuple[int, int, Any]] = []
    for token in tokens:
        if not isinstance(token, Mapping):
            break
        if _NAME_BEGINS.search(text[-40:]) and (mark := list(marks(text))[-1]).depth == JOB_DEPTH:
            found.append((mark.job, len(text), token.get("top_logprobs")))
        text += str(token.get("token") or "")
    for job, start, candidates in found:
        name = _NAME.match(text, start)
        yield job, name.group() if name else "", candidates


def _refusal_probability(candidates: Any, action_names: Sequence[str]) -> float:
    """Of the tokens that begin the pseudo-action's name and no action's first word."""
    return sum(
        probability
        for token, probability in listed_candidates(candidates)
        if len(token) >= len("no")
        and NO_MATCHING_ACTION.startswith(token)
        and not any(re.match(rf"{re.escape(token)}(?![a-z])", name) for name in action_names)
    )


def _invention_probability(candidates: Any, action_names: Sequence[str]) -> float:
    """Of the tokens that begin a word which is in no action's name."""
    known = {word for name in (*action_names, NO_MATCHING_ACTION) for word in words(name)}
    starts = {name.casefold() for name in action_names} | known
    begun = [(token.strip().casefold(), probability) for token, probability in listed_candidates(candidates)]
    return sum(
        probability
        for word, probability in begun
        if len(word) > 1 and word[0].isalpha() and not any(start.startswith(word) for start in starts)
    )
