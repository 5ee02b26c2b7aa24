"""Jobs that a model meant as one, and had to write as two.

A grammar takes an object's properties in the order of their schema. A model that thinks of an earlier one too late can
only end the object; often it then writes another job of the same action for the rest: {genre, cast} and {directed_by}.
That it would rather have gone on shows in its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner_service.generation.embedded.review.tokens import ARGUMENTS_DEPTH, ReplyTokens, marks

MIN_CONTINUATION_PROBABILITY = 0.5
"""From here on a job was cut short. The model writes what is most probable, so only a grammar can have ended it."""


def cut_short(tokens: Sequence[Any]) -> frozenset[int]:
    """Positions (from 0) of jobs in whose arguments an object ended although the model wanted to go on with it.

    tokens: as for token_logprobs.ReplyTokens.
    """
    reply = ReplyTokens(tokens)
    found = set()
    for mark in marks(reply.text):
        if mark.text == "}" and mark.depth >= ARGUMENTS_DEPTH:
            goes_on = reply.share(mark.start, lambda rest: rest.lstrip().startswith(","))
            if goes_on >= MIN_CONTINUATION_PROBABILITY:
                found.add(mark.job)
    return frozenset(found)
