"""One thing that is wrong with a model's reply, or with a job that somebody brought."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Where, what kind, and what: `Finding("jobs.0.action_args.path", "type", "... is not of type ...")`.

    `path` is dotted, from the root of what was checked; empty means the whole of it. `type` is short and for
    programs. `message` is for people and for the model, at most `MESSAGE_LIMIT` characters.
    """

    path: str
    type: str
    message: str

    def under(self, prefix: str) -> Finding:
        """The same error, seen from the thing that holds what was checked."""
        return Finding(dotted((prefix, self.path)), self.type, self.message)


MESSAGE_LIMIT = 500


def dotted(parts: Iterable[str | int]) -> str:
    """Join the parts of a path: `("jobs", 0, "action_args")` is `jobs.0.action_args`. Empty parts are left out."""
    return ".".join(str(part) for part in parts if part != "")
