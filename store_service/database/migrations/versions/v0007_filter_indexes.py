"""Indexes for the filters that people and the planner ask for: who asked, which action, who did it, which request."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_SHOWN = sa.text("delete_time IS NULL")
_IN_A_REQUEST = sa.text("request_id <> ''")
_ANSWERS = sa.text("answer IS NOT NULL")


def _index(name: str, table: str, columns: list[str], where: sa.TextClause | None = None) -> None:
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    _index("ix_proposals_created_by", "proposals", ["created_by", "create_time", "id"], _SHOWN)
    _index("ix_proposals_action_name", "proposals", ["action_name", "create_time", "id"], _SHOWN)
    _index("ix_plans_created_by", "plans", ["created_by", "create_time", "id"], _SHOWN)
    _index("ix_events_actor", "events", ["actor", "revision"])
    # Also for those who look a request up in the log, not only for the writer's own memory of answers.
    op.drop_index("ix_events_request_id", "events")
    _index("ix_events_request_id", "events", ["request_id"], _IN_A_REQUEST)


def downgrade() -> None:
    op.drop_index("ix_events_request_id", "events")
    _index("ix_events_request_id", "events", ["request_id"], _ANSWERS)
    op.drop_index("ix_events_actor", "events")
    op.drop_index("ix_plans_created_by", "plans")
    op.drop_index("ix_proposals_action_name", "proposals")
    op.drop_index("ix_proposals_created_by", "proposals")
