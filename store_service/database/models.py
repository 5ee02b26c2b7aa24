"""The tables, one column per field of the domain's entities. Lists and maps are JSON text, times are microseconds."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Index, Integer, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from store_service.database.orm import Base, VersionedBase

# Conditions of partial indexes. A query uses such an index only if it repeats the condition in the same words, so
# queries take them from here. (SQLite does not match a bound parameter against them.)
READY = "state = 'APPROVED' AND waiting_for = 0 AND delete_time IS NULL"
QUEUED = "state = 'QUEUED' AND delete_time IS NULL"
PLANNING = "state = 'PLANNING'"
LEASED = "lease_expire_time IS NOT NULL"
EXPIRING = "expire_time IS NOT NULL AND delete_time IS NULL AND state IN ('DRAFT', 'PENDING', 'APPROVED')"
IN_A_PLAN = "plan_id <> ''"
SHOWN = "delete_time IS NULL"
IN_A_REQUEST = "request_id <> ''"
ANSWERS = f"answer IS NOT NULL AND {IN_A_REQUEST}"


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class ProposalRow(VersionedBase):
    """domain.proposal.Proposal. The lease's attempt is `attempt`; `failure` is two columns."""

    __tablename__ = "proposals"
    __table_args__ = (
        Index("ix_proposals_create_time", "create_time", "id"),
        Index("ix_proposals_state_create_time", "state", "create_time", "id", **_where(SHOWN)),
        Index("ix_proposals_priority", "priority", "id", **_where(SHOWN)),
        Index("ix_proposals_update_time", "update_time", "id"),
        Index("ix_proposals_created_by", "created_by", "create_time", "id", **_where(SHOWN)),
        Index("ix_proposals_action_name", "action_name", "create_time", "id", **_where(SHOWN)),
        Index("ix_proposals_plan_id", "plan_id", "id", **_where(IN_A_PLAN)),
        Index("ix_proposals_ready", text("priority DESC"), "id", **_where(READY)),
        Index("ix_proposals_ready_action", "action_name", text("priority DESC"), "id", **_where(READY)),
        Index("ix_proposals_lease", "lease_expire_time", **_where(LEASED)),
        Index("ix_proposals_expiring", "expire_time", **_where(EXPIRING)),
    )

    plan_id: Mapped[str] = mapped_column(Text, default="")
    job_id: Mapped[str] = mapped_column(Text, default="")
    action_name: Mapped[str] = mapped_column(Text)
    args_json: Mapped[str] = mapped_column(Text)
    args_digest: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    evidence: Mapped[str] = mapped_column(Text, default="")
    priority: Mapped[int] = mapped_column(Integer, default=0)
    labels: Mapped[str] = mapped_column(Text, default="{}")
    state: Mapped[str] = mapped_column(Text)
    decision: Mapped[str | None] = mapped_column(Text, default=None)
    required_approvals: Mapped[int] = mapped_column(Integer)
    reviewer_role: Mapped[str] = mapped_column(Text, default="")
    approvals: Mapped[str] = mapped_column(Text, default="[]")
    depends_on: Mapped[str] = mapped_column(Text, default="[]")
    waiting_for: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    result_json: Mapped[str | None] = mapped_column(Text, default=None)
    failure_reason: Mapped[str | None] = mapped_column(Text, default=None)
    failure_message: Mapped[str | None] = mapped_column(Text, default=None)
    lease_worker: Mapped[str | None] = mapped_column(Text, default=None)
    lease_expire_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer, default=1)
    not_before_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    submit_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    review_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    execute_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    expire_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    end_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    revised_by: Mapped[str] = mapped_column(Text, default="", server_default="")
    returned_attempts: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))


class PlanRow(VersionedBase):
    """domain.plan.Plan."""

    __tablename__ = "plans"
    __table_args__ = (
        Index("ix_plans_create_time", "create_time", "id"),
        Index("ix_plans_state_create_time", "state", "create_time", "id", **_where(SHOWN)),
        Index("ix_plans_update_time", "update_time", "id"),
        Index("ix_plans_created_by", "created_by", "create_time", "id", **_where(SHOWN)),
        Index("ix_plans_queue", text("priority DESC"), "created_by", "id", **_where(QUEUED)),
        Index("ix_plans_planning", "created_by", **_where(PLANNING)),
        Index("ix_plans_lease", "lease_expire_time", **_where(LEASED)),
    )

    state: Mapped[str] = mapped_column(Text)
    objective: Mapped[str] = mapped_column(Text, default="")
    prompt: Mapped[str] = mapped_column(Text, default="")
    jobs: Mapped[str] = mapped_column(Text, default="[]")
    generation: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    labels: Mapped[str] = mapped_column(Text, default="{}")
    context_json: Mapped[str] = mapped_column(Text, default="{}")
    no_action_reason: Mapped[str] = mapped_column(Text, default="")
    warnings: Mapped[str] = mapped_column(Text, default="[]")
    priority: Mapped[int] = mapped_column(Integer, default=0)
    options: Mapped[str | None] = mapped_column(Text, default=None)
    failure_reason: Mapped[str | None] = mapped_column(Text, default=None)
    failure_message: Mapped[str | None] = mapped_column(Text, default=None)
    lease_worker: Mapped[str | None] = mapped_column(Text, default=None)
    lease_expire_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer, default=1)
    not_before_time: Mapped[int | None] = mapped_column(BigInteger, default=None)
    returned_attempts: Mapped[int] = mapped_column(Integer, default=0, server_default=text("0"))


class DependencyRow(Base):
    """`proposal_id` waits for `depends_on_id`. Written once with the dependent, removed when either is purged."""

    __tablename__ = "dependencies"
    __table_args__ = ({"sqlite_with_rowid": False},)

    depends_on_id: Mapped[str] = mapped_column(Text, primary_key=True)
    proposal_id: Mapped[str] = mapped_column(Text, primary_key=True)


class EventRow(Base):
    """domain.events.Event, and the memory of repeated requests.

    An event whose snapshot is (the answer's `answer`-th resource of) what the client was told carries `method`,
    `fingerprint` and `answer`; together with actor and request_id they find the answer again. They are not hashed.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index("ux_events_entity_version", "entity_id", "version", unique=True),
        Index("ix_events_plan_id", "plan_id", "revision", **_where(IN_A_PLAN)),
        Index("ix_events_request_id", "request_id", **_where(IN_A_REQUEST)),
        Index("ix_events_actor", "actor", "revision"),
    )

    # INTEGER PRIMARY KEY is SQLite's rowid: an append at the end of the table and no index.
    revision: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    entity_type: Mapped[int] = mapped_column(Integer)
    entity_id: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    authenticated: Mapped[bool] = mapped_column(Boolean)
    via: Mapped[str] = mapped_column(Text)
    time: Mapped[int] = mapped_column(BigInteger)
    request_id: Mapped[str] = mapped_column(Text)
    comment: Mapped[str] = mapped_column(Text)
    snapshot: Mapped[bytes] = mapped_column(LargeBinary)
    prev_hash: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    plan_id: Mapped[str] = mapped_column(Text, default="")
    method: Mapped[str] = mapped_column(Text, default="")
    fingerprint: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    answer: Mapped[int | None] = mapped_column(Integer, default=None)


class LogHeadRow(Base):
    """The one row (id 1) that says where the log ends. Locking it is what orders batches of several processes.

    Events up to `forgotten_revision` do not answer repeated requests any more.
    """

    __tablename__ = "log_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    forgotten_revision: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
