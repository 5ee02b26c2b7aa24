"""What a model reads in each attempt: the same opening every time, and after a bad reply what was wrong with it.

Only the last reply and its errors are shown again, both cut to a limit, so a prompt never grows beyond the first one by
more than `MAX_REASK`. The opening stays the same to the byte: providers' and local prompt caches hit on it.
"""

from __future__ import annotations

from plangate_core.text.truncation import truncate
from planner_service.generation.attempts import Finding
from planner_service.generation.prompt.prompts import reask_message

MAX_REPLY_SHOWN = 2_000
MAX_COMPLAINT = 2_000
MAX_ERRORS_TOLD = 5
MAX_REASK = MAX_REPLY_SHOWN + MAX_COMPLAINT
"""Characters by which a re-ask may be longer than the first prompt."""

_LEAST_PER_CHARACTER, _MOST_PER_CHARACTER = 1 / 16, 2.0

Messages = list[dict[str, str]]


def reask(opening: Messages, reply_text: str, errors: tuple[Finding, ...], *, show_reply: bool) -> Messages:
    """The opening, the bad reply (unless it is empty or not to be shown), and what to mend."""
    complaint = truncate(reask_message(list(errors[:MAX_ERRORS_TOLD])), MAX_COMPLAINT)
    shown = truncate(reply_text.strip(), MAX_REPLY_SHOWN) if show_reply else ""
    if shown:
        return [*opening, {"role": "assistant", "content": shown}, {"role": "user", "content": complaint}]
    # Two messages of the user in a row are an error to some chat templates.
    last = opening[-1]
    return [*opening[:-1], {**last, "content": f"{last['content']}\n\n{complaint}"}]


def size(messages: Messages) -> int:
    """Characters in all messages."""
    return sum(len(message["content"]) for message in messages)


class TokenEstimate:
    """How many tokens a prompt will have: four characters each, until a model has counted one of ours."""

    def __init__(self) -> None:
        self._tokens_per_character = 0.25

    def of(self, characters: int) -> int:
        """Tokens of so many characters of a prompt."""
        return round(characters * self._tokens_per_character)

    def learn(self, characters: int, tokens: int) -> None:
        """A provider counted so many tokens in so many characters."""
        if characters and tokens:
            # Within what texts have: a provider that counts something else besides would keep us from asking it again.
            self._tokens_per_character = min(_MOST_PER_CHARACTER, max(_LEAST_PER_CHARACTER, tokens / characters))
