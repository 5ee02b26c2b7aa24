"""What a reply's tokens tell of what might have stood in their place (OpenAI's protocol), and where its jobs stand."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

JOB_DEPTH = 3
"""Of brackets within a reply: {"jobs": [{ ..."""
STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\]]', re.DOTALL)


def listed_candidates(listed: Any) -> Iterator[tuple[str, float]]:
    """Each candidate of a `top_logprobs` with its probability. What is not of the protocol's form is left out."""
    for candidate in listed if isinstance(listed, list) else ():
        if not isinstance(candidate, dict):
            continue
        token, log_probability = candidate.get("token"), candidate.get("logprob")
        if isinstance(token, str) and isinstance(log_probability, (int, float)):
            yield token, math.exp(min(0.0, log_probability))
