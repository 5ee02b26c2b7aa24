"""Indexes for what is read most: what is not deleted, by state and by priority. Counting needs no row any more."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SHOWN = sa.text("delete_time IS NULL")


def upgrade() -> None:
    for table in ("proposals", "plans"):
        name = f"ix_{table}_state_create_time"
        op.drop_index(name, table)
        op.create_index(name, table, ["state", "create_time", "id"], sqlite_where=_SHOWN, postgresql_where=_SHOWN)
    op.create_index(
        "ix_proposals_priority", "proposals", ["priority", "id"], sqlite_where=_SHOWN, postgresql_where=_SHOWN
    )


def downgrade() -> None:
    op.drop_index("ix_proposals_priority", "proposals")
    for table in ("proposals", "plans"):
        name = f"ix_{table}_state_create_time"
        op.drop_index(name, table)
        op.create_index(name, table, ["state", "create_time", "id"])
