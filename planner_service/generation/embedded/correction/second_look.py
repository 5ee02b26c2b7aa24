"""Asks the embedded model once more about jobs whose action it was not sure of: does the request ask for this?

A small model that finds no fitting action takes another one. Asked about the finished job, without the catalogue and
the examples before its eyes, it tells right from wrong well (docs/laboratory/plan-quality.md). That is one
short call for one job in six: a few tokens to read and one to write.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.generation.embedded.correction.doubt import named_actions
from planner_service.generation.embedded.correction.profile import ReviewProfile
from planner_service.generation.embedded.correction.tokens import listed_candidates
from planner_service.generation.reply.draft import PlanReply
from planner_service.wording.describing import description_of

MAX_QUESTIONS = 8
"""Jobs of a plan that get a second look, the first ones."""
MAX_REQUEST_CHARACTERS = 1_000
"""Longer requests get no question: reading them takes long, and a part of one asks for a part of its jobs only."""

Message = dict[str, str]
_SYSTEM = "You check whether a job does what a request asks. Answer yes or no."


async def unasked_jobs(
    reply: PlanReply,
    tokens: Sequence[Any],
    catalogue: Catalogue,
    request: str,
    doubted: Collection[int],
    profile: ReviewProfile,
    ask: Callable[[list[Message]], Awaitable[Sequence[Any]]],
) -> dict[int, float]:
    """The jobs that the model says the request does not ask for, by position (from 0), and the probability of "no".

    tokens: of the reply, as `choices[0].logprobs.content` has them. request: all that the requester says. doubted: jobs
    that are doubted already. ask: the tokens of a reply to these messages, empty where there is none. Raises what it
    raises.
    """
    if len(request) > MAX_REQUEST_CHARACTERS:
        return {}
    found: dict[int, float] = {}
    for position in list(_unsure_jobs(reply, tokens, catalogue, doubted, profile))[:MAX_QUESTIONS]:
        question = f"Request: {request}\nJob: {description_of(reply.jobs[position], catalogue)}\n"
        answer = await ask(
            [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": f"{question}Does the request ask for this job?"},
            ]
        )
        assent = _assent(answer)
        if assent < profile.least_assent:
            found[position] = 1 / (1 + math.exp(assent))
    return found


def _unsure_jobs(
    reply: PlanReply,
    tokens: Sequence[Any],
    catalogue: Catalogue,
    doubted: Collection[int],
    profile: ReviewProfile,
) -> Iterator[int]:
    named = {position: (name, candidates) for position, name, candidates in named_actions(tokens)}
    for position, job in enumerate(reply.jobs):
        name, candidates = named.get(position, ("", None))
        if position in doubted or name != job.action_name or catalogue.find(name) is None or not candidates:
            continue
        sure = sum(probability for token, probability in listed_candidates(candidates) if name.startswith(token))
        if sure < profile.sure:
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
