"""What came of carrying one proposal out, or of looking up whether that was done."""

from __future__ import annotations

from dataclasses import dataclass, field

from plangate_core.contract.struct_codec import JsonObject


@dataclass(frozen=True, slots=True)
class Outcome:
    """Success when `reason` is empty.

    `reason` is the UPPER_SNAKE_CASE kind of the failure, `message` what happened, for people; both go to the log.
    """

    result: JsonObject = field(default_factory=dict)
    reason: str = ""
    message: str = ""
    retryable: bool = False
    not_started: bool = False
    """Nothing was begun: the attempt does not count."""
    retry_delay_seconds: float | None = None

    @property
    def succeeded(self) -> bool:
        """True when the proposal becomes EXECUTED."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What a look-up found: whether the action was carried out (None: not known), and how that is known."""

    done: bool | None
    how: str
    result: JsonObject = field(default_factory=dict)
