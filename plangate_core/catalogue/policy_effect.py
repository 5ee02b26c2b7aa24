"""What policy, and the catalogue itself, can decide about an action."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Effect(Enum):
    """The three things policy can decide."""

    ALLOW = "allow"
    REQUIRE_APPROVAL = "require_approval"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class ApprovalRequirement:
    """So many distinct reviewers who have the role; any reviewer where it is empty."""

    role: str
    count: int


class StepOrder(Enum):
    """Whether steps that do not need each other's results keep the order of the request."""

    INDEPENDENT = "independent"
    SEQUENTIAL = "sequential"


class OnRefusal(Enum):
    """What becomes of a step when one that it waits for ends without success."""

    ASK = "ask"
    CONTINUE = "continue"
    CANCEL = "cancel"
