"""The tables, one column per field of the domain's entities.

To add a column to proposals (or plans): add the field to `domain.proposal.Proposal`; add the attribute of the same name
and type here; write a migration that adds the column with a server default (`migrations/versions`, next number); add it
to the contract's message and to `messages.encoding`. Nothing else names it: `rows` maps by name and refuses at import a
model that differs from its entity, and repositories write what changed. A test compares migrations and models.

Conditions of partial indexes are functions that queries call too: a database uses such an index only where the query
repeats the condition. Their constants are rendered into the statement, as SQLite matches no bound parameter.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Index,
    Integer,
    and_,
    false,
    literal,
)
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from store_service.database.column_types import (
    APPROVALS,
    FACTS,
    JOBS,
    LABELS,
    NOTICES,
    OPTIONAL_DECISION,
    OPTIONAL_GENERATION_OPTIONS,
    TEXTS,
    EnumValue,
    Microseconds,
)
from store_service.database.orm import AsyncOntologyObject, Base
from store_service.domain.instant import Instant
from store_service.domain.plan import GenerationOptions, Job, PlanState
from store_service.domain.proposal import Approval, Decision, Fact, Notice, OnRefusal, ProposalState


class ProposalModel(AsyncOntologyObject):
    """domain.proposal.Proposal. `revised_by` has a line for each who edited it, the last one last."""

    __tablename__ = "proposals"

    plan_id: Mapped[str] = mapped_column(default="")
    job_id: Mapped[str] = mapped_column(default="")
    action_name: Mapped[str]
    args_json: Mapped[str]
    args_digest: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    evidence: Mapped[str] = mapped_column(default="")
    priority: Mapped[int] = mapped_column(Integer, default=0)
    labels: Mapped[Mapping[str, str]] = mapped_column(LABELS)
    state: Mapped[ProposalState] = mapped_column(EnumValue(ProposalState))
    decision: Mapped[Decision | None] = mapped_column(OPTIONAL_DECISION)
    required_approvals: Mapped[int] = mapped_column(Integer)
    reviewer_role: Mapped[str] = mapped_column(default="")
    approvals: Mapped[tuple[Approval, ...]] = mapped_column(APPROVALS)
    depends_on: Mapped[tuple[str, ...]] = mapped_column(TEXTS)
    waiting_for: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    result_json: Mapped[str | None] = mapped_column(default=None)
    submit_time: Mapped[Instant | None] = mapped_column(Microseconds, default=None)
    review_time: Mapped[Instant | None] = mapped_column(Microseconds, default=None)
    execute_time: Mapped[Instant | None] = mapped_column(Microseconds, default=None)
    expire_time: Mapped[Instant | None] = mapped_column(Microseconds, default=None)
    end_time: Mapped[Instant | None] = mapped_column(Microseconds, default=None)
    revised_by: Mapped[str] = mapped_column(default="", server_default="")
    assumed: Mapped[tuple[str, ...]] = mapped_column(TEXTS, server_default="[]")
    on_refusal: Mapped[OnRefusal] = mapped_column(EnumValue(OnRefusal), server_default="")
    idempotent: Mapped[bool] = mapped_column(server_default=false())
    effect_key: Mapped[str] = mapped_column(server_default="")
    notices: Mapped[tuple[Notice, ...]] = mapped_column(NOTICES, server_default="[]")
    earlier_approvals: Mapped[tuple[Approval, ...]] = mapped_column(APPROVALS, server_default="[]")
    facts: Mapped[tuple[Fact, ...]] = mapped_column(FACTS, server_default="[]")
    fact_for: Mapped[str] = mapped_column(server_default="")


class PlanModel(AsyncOntologyObject):
    """domain.plan.Plan."""

    __tablename__ = "plans"

    state: Mapped[PlanState] = mapped_column(EnumValue(PlanState))
    objective: Mapped[str] = mapped_column(default="")
    prompt: Mapped[str] = mapped_column(default="")
    jobs: Mapped[tuple[Job, ...]] = mapped_column(JOBS)
    generation: Mapped[bytes | None] = mapped_column(default=None)
    labels: Mapped[Mapping[str, str]] = mapped_column(LABELS)
    context_json: Mapped[str] = mapped_column(default="{}")
    no_action_reason: Mapped[str] = mapped_column(default="")
    warnings: Mapped[tuple[str, ...]] = mapped_column(TEXTS)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    options: Mapped[GenerationOptions | None] = mapped_column(OPTIONAL_GENERATION_OPTIONS)


class DependencyModel(Base):
    """`proposal_id` waits for `depends_on_id`, or for a fact that it fetches. Written with the dependent, removed when
    either is purged or the fact is there."""

    __tablename__ = "dependencies"
    __table_args__ = ({"sqlite_with_rowid": False},)

    depends_on_id: Mapped[str] = mapped_column(primary_key=True)
    proposal_id: Mapped[str] = mapped_column(primary_key=True)


class EventModel(Base):
    """domain.events.Event, and how repeated requests are recognized.

    An event whose snapshot is (the answer's `answer`-th resource of) what the client was answered carries `method`,
    `fingerprint` and `answer`; together with actor and request_id they find the answer again. They are not hashed.
    `seal`: see domain.seals.
    """

    __tablename__ = "events"

    # INTEGER PRIMARY KEY is SQLite's rowid: an append at the end of the table and no index.
    revision: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    entity_type: Mapped[int] = mapped_column(Integer)
    entity_id: Mapped[str]
    version: Mapped[int]
    kind: Mapped[str]
    actor: Mapped[str]
    authenticated: Mapped[bool]
    via: Mapped[str]
    time: Mapped[Instant] = mapped_column(Microseconds)
    request_id: Mapped[str]
    comment: Mapped[str]
    snapshot: Mapped[bytes]
    prev_hash: Mapped[bytes]
    hash: Mapped[bytes]
    plan_id: Mapped[str] = mapped_column(default="")
    method: Mapped[str] = mapped_column(default="")
    fingerprint: Mapped[bytes | None] = mapped_column(default=None)
    answer: Mapped[int | None] = mapped_column(Integer, default=None)
    seal: Mapped[bytes | None] = mapped_column(default=None)


class LogHeadModel(Base):
    """The one row (id 1) that says where the log ends. Locking it is what orders batches of several processes.

    Events up to `forgotten_revision` do not answer repeated requests any more.
    """

    __tablename__ = "log_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    revision: Mapped[int]
    hash: Mapped[bytes]
    forgotten_revision: Mapped[int] = mapped_column(default=0, server_default="0")
    seal: Mapped[bytes | None] = mapped_column(default=None)


class GovernanceModel(Base):
    """The catalogue and policy in force for a planner. No part of the log: decisions carry the digest of theirs."""

    __tablename__ = "governance"

    planner: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]


def constant(column: InstrumentedAttribute[Any], value: Any) -> ColumnElement[Any]:
    """A value of the column's type that is rendered into the statement."""
    return literal(value, column.type, literal_execute=True)


def is_ready() -> ColumnElement[bool]:
    """Proposals that can be claimed as soon as their time has come."""
    return and_(
        ProposalModel.state == constant(ProposalModel.state, ProposalState.APPROVED),
        ProposalModel.waiting_for == constant(ProposalModel.waiting_for, 0),
        ProposalModel.delete_time.is_(None),
    )


def is_queued(plan: type[PlanModel] = PlanModel) -> ColumnElement[bool]:
    """Plans that can be claimed as soon as their time has come."""
    return and_(plan.state == constant(PlanModel.state, PlanState.QUEUED), plan.delete_time.is_(None))


def is_being_planned() -> ColumnElement[bool]:
    return PlanModel.state == constant(PlanModel.state, PlanState.PLANNING)


def is_leased(model: type[AsyncOntologyObject]) -> ColumnElement[bool]:
    return model.lease_expire_time.is_not(None)


def can_expire() -> ColumnElement[bool]:
    """Proposals that are not executed yet and have an expire_time."""
    waiting = (ProposalState.DRAFT, ProposalState.PENDING, ProposalState.APPROVED)
    return and_(
        ProposalModel.expire_time.is_not(None),
        ProposalModel.delete_time.is_(None),
        ProposalModel.state.in_([constant(ProposalModel.state, state) for state in waiting]),
    )


def is_present(column: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """The text is not empty."""
    return column != constant(column, "")


def is_shown(model: type[AsyncOntologyObject]) -> ColumnElement[bool]:
    """Not soft-deleted."""
    return model.delete_time.is_(None)


def answers_a_request() -> ColumnElement[bool]:
    return and_(EventModel.answer.is_not(None), is_present(EventModel.request_id))


def _index(name: str, *columns: Any, where: ColumnElement[bool] | None = None) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


for _model in (ProposalModel, PlanModel):
    _name = _model.__tablename__
    _index(f"ix_{_name}_create_time", _model.create_time, _model.id)
    _index(f"ix_{_name}_state_create_time", _model.state, _model.create_time, _model.id, where=is_shown(_model))
    _index(f"ix_{_name}_update_time", _model.update_time, _model.id)
    _index(f"ix_{_name}_created_by", _model.created_by, _model.create_time, _model.id, where=is_shown(_model))
    _index(f"ix_{_name}_lease", _model.lease_expire_time, where=is_leased(_model))
_index("ix_proposals_priority", ProposalModel.priority, ProposalModel.id, where=is_shown(ProposalModel))
_index(
    "ix_proposals_action_name",
    *(ProposalModel.action_name, ProposalModel.create_time, ProposalModel.id),
    where=is_shown(ProposalModel),
)
_index("ix_proposals_plan_id", ProposalModel.plan_id, ProposalModel.id, where=is_present(ProposalModel.plan_id))
READY_INDEX = _index("ix_proposals_ready", ProposalModel.priority.desc(), ProposalModel.id, where=is_ready())
READY_ACTION_INDEX = _index(
    "ix_proposals_ready_action",
    *(ProposalModel.action_name, ProposalModel.priority.desc(), ProposalModel.id),
    where=is_ready(),
)
EFFECT_INDEX = _index(
    "ix_proposals_effect_key", ProposalModel.effect_key, ProposalModel.id, where=is_present(ProposalModel.effect_key)
)
_index("ix_proposals_expiring", ProposalModel.expire_time, where=can_expire())
QUEUE_INDEX = _index("ix_plans_queue", PlanModel.priority.desc(), PlanModel.created_by, PlanModel.id, where=is_queued())
_index("ix_plans_planning", PlanModel.created_by, where=is_being_planned())
Index("ux_events_entity_version", EventModel.entity_id, EventModel.version, unique=True)
_index("ix_events_plan_id", EventModel.plan_id, EventModel.revision, where=is_present(EventModel.plan_id))
REQUEST_INDEX = _index("ix_events_request_id", EventModel.request_id, where=is_present(EventModel.request_id))
_index("ix_events_actor", EventModel.actor, EventModel.revision)
