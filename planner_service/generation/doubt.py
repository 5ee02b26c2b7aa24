"""What of a reply does not count, because the model was not sure of it.

A small model seldom refuses: it finds a use for any action. But where it writes an action's name, the probability that
it gave to `no_matching_action` instead tells wanted refusals from right plans well (docs/plan-quality.md has the
figures), unless the request uses the very words of that name. In the same way it is told which optional arguments the
model made up. A server that tells its tokens' probabilities (`logprobs` of OpenAI's protocol) lets us read it at no
cost. What it is sure of although the request says the opposite does not count either.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from planner_service.catalogue import Action, Catalogue
from planner_service.generation.draft import NO_MATCHING_ACTION, Doubts, JobReply, PlanReply
from planner_service.generation.guesses import MIN_OMISSION_PROBABILITY, is_said, omission_probabilities
from planner_service.generation.selection import stems
from planner_service.opposites import opposite_asked

MAX_REFUSAL_PROBABILITY = 0.1
"""From here on a job counts as refused. Measured, see docs/plan-quality.md; it belongs to the embedded model."""
MAX_REFUSAL_PROBABILITY_UNSAID = 0.05
"""The same for a job of whose arguments the request says none."""
ALTERNATIVES = 8
"""How many candidates a server is asked to tell for each token."""
_NAMED_WORDS = 2

_NAME_BEGINS = re.compile(r'(?<!\\)"action_name"\s*:\s*"\Z')
_NAME = re.compile(r'(?:[^"\\]|\\.)*')
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]]', re.DOTALL)
_DEPTH_OF_A_JOB = 3


def doubts_of(told: PlanReply, tokens: Sequence[Any], catalogue: Catalogue, said: str) -> Doubts:
    """What of the reply does not count.

    tokens: the reply's tokens so far, as `choices[0].logprobs.content` has them. What is not of that form counts as
    certainty. said: all that the requester says.
    """
    jobs = [(position, job, catalogue.find(job.action_name)) for position, job in enumerate(told.jobs)]
    unsaid = frozenset(
        position
        for position, job, _ in jobs
        if job.action_args and not any(is_said(name, value, said) for name, value in job.action_args.items())
    )
    doubted = doubted_jobs(tokens, [action.name for action in catalogue.actions], said, unsaid)
    contrary = {position for position, _, action in jobs if action is not None and opposite_asked(said, action)}
    return Doubts(doubted | contrary, _made_up(jobs, tokens, catalogue, said))


def doubted_jobs(
    tokens: Sequence[Any], action_names: Sequence[str], said: str, unsaid: frozenset[int] = frozenset()
) -> frozenset[int]:
    """Positions (from 0) in `jobs` whose action the model was not sure of. unsaid: those it must have been surer of."""
    asked = frozenset(stems(said))
    return frozenset(
        position
        for position, (name, candidates) in enumerate(_names(tokens))
        if _refusal_probability(candidates, action_names)
        >= (MAX_REFUSAL_PROBABILITY_UNSAID if position in unsaid else MAX_REFUSAL_PROBABILITY)
        and not _is_named(name, asked)
    )


def _made_up(
    jobs: Sequence[tuple[int, JobReply, Action | None]], tokens: Sequence[Any], catalogue: Catalogue, said: str
) -> frozenset[tuple[int, str]]:
    """Optional arguments that the model nearly left out and the request does not say, by job and name.

    What was left out of one job is left out of those after it, too: there the model only repeats itself.
    """
    omissions = omission_probabilities(tokens)
    made_up: set[tuple[int, str]] = set()
    before: set[tuple[str, str, str]] = set()
    for position, job, action in jobs:
        if action is None:
            continue
        args = dict(job.action_args)
        for name, value in job.action_args.items():
            same = (job.action_name, name, repr(value))
            unsure = omissions.get((position, name), 0.0) >= MIN_OMISSION_PROBABILITY or same in before
            if not unsure or is_said(name, value, said):
                continue
            rest = {other: given for other, given in args.items() if other != name}
            # Only what may be left out: the catalogue finds no more fault with the rest.
            if len(catalogue.check_args(action, rest)[1]) <= len(catalogue.check_args(action, args)[1]):
                args = rest
                made_up.add((position, name))
                before.add(same)
    return frozenset(made_up)


def _is_named(action_name: str, asked: frozenset[str]) -> bool:
    """Whether the request says half of the words of an action's name, and no fewer than two."""
    words = set(stems(action_name))
    said = len(words & asked)
    return said >= _NAMED_WORDS and said * 2 >= len(words)


def _names(tokens: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Each job's action name, as far as it has come, and the candidates for its first token."""
    text = ""
    found: list[tuple[int, Sequence[Any]]] = []
    for token in tokens:
        if not isinstance(token, Mapping):
            break
        if _NAME_BEGINS.search(text[-40:]) and _depth(text) == _DEPTH_OF_A_JOB:
            listed = token.get("top_logprobs")
            found.append((len(text), listed if isinstance(listed, list) else ()))
        text += str(token.get("token") or "")
    for start, candidates in found:
        name = _NAME.match(text, start)
        yield name.group() if name else "", candidates


def _depth(text: str) -> int:
    marks = [mark.group() for mark in _STRING_OR_BRACKET.finditer(text)]
    return sum(1 if mark in "{[" else -1 if mark in "}]" else 0 for mark in marks)


def _refusal_probability(candidates: Sequence[Any], action_names: Sequence[str]) -> float:
    """Of the tokens that begin the pseudo-action's name and no action's first word."""
    total = 0.0
    for candidate in candidates:
        if not isinstance(candidate, Mapping):
            continue
        token, log_probability = candidate.get("token"), candidate.get("logprob")
        if not isinstance(token, str) or not isinstance(log_probability, (int, float)) or len(token) < len("no"):
            continue
        ambiguous = any(re.match(rf"{re.escape(token)}(?![a-z])", name) for name in action_names)
        if NO_MATCHING_ACTION.startswith(token) and not ambiguous:
            total += math.exp(min(0.0, log_probability))
    return total
