"""Asks the embedded model once more about jobs whose action it was not sure of: does the request ask for this?

A small model that finds no fitting action takes another one. Asked about the finished job, without the catalogue and
the examples before its eyes, it tells right from wrong well (docs/plan-quality.md). That is one short call for one job
in six: a few tokens to read and one to write.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.generation.embedded.review.doubt import named_actions
from planner_service.generation.embedded.review.tokens import listed_candidates
from planner_service.generation.reply.draft import PlanReply
from planner_service.wording.describing import description_of

SURE_PROBABILITY = 0.95
"""A job whose action's name was at least so probable is not asked about."""
MIN_ASSENT = -0.25
"""Below this a job counts as refused: the logarithm of the probability of "yes" over that of "no". Measured."""
MAX_QUESTIONS = 8
"""How many jobs of a plan are asked about, the first ones."""
MAX_REQUEST_CHARACTERS = 1_000
"""Longer requests get no question: reading them takes long, and a part of one asks for a part of its jobs only."""

Message = dict[str, str]
_SYSTEM = "You check whether a job does what a request asks. Answer yes or no."


async def unasked_jobs(
    told: PlanReply,
    tokens: Sequence[Any],
    catalogue: Catalogue,
    said: str,
    refused: frozenset[int],
    ask: Callable[[list[Message]], Awaitable[Sequence[Any]]],
) -> frozenset[int]:
    """Positions (from 0) of jobs that the model says the request does not ask for.

    tokens: of the reply, as `choices[0].logprobs.content` has them. said: all that the requester says. refused: jobs
    that are refused already. ask: the tokens of a reply to these messages, empty where there is none. Raises what it
    raises.
    """
    if len(said) > MAX_REQUEST_CHARACTERS:
        return frozenset()
    found = set()
    for position in list(_unsure_jobs(told, tokens, catalogue, refused))[:MAX_QUESTIONS]:
        question = f"Request: {said}\nJob: {description_of(told.jobs[position], catalogue)}\n"
        answer = await ask(
            [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": f"{question}Does the request ask for this job?"},
            ]
        )
        if _assent(answer) < MIN_ASSENT:
            found.add(position)
    return frozenset(found)


def _unsure_jobs(
    told: PlanReply, tokens: Sequence[Any], catalogue: Catalogue, refused: frozenset[int]
) -> Iterator[int]:
    named = dict(enumerate(named_actions(tokens)))
    for position, job in enumerate(told.jobs):
        name, candidates = named.get(position, ("", None))
        if position in refused or name != job.action_name or catalogue.find(name) is None or not candidates:
            continue
        sure = sum(probability for token, probability in listed_candidates(candidates) if name.startswith(token))
        if sure < SURE_PROBABILITY:
            yield position


def _assent(tokens: Sequence[Any]) -> float:
    """How much likelier the first token is "yes" than "no"; 0 when it is neither."""
    first = tokens[0] if tokens else None
    weights = {"yes": 1e-9, "no": 1e-9}
    for token, probability in listed_candidates(first.get("top_logprobs") if isinstance(first, dict) else None):
        word = token.strip().casefold()
        if word in weights:
            weights[word] += probability
    return math.log(weights["yes"] / weights["no"])
