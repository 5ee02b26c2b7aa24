"""What a reply's tokens tell of what might have stood in their place (OpenAI's protocol), and where its jobs stand."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

JOB_DEPTH = 3
"""Of brackets within a reply: {"jobs": [{ ..."""
ARGUMENTS_DEPTH = JOB_DEPTH + 1
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mark:
    """A string or a bracket of a reply. depth: of brackets, those that open or close here among them. job: position of
    the job that it belongs to, or that came last; -1 before the first."""

    text: str
    start: int
    end: int
    depth: int
    job: int


def marks(text: str) -> Iterator[Mark]:
    """All strings and brackets of a reply, also of one that has not come whole."""
    depth, job = 0, -1
    for found in _STRING_OR_BRACKET.finditer(text):
        mark = found.group()
        if mark in "{[":
            depth += 1
            job += depth == JOB_DEPTH
        yield Mark(mark, found.start(), found.end(), depth, job)
        depth -= mark in "}]"


class ReplyTokens:
    """A reply's text, and the candidates for each place in it.

    tokens: of the reply, as `choices[0].logprobs.content` has them. What is not of that form says nothing: the
    text is empty then.
    """

    def __init__(self, tokens: Sequence[Any]) -> None:
        usable = [token for token in tokens if isinstance(token, Mapping) and isinstance(token.get("token"), str)]
        self._tokens = usable if len(usable) == len(tokens) else []
        self._starts = [0, *accumulate(len(token["token"]) for token in self._tokens)]
        self.text = "".join(token["token"] for token in self._tokens)

    def share(self, offset: int, counts: Callable[[str], bool]) -> float:
        """The probability share of those continuations that `counts` accepts, of all that were possible at `offset`."""
        candidates = list(self._candidates(offset))
        total = sum(probability for _, probability in candidates)
        return sum(probability for rest, probability in candidates if counts(rest)) / total if total else 0.0

    def _candidates(self, offset: int) -> Iterator[tuple[str, float]]:
        index = bisect_right(self._starts, offset) - 1
        before = self._tokens[index]["token"][: offset - self._starts[index]]
        for token, probability in listed_candidates(self._tokens[index].get("top_logprobs")):
            if token.startswith(before) and len(token) > len(before):
                yield token[len(before) :], probability


def listed_candidates(listed: Any) -> Iterator[tuple[str, float]]:
    """Each candidate of a `top_logprobs` with its probability. What is not of the protocol's form is left out."""
    for candidate in listed if isinstance(listed, list) else ():
        if not isinstance(candidate, dict):
            continue
        token, log_probability = candidate.get("token"), candidate.get("logprob")
        if isinstance(token, str) and isinstance(log_probability, (int, float)):
            yield token, math.exp(min(0.0, log_probability))
