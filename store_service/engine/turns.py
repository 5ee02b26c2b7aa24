"""Those who lost a race for one proposal are told so one after the other.

Ten clients that change one proposal read the same version; one wins, and if the nine others are told at once, they come
back at once: ten calls for each change. So one loser is told at once, which is all there is to a lone conflict. Those
who lose while it may still come back wait, and each change that is committed lets the next one go, with the version
that is current then. A change costs two calls, and everybody gets their turn.

Where even those lose who knew the newest version, whoever changes the proposal comes back at once to change it again.
They may then, for a moment: the next loser is told when it is over, or when they stay away.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from store_service.domain.errors import VersionConflict
from store_service.engine.write_queue import Waiting


@dataclass(frozen=True, kw_only=True)
class TurnOptions:
    """Bounds of waiting for one's turn.

    turn_seconds: how long the others wait for the one who was told, before the next one is told.
    run_seconds: how long they wait for those who change it again and again. Less when many wait.
    return_seconds: how long one who changed it may take to come back and change it again.
    max_seconds: how long anybody waits.
    max_held: how many may wait, for all proposals together; those beyond are told at once.
    """

    turn_seconds: float = 0.005
    run_seconds: float = 0.003
    return_seconds: float = 0.002
    max_seconds: float = 0.05
    max_held: int = 128


@dataclass(slots=True)
class _Race:
    """For one proposal.

    version: the current one.
    told_at: when the last loser was told, in the event loop's time.
    began_with: the version of which the first loser was told.
    held: calls that wait, each with the version it expected and since when.
    they_return: whoever changes the proposal seems to come back at once.
    return_timer: runs while one who changed it may come back.
    """

    version: int
    told_at: float
    began_with: int
    held: deque[tuple[Waiting, int, float]] = field(default_factory=deque)
    they_return: bool = False
    return_timer: asyncio.TimerHandle | None = None


class Turns:
    """Decides when losers are answered. Needs a running event loop."""

    def __init__(self, options: TurnOptions | None = None) -> None:
        self._options = options or TurnOptions()
        self._races: dict[str, _Race] = {}
        self._held = 0
        self._ended = False

    def lost(self, waiting: Waiting, proposal_id: str, conflict: VersionConflict) -> None:
        """Answers the call with its conflict: now, or when it is its turn."""
        now = asyncio.get_running_loop().time()
        race = self._races.get(proposal_id)
        if race is None:
            waiting.settle(conflict)
            if not self._ended:
                self._begin(proposal_id, conflict.current_version, now)
            return
        race.version = conflict.current_version
        in_a_hurry = waiting.deadline is not None and waiting.deadline - now < 2 * self._options.max_seconds
        if in_a_hurry or self._held >= self._options.max_held:
            waiting.settle(conflict)
            return
        # It knew a version that came about in this race, and still lost to somebody who knew it too.
        race.they_return = race.they_return or conflict.expected_version >= race.began_with
        race.held.append((waiting, conflict.expected_version, now))
        self._held += 1

    def changed(self, proposal_id: str, version: int | None) -> None:
        """A change of the proposal was committed; None: it is gone. Tells the next loser, if one waits."""
        race = self._races.get(proposal_id)
        if race is None:
            return
        if version is None:
            self._end(proposal_id, race)
            return
        race.version = version
        loop = asyncio.get_running_loop()
        if race.return_timer is not None:
            race.return_timer.cancel()
            race.return_timer = None
        # Everybody's turn is to come before they waited too long.
        run_seconds = min(self._options.run_seconds, self._options.max_seconds / (len(race.held) + 1))
        if race.held and race.they_return and loop.time() - race.told_at < run_seconds:
            race.return_timer = loop.call_later(self._options.return_seconds, self._stayed_away, proposal_id, race)
        else:
            self._go_on(proposal_id, race)

    def _stayed_away(self, proposal_id: str, race: _Race) -> None:
        """Nobody who changed the proposal came back."""
        race.they_return = False
        race.return_timer = None
        if self._races.get(proposal_id) is race:
            self._go_on(proposal_id, race)

    def _go_on(self, proposal_id: str, race: _Race) -> None:
        if not self._tell_next(race):
            # The next loser is the first again.
            del self._races[proposal_id]

    @property
    def any(self) -> bool:
        """Whether anybody was told of a conflict a moment ago."""
        return bool(self._races)

    def end(self) -> None:
        """Answers all who wait, and lets nobody wait from now on."""
        self._ended = True
        for proposal_id, race in list(self._races.items()):
            self._end(proposal_id, race)

    def _begin(self, proposal_id: str, version: int, now: float) -> None:
        race = self._races[proposal_id] = _Race(version, now, began_with=version)
        asyncio.get_running_loop().call_later(self._options.turn_seconds, self._pass_on, proposal_id, race)

    def _pass_on(self, proposal_id: str, race: _Race) -> None:
        """The one who was told had the time to come back."""
        if self._races.get(proposal_id) is not race:
            return
        loop = asyncio.get_running_loop()
        left = race.told_at + self._options.turn_seconds - loop.time()
        if left <= 0:
            # While somebody may come back, the next change is the moment: what is told between two is soon out of date.
            if race.return_timer is None:
                self._go_on(proposal_id, race)
            left = self._options.turn_seconds
        loop.call_later(left, self._pass_on, proposal_id, race)

    def _tell_next(self, race: _Race) -> bool:
        """Answers the one who waits longest, and all who waited too long. False when nobody waits any more."""
        now = asyncio.get_running_loop().time()
        told = False
        while race.held and (not told or now - race.held[0][2] >= self._options.max_seconds):
            told |= self._tell(race)
        if told:
            race.told_at = now
        return told

    def _tell(self, race: _Race) -> bool:
        waiting, expected_version, _ = race.held.popleft()
        self._held -= 1
        if waiting.is_answered:
            # Cancelled: nobody waits for it.
            return False
        waiting.settle(VersionConflict(expected_version, race.version))
        return True

    def _end(self, proposal_id: str, race: _Race) -> None:
        del self._races[proposal_id]
        while race.held:
            self._tell(race)
