"""The single writer: takes all queued commands, applies them, commits once, then answers the callers."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import structlog
import uuid6

from plangate_core.process.clock import Clock
from plangate_core.rpc.telemetry import child_span
from store_service.commands import ClaimPlans, ClaimProposals, Command
from store_service.commands.answer import Answer
from store_service.commands.working_set import Needs, WorkingSet
from store_service.database.database import Database
from store_service.database.event_repository import Part
from store_service.database.failures import Conflict, ConnectionLost, FileGone, Unwritable
from store_service.domain.errors import CommitUnknown, DatabaseUnavailable, Draining, StoreError
from store_service.domain.events import Event, LogHead
from store_service.domain.instant import Instant, instant_of
from store_service.domain.plan import Plan, PlanState
from store_service.domain.proposal import Proposal
from store_service.domain.rules import Rules
from store_service.domain.seals import LogKey
from store_service.domain.snapshot import LogRules
from store_service.domain.transitions.standing import RolesOf
from store_service.engine.batch import Answered, Batch, RequestIdentity
from store_service.engine.claim_poller import ClaimPoller
from store_service.engine.failpoints import FailPoint, FailPoints
from store_service.engine.loading import load
from store_service.engine.work_signals import WorkSignals
from store_service.engine.write_queue import Waiting, WriteQueue

_CONFLICT_TRIES = 5
_MISMATCHES_REMEMBERED = 10_000
_MISMATCHES_PASSED_OVER = 200
_log = structlog.get_logger(__name__)

# Called with the events of each commit of this process, in order, before its callers are answered.
CommitListener: TypeAlias = Callable[[Sequence[Event]], None]


class DatabaseState(Enum):
    """What the last attempt to write found."""

    WRITABLE = "writable"
    # Full, locked, damaged or away: writes are refused and tried again.
    UNWRITABLE = "unwritable"
    # The SQLite file is not at its path any more: this process writes no more.
    FILE_GONE = "file gone"


# The state, and the problem; "" when there is none.
StateListener: TypeAlias = Callable[[DatabaseState, str], None]


@dataclass(frozen=True, kw_only=True)
class WriterOptions:
    """Bounds of the writer.

    max_waiting: commands that may wait; more are refused with Overloaded.
    max_waiting_bytes: what those may hold on to.
    max_batch: commands per commit.
    poll_seconds: how often to look, for all who wait for something to claim: other processes, pauses that end.
    reconnect_pauses: seconds to wait before each new try after the connection broke.
    """

    max_waiting: int = 1024
    max_waiting_bytes: int = 64 * 1024 * 1024
    max_batch: int = 256
    poll_seconds: float = 1.0
    reconnect_pauses: tuple[float, ...] = (0.0, 0.1, 0.5, 2.0)


@dataclass(slots=True)
class _Forgetting:
    """A call of forget_requests on its way. `ahead`: how many commands came before it and still wait."""

    before: Instant
    limit: int
    ahead: int
    done: asyncio.Future[int]


class Writer:
    """Group commit: see docs/decisions/0003-write-path.md.

    `execute` may be called by any number of tasks of one event loop. Commands are applied in the order of the calls.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        log_rules: LogRules,
        rules: Rules | None = None,
        options: WriterOptions | None = None,
        fail_points: FailPoints | None = None,
        log_key: LogKey | None = None,
    ) -> None:
        """`log_key`: seals the log."""
        self._session = database.write_session(log_key)
        self._clock = clock
        self._log_rules = log_rules
        self._mismatched: set[str] = set()
        self._roles_of: RolesOf = lambda _: None
        self._rules = rules or Rules()
        self._options = options or WriterOptions()
        self._fail_points = fail_points or {}
        self._queue = WriteQueue(self._options.max_waiting, self._options.max_waiting_bytes)
        self._signals = WorkSignals()
        self._claim_poller = ClaimPoller(
            database, self._signals, clock=clock, interval_seconds=self._options.poll_seconds
        )
        self._listeners: list[CommitListener] = []
        self._state_listeners: list[StateListener] = []
        self._set_back_listeners: list[Callable[[LogHead], None]] = []
        self._state = DatabaseState.WRITABLE
        self._gone: FileGone | None = None
        self._forgetting: deque[_Forgetting] = deque()
        self._head: LogHead | None = None
        self._seconds_per_command = 0.001
        self._stopping = False
        self._waits_are_over = False
        self._task: asyncio.Task[None] | None = None

    @property
    def head(self) -> LogHead:
        """The head of the log as of this process's last transaction."""
        return self._head or LogHead()

    @property
    def waiting(self) -> int:
        """How many commands wait."""
        return len(self._queue)

    def look_up_roles(self, roles_of: RolesOf) -> None:
        """Has claims compare the roles of those who approved with what they are now."""
        self._roles_of = roles_of

    def on_state(self, listener: StateListener) -> None:
        """Calls `listener` when the database's state changes. It must not block or raise."""
        self._state_listeners.append(listener)

    def on_head_set_back(self, listener: Callable[[LogHead], None]) -> None:
        """`listener` is given the head of a log that ends before what this process saw of it. It must not block or
        raise."""
        self._set_back_listeners.append(listener)

    def look_at_file(self) -> None:
        """Has the writer check that the SQLite file is still at its path, as it does before each batch."""
        self._queue.wake()

    def on_commit(self, listener: CommitListener) -> None:
        """Calls `listener` with the events of every commit of this process from now on. It must not block or raise."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Connects, and begins to take commands. Raises DatabaseUnavailable."""
        try:
            self._head = await self._session.begin()
        except (Conflict, ConnectionLost, Unwritable) as error:
            await self._session.close()
            raise DatabaseUnavailable(str(error)) from error
        await self._session.rollback()
        self._task = asyncio.create_task(self._run(), name="writer")
        self._claim_poller.start()

    async def stop(self) -> None:
        """Refuses new commands, writes those that wait, and gives the connection back."""
        self.end_waits()
        self._stopping = True
        self._queue.wake()
        if self._task is not None:
            await asyncio.shield(self._task)
        await self._claim_poller.stop()
        await self._session.close()

    def end_waits(self) -> None:
        """Answers those who wait for something to claim, now and from now on: nothing more is worth waiting for."""
        self._waits_are_over = True
        self._signals.wake_all()

    async def execute(self, command: Command, *, deadline: float | None = None) -> Answer:
        """Runs one command; returns when its changes are durable.

        deadline: in the event loop's time; a command whose turn comes later is not begun. Cancelling the call before
        its turn drops the command; afterwards it is carried out all the same.
        Raises a Refusal, Overloaded, Draining, DeadlinePassed, DatabaseUnavailable or CommitUnknown.
        """
        if self._stopping:
            raise Draining
        if self._gone is not None:
            raise DatabaseUnavailable(str(self._gone))
        command.check()
        waiting = Waiting(command, deadline)
        self._queue.put(waiting, self._seconds_per_command)
        with child_span("write", {"plangate.method": command.method}):
            return await waiting.answer()

    async def execute_waiting(
        self, command: ClaimProposals | ClaimPlans, *, wait_seconds: float, deadline: float | None = None
    ) -> Answer:
        """As `execute`, but waits up to wait_seconds for something to claim. The answer is empty when nothing came."""
        if wait_seconds <= 0:
            return await self.execute(command, deadline=deadline)
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_seconds
        wanted = None if isinstance(command, ClaimPlans) else command.query
        with self._signals.waiter(wanted) as waiter:
            while True:
                answer = await self.execute(command, deadline=deadline)
                left = end - loop.time()
                if answer.snapshots or left <= 0 or self._waits_are_over:
                    return answer
                await waiter.wait(left)

    async def forget_requests(self, before: Instant, limit: int) -> int:
        """Lets at most `limit` of the oldest events, all older than `before`, answer no repeated request any more.

        Its turn comes after the calls that wait now. Returns how many were looked at: less than the limit when no more
        are that old. Raises Draining and DatabaseUnavailable.
        """
        if self._stopping:
            raise Draining
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forgetting.append(_Forgetting(before, limit, len(self._queue), done))
        self._queue.wake()
        return await done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._forgetting and (self._forgetting[0].ahead <= 0 or not self._queue):
                await self._forget(self._forgetting.popleft())
            if self._stopping and not self._queue:
                return
            await self._queue.arrival()
            if self._gone is None and not self._session.file_is_in_place:
                await self._leave_file()
            waiting_before = len(self._queue)
            batch = self._queue.take(self._options.max_batch)
            for forgetting in self._forgetting:
                forgetting.ahead -= waiting_before - len(self._queue)
            if not batch:
                continue
            started = loop.time()
            try:
                await self._write(batch)
            except Exception as error:
                # A bug: the callers must get an answer all the same.
                _log.exception("the writer failed on a batch", commands=len(batch))
                await self._session.close()
                self._settle_all(batch, error)
            self._seconds_per_command = (loop.time() - started) / len(batch)

    async def _leave_file(self) -> None:
        """Lets the session rescue what the file holds, and takes no more writes."""
        try:
            await self._session.begin()
        except (Conflict, ConnectionLost, Unwritable) as error:
            self._unwritable(error)
        else:
            # It is back.
            await self._session.rollback()

    def _unwritable(self, error: Exception) -> None:
        if isinstance(error, FileGone):
            self._gone = error
        self._set_state(DatabaseState.FILE_GONE if self._gone else DatabaseState.UNWRITABLE, str(error))

    def _set_state(self, state: DatabaseState, problem: str) -> None:
        if state is not self._state and self._state is not DatabaseState.FILE_GONE:
            self._state = state
            for listener in self._state_listeners:
                listener(state, problem)

    async def _write(self, batch: list[Waiting]) -> None:
        """Writes a batch and settles every command of it."""
        if self._gone is not None:
            self._settle_all(batch, DatabaseUnavailable(str(self._gone)))
            return
        try:
            await self._write_with_retries(batch)
        except Unwritable as error:
            self._unwritable(error)
            self._settle_all(batch, DatabaseUnavailable(str(error)))
        except Exception as error:
            # A conflict with another process, or a fault that only one of them brings about: each on its own, so that
            # only the guilty one fails.
            if not isinstance(error, Conflict):
                _log.warning("a batch failed and is repeated one by one", commands=len(batch), exc_info=error)
            for waiting in batch:
                await self._write_alone(waiting)

    async def _write_alone(self, waiting: Waiting) -> None:
        for _ in range(_CONFLICT_TRIES):
            if not waiting.is_wanted(asyncio.get_running_loop().time()):
                return
            try:
                await self._write_with_retries([waiting])
            except Conflict as error:
                problem: Exception = DatabaseUnavailable(f"conflicts again and again: {error}")
            except Unwritable as error:
                self._unwritable(error)
                problem = DatabaseUnavailable(str(error))
                break
            except Exception as error:
                _log.exception("a command failed", method=waiting.command.method)
                problem = error
                break
            else:
                return
        waiting.settle(problem)

    async def _write_with_retries(self, batch: list[Waiting]) -> None:
        """Writes and settles a batch; again when the connection broke and it is certain that nothing was stored.

        Raises Conflict and Unwritable, after rolling back."""
        problem = ""
        for pause in (*self._options.reconnect_pauses, None):
            now = asyncio.get_running_loop().time()
            batch = [waiting for waiting in batch if waiting.is_wanted(now)]
            if not batch:
                return
            try:
                await self._attempt(batch)
                self._set_state(DatabaseState.WRITABLE, "")
                return
            except ConnectionLost as error:
                problem = str(error)
                _log.warning("the connection to the database broke", problem=problem)
                await self._session.close()
                if error.commit_sent:
                    self._settle_all(batch, CommitUnknown(problem))
                    return
            if pause is None:
                break
            await asyncio.sleep(pause)
        self._set_state(DatabaseState.UNWRITABLE, problem)
        self._settle_all(batch, DatabaseUnavailable(problem))

    async def _attempt(self, batch: list[Waiting]) -> None:
        session = self._session
        try:
            head = await session.begin()
            self._compare(head)
            applied = await self._apply(batch, head)
            if applied.is_empty:
                await session.rollback()
                self._settle(batch)
                return
            await applied.flush(session)
            await self._reach(FailPoint.BEFORE_COMMIT)
        except BaseException:
            await session.rollback()
            raise
        await self._commit(applied)
        self._head = applied.head
        self._notify(applied)
        try:
            await self._reach(FailPoint.AFTER_COMMIT)
        except Exception as error:
            raise ConnectionLost(str(error), commit_sent=True) from error
        self._settle(batch)

    async def _reach(self, point: FailPoint) -> None:
        if action := self._fail_points.get(point):
            await action()

    def _compare(self, head: LogHead) -> None:
        """Finds out when the log ends before what this process saw of it."""
        known, self._head = self.head, head
        if head.revision < known.revision or (head.revision == known.revision and head.hash != known.hash):
            _log.error(
                "the database went back to an older state: changes that were acknowledged are not in it",
                known_revision=known.revision,
                revision=head.revision,
            )
            for listener in self._set_back_listeners:
                listener(head)

    async def _forget(self, forgetting: "_Forgetting") -> None:
        done = forgetting.done
        try:
            head = await self._session.begin()
            count = await self._session.events.forget_answers(forgetting.before, forgetting.limit)
            await (self._session.commit(head) if count else self._session.rollback())
        except Exception as error:
            # Also when the commit may have happened: forgetting twice does no harm.
            await self._session.close()
            if not done.done():
                done.set_exception(DatabaseUnavailable(str(error)))
        else:
            if not done.done():
                done.set_result(count)

    async def _apply(self, batch: list[Waiting], head: LogHead) -> Batch:
        needs = Needs()
        request_ids: set[str] = set()
        for waiting in batch:
            command = waiting.command
            command.collect(needs)
            if command.request is not None and not command.validate_only:
                request_ids.add(command.request.request_id)
        answered = await self._answered(request_ids) if request_ids else {}
        working_set = WorkingSet(instant_of(self._clock.now()), self._rules, _uuid7, self._log_rules, self._roles_of)
        # They are in the way of other candidates for as long as nobody mends them.
        needs.spoilers += min(len(self._mismatched), _MISMATCHES_PASSED_OVER)
        await load(self._session, needs, working_set)
        applied = Batch(working_set, head, answered, self._log_rules.encode_snapshot)
        for waiting in batch:
            try:
                waiting.outcome = applied.apply(waiting.command)
            except StoreError as error:
                waiting.outcome = error
            except Exception as error:
                _log.exception("a command could not be applied", method=waiting.command.method)
                waiting.outcome = error
        self._report_mismatches(working_set.mismatched)
        return applied

    def _report_mismatches(self, ids: set[str]) -> None:
        """Each once: claims come upon the same ones again and again."""
        for mismatched_id in sorted(ids - self._mismatched):
            _log.error(
                "a plan or proposal is not what the log says of it, and is not carried out: run store check",
                id=mismatched_id,
            )
        if len(self._mismatched) < _MISMATCHES_REMEMBERED:
            self._mismatched |= ids

    async def _answered(self, request_ids: set[str]) -> dict[RequestIdentity, Answered]:
        parts: dict[RequestIdentity, list[Part]] = {}
        for part in await self._session.events.answers(list(request_ids)):
            parts.setdefault((part.event.actor, part.method, part.event.request_id), []).append(part)
        answered: dict[RequestIdentity, Answered] = {}
        for identity, found in parts.items():
            found.sort(key=lambda part: part.answer)
            answer = Answer(tuple(part.event.snapshot for part in found), tuple(part.event.revision for part in found))
            # An executor carries out what a repeated claim is answered.
            changed = next((part.event.entity_id for part in found if self._log_rules.entry_fault(part.event)), "")
            answered[identity] = Answered(found[0].fingerprint, answer, changed)
        return answered

    async def _commit(self, applied: Batch) -> None:
        """Returns when the batch is durable. Raises ConnectionLost, Conflict and Unwritable."""
        try:
            await self._session.commit(applied.head)
        except ConnectionLost as error:
            await self._session.close()
            happened = None if self._session.exclusive else await self._did_commit(applied)
            if happened is None:
                raise
            if not happened:
                raise ConnectionLost(str(error)) from error
        except BaseException:
            await self._session.rollback()
            raise

    async def _did_commit(self, applied: Batch) -> bool | None:
        """Whether a commit happened whose answer was lost; None when the database stays away.

        Locking the head waits for the end of the lost connection's transaction, and no other batch has the same
        hash: the answer is certain.
        """
        for pause in self._options.reconnect_pauses:
            await asyncio.sleep(pause)
            try:
                await self._session.begin()
                found = await self._session.events.hash_of(applied.head.revision)
                await self._session.rollback()
            except (Conflict, ConnectionLost, Unwritable):
                await self._session.close()
            else:
                return found == applied.head.hash
        return None

    def _notify(self, applied: Batch) -> None:
        for listener in self._listeners:
            listener(applied.events)
        if self._signals.awaited:
            self._signals.announce(_claimable(applied.working_set))

    def _settle(self, batch: list[Waiting]) -> None:
        for waiting in batch:
            assert waiting.outcome is not None
            waiting.settle(waiting.outcome)

    def _settle_all(self, batch: list[Waiting], error: Exception) -> None:
        for waiting in batch:
            waiting.settle(error)


def _uuid7() -> str:
    return str(uuid6.uuid7())


def _claimable(working_set: WorkingSet) -> Iterator[Plan | Proposal]:
    """What can be claimed now and could not before."""
    now = working_set.now
    for proposal_id, proposal in working_set.changed_proposals.items():
        if proposal is not None and proposal.is_claimable(now):
            before = working_set.proposals.get(proposal_id)
            if before is None or not before.is_claimable(now):
                yield proposal
    for plan in working_set.changed_plans.values():
        if plan is not None and plan.state is PlanState.QUEUED and plan.is_due(now):
            yield plan
