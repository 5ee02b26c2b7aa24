"""The three things that policy, and the catalogue itself, can say of an action."""

from __future__ import annotations

from enum import Enum


class Effect(Enum):
    """The three things policy can decide."""

    ALLOW = "allow"
    REQUIRE_APPROVAL = "require_approval"
    DENY = "deny"
