"""Plans, proposals, and the log with its head."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _versioned(*columns: sa.Column[object]) -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        *columns,
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("updated_by", sa.Text, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("delete_time", sa.BigInteger),
    ]


def _leased() -> list[sa.Column[object]]:
    return [
        sa.Column("failure_reason", sa.Text),
        sa.Column("failure_message", sa.Text),
        sa.Column("lease_worker", sa.Text),
        sa.Column("lease_expire_time", sa.BigInteger),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("not_before_time", sa.BigInteger),
    ]


def _index(name: str, table: str, columns: list[str], where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def upgrade() -> None:
    op.create_table(
        "proposals",
        *_versioned(
            sa.Column("plan_id", sa.Text, nullable=False),
            sa.Column("job_id", sa.Text, nullable=False),
            sa.Column("action_name", sa.Text, nullable=False),
            sa.Column("args_json", sa.Text, nullable=False),
            sa.Column("args_digest", sa.Text, nullable=False),
            sa.Column("description", sa.Text, nullable=False),
            sa.Column("evidence", sa.Text, nullable=False),
            sa.Column("priority", sa.Integer, nullable=False),
            sa.Column("labels", sa.Text, nullable=False),
            sa.Column("state", sa.Text, nullable=False),
            sa.Column("decision", sa.Text),
            sa.Column("required_approvals", sa.Integer, nullable=False),
            sa.Column("reviewer_role", sa.Text, nullable=False),
            sa.Column("approvals", sa.Text, nullable=False),
            sa.Column("depends_on", sa.Text, nullable=False),
            sa.Column("cancel_requested", sa.Boolean, nullable=False),
            sa.Column("result_json", sa.Text),
            *_leased(),
            sa.Column("submit_time", sa.BigInteger),
            sa.Column("review_time", sa.BigInteger),
            sa.Column("execute_time", sa.BigInteger),
            sa.Column("expire_time", sa.BigInteger),
            sa.Column("end_time", sa.BigInteger),
        ),
    )
    _index("ix_proposals_create_time", "proposals", ["create_time", "id"])
    _index("ix_proposals_state_create_time", "proposals", ["state", "create_time", "id"])
    _index("ix_proposals_update_time", "proposals", ["update_time", "id"])
    _index("ix_proposals_plan_id", "proposals", ["plan_id", "id"], "plan_id <> ''")
    _index("ix_proposals_lease", "proposals", ["lease_expire_time"], "lease_expire_time IS NOT NULL")
    _index(
        "ix_proposals_expiring",
        "proposals",
        ["expire_time"],
        "expire_time IS NOT NULL AND delete_time IS NULL AND state IN ('DRAFT', 'PENDING', 'APPROVED')",
    )
    op.create_table(
        "plans",
        *_versioned(
            sa.Column("state", sa.Text, nullable=False),
            sa.Column("objective", sa.Text, nullable=False),
            sa.Column("prompt", sa.Text, nullable=False),
            sa.Column("jobs", sa.Text, nullable=False),
            sa.Column("generation", sa.LargeBinary),
            sa.Column("labels", sa.Text, nullable=False),
            sa.Column("context_json", sa.Text, nullable=False),
            sa.Column("no_action_reason", sa.Text, nullable=False),
            sa.Column("warnings", sa.Text, nullable=False),
            sa.Column("priority", sa.Integer, nullable=False),
            sa.Column("options", sa.Text),
            *_leased(),
        ),
    )
    _index("ix_plans_create_time", "plans", ["create_time", "id"])
    _index("ix_plans_state_create_time", "plans", ["state", "create_time", "id"])
    _index("ix_plans_update_time", "plans", ["update_time", "id"])
    queued = sa.text("state = 'QUEUED' AND delete_time IS NULL")
    op.create_index(
        "ix_plans_queue",
        "plans",
        [sa.text("priority DESC"), "created_by", "id"],
        sqlite_where=queued,
        postgresql_where=queued,
    )
    _index("ix_plans_planning", "plans", ["created_by"], "state = 'PLANNING'")
    _index("ix_plans_lease", "plans", ["lease_expire_time"], "lease_expire_time IS NOT NULL")
    op.create_table(
        "events",
        sa.Column(
            "revision", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("entity_type", sa.Integer, nullable=False),
        sa.Column("entity_id", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("authenticated", sa.Boolean, nullable=False),
        sa.Column("via", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("snapshot", sa.LargeBinary, nullable=False),
        sa.Column("prev_hash", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("plan_id", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary),
        sa.Column("answer", sa.Integer),
    )
    op.create_index("ux_events_entity_version", "events", ["entity_id", "version"], unique=True)
    _index("ix_events_plan_id", "events", ["plan_id", "revision"], "plan_id <> ''")
    _index("ix_events_request_id", "events", ["request_id"], "answer IS NOT NULL")
    head = op.create_table(
        "log_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "revision": 0, "hash": bytes(32)}])


def downgrade() -> None:
    for table in ("log_head", "events", "plans", "proposals"):
        op.drop_table(table)
