"""Named moments of the write path at which a test may make the store fail. Nothing happens unless one is given."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum


class FailPoint(StrEnum):
    # Everything is flushed, the commit is not sent.
    BEFORE_COMMIT = "before_commit"
    # The commit returned, no caller was answered.
    AFTER_COMMIT = "after_commit"


class FailPoints:
    """What to do at which moment. An action that raises makes the store behave as if its connection broke there."""

    def __init__(self, actions: Mapping[FailPoint, Callable[[], Awaitable[None]]]) -> None:
        self._actions = dict(actions)

    async def reach(self, point: FailPoint) -> None:
        action = self._actions.get(point)
        if action is not None:
            await action()
