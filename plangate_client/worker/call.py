"""What a function may know of the proposal that it carries out."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of one proposal.

    `proposal_id` is the same in every attempt: give it to other systems as the idempotency key.
    """

    proposal_id: str
    plan_id: str
    attempt: int
    requested_by: str


current: ContextVar[Call] = ContextVar("plangate_call")


def current_call() -> Call:
    """The proposal that is being carried out. Raises LookupError outside of an action."""
    return current.get()
