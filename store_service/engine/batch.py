"""One batch of commands: applied in memory, then written in a handful of statements."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from plangate_core.contract.limits import MAX_PLAN_BYTES
from store_service.commands.answer import Answer
from store_service.commands.command import Command
from store_service.commands.working_set import Change, Transaction, WorkingSet, may_read
from store_service.database.event_repository import Entry
from store_service.database.write_session import WriteSession
from store_service.domain import events
from store_service.domain.actor import Actor
from store_service.domain.errors import InvalidField, LogMismatch, RequestIdReused
from store_service.domain.events import EntityType, Event, EventKind, LogHead
from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal

# The caller's identity, the method, the request_id.
RequestIdentity: TypeAlias = tuple[str, str, str]

# Changes that take from the client what a plan says.
_PLAN_WRITTEN = (EventKind.PLAN_CREATED, EventKind.PLAN_PLANNED)


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered before, and how. `changed`: the id of what the log does not say so any more."""

    fingerprint: bytes
    answer: Answer
    changed: str = ""


class Batch:
    """Applies commands one after the other to a loaded working set, and collects what is to be written."""

    def __init__(
        self,
        working_set: WorkingSet,
        head: LogHead,
        answered: Mapping[RequestIdentity, Answered],
        encode_snapshot: Callable[[Plan | Proposal], bytes],
    ) -> None:
        self.working_set = working_set
        self.head_before = head
        self.head = head
        self.events: list[Event] = []
        self._entries: list[Entry] = []
        self._answered = dict(answered)
        self._encode_snapshot = encode_snapshot

    def apply(self, command: Command) -> Answer:
        """The answer, to be given once everything is committed. Raises what the command raises, and then it left no
        mark."""
        identity = self._identity(command)
        if identity is not None and command.request is not None and identity in self._answered:
            before = self._answered[identity]
            if before.fingerprint != command.request.fingerprint:
                raise RequestIdReused(command.request.request_id)
            if before.changed:
                raise LogMismatch(before.changed)
            return Answer(before.answer.snapshots, before.answer.revisions, replayed=True)
        transaction = Transaction(self.working_set, command.actor)
        command.apply(transaction)
        snapshots = [self._encode_snapshot(change.entity) for change in transaction.changes]
        for change, snapshot in zip(transaction.changes, snapshots, strict=True):
            if len(snapshot) > MAX_PLAN_BYTES and change.kind in _PLAN_WRITTEN:
                raise InvalidField("plan", f"must be at most {MAX_PLAN_BYTES} bytes with all that is stored of it")
        if command.validate_only:
            return self._preview(command.actor, transaction.changes, snapshots)
        self.working_set.merge(transaction)
        answer = self._log(command, transaction.changes, snapshots)
        if identity is not None and command.request is not None and answer.snapshots:
            self._answered[identity] = Answered(command.request.fingerprint, answer)
        return answer

    def _preview(self, actor: Actor, changes: Sequence[Change], snapshots: Sequence[bytes]) -> Answer:
        """What the answer would be, and what else would change."""
        answers = tuple(snapshot for change, snapshot in zip(changes, snapshots, strict=True) if change.answers)
        # Without what may be large: a hundred of them are one message.
        others = tuple(
            self._encode_snapshot(change.entity.evolve(args_json="{}", evidence="", result_json=None))
            for change in changes
            if not change.answers and isinstance(change.entity, Proposal) and may_read(actor, change.entity)
        )
        return Answer(answers, consequences=others)

    def _identity(self, command: Command) -> RequestIdentity | None:
        if command.request is None or command.validate_only:
            return None
        return command.actor.identity, command.method, command.request.request_id

    def _log(self, command: Command, changes: list[Change], snapshots: list[bytes]) -> Answer:
        request = command.request
        request_id = "" if request is None else request.request_id
        answered: list[bytes] = []
        revisions: list[int] = []
        for change, snapshot in zip(changes, snapshots, strict=True):
            entity = change.entity
            if isinstance(entity, Proposal):
                entity_type, plan_id = EntityType.PROPOSAL, entity.plan_id
            else:
                entity_type, plan_id = EntityType.PLAN, entity.id
            event = events.append(
                self.head,
                entity_type=entity_type,
                entity_id=entity.id,
                version=entity.version,
                kind=change.kind,
                actor=change.actor,
                time=self.working_set.now,
                request_id=request_id,
                comment=change.comment,
                snapshot=snapshot,
                plan_id=plan_id,
            )
            self.head = LogHead(event.revision, event.hash)
            self.events.append(event)
            if change.answers:
                answered.append(snapshot)
                revisions.append(event.revision)
            if request is not None and change.answers:
                self._entries.append(Entry(event, command.method, request.fingerprint, len(answered)))
            else:
                self._entries.append(Entry(event))
        return Answer(tuple(answered), tuple(revisions))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.events and not self.working_set.changed_governance

    async def flush(self, session: WriteSession) -> None:
        """Sends everything that changed. Raises what the session raises."""
        plans, proposals = self.working_set.plans, self.working_set.proposals
        changed_plans = self.working_set.changed_plans.items()
        changed_proposals = self.working_set.changed_proposals.items()
        if changed_plans:
            await session.plans.save([(plans.get(plan_id), plan) for plan_id, plan in changed_plans])
        if changed_proposals:
            await session.proposals.save(
                [(proposals.get(proposal_id), proposal) for proposal_id, proposal in changed_proposals]
            )
        if self.working_set.changed_governance:
            await session.governance.save(self.working_set.changed_governance)
        if self._entries:
            await session.events.append(self._entries, self.head_before, self.head)
