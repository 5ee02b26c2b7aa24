"""Named moments of the write path at which a test may make the store fail."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import TypeAlias


class FailPoint(StrEnum):
    # Everything is flushed, the commit is not sent.
    BEFORE_COMMIT = "before_commit"
    # The commit returned, no caller was answered.
    AFTER_COMMIT = "after_commit"


# What to do at which moment. An action that raises makes the store behave as if its connection broke there.
FailPoints: TypeAlias = Mapping[FailPoint, Callable[[], Awaitable[None]]]
