"""Dependencies are counted: what can be claimed is found by an index, not by looking at every approved proposal."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_READY = sa.text("state = 'APPROVED' AND waiting_for = 0 AND delete_time IS NULL")
_proposals = sa.table(
    "proposals", sa.column("id"), sa.column("state"), sa.column("depends_on"), sa.column("waiting_for")
)


def upgrade() -> None:
    dependencies = op.create_table(
        "dependencies",
        sa.Column("depends_on_id", sa.Text, primary_key=True),
        sa.Column("proposal_id", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.add_column("proposals", sa.Column("waiting_for", sa.Integer, nullable=False, server_default=sa.text("0")))
    connection = op.get_bind()
    dependents = connection.execute(
        sa.select(_proposals.c.id, _proposals.c.depends_on).where(_proposals.c.depends_on != "[]")
    ).all()
    for proposal_id, depends_on_text in dependents:
        needed = json.loads(depends_on_text)
        op.bulk_insert(dependencies, [{"depends_on_id": each, "proposal_id": proposal_id} for each in needed])
        executed = connection.scalar(
            sa.select(sa.func.count())
            .select_from(_proposals)
            .where(_proposals.c.id.in_(needed), _proposals.c.state == "EXECUTED")
        )
        connection.execute(
            _proposals.update().where(_proposals.c.id == proposal_id).values(waiting_for=len(needed) - (executed or 0))
        )
    indexes: tuple[tuple[str, list[Any]], ...] = (
        ("ix_proposals_ready", [sa.text("priority DESC"), "id"]),
        ("ix_proposals_ready_action", ["action_name", sa.text("priority DESC"), "id"]),
    )
    for name, columns in indexes:
        op.create_index(name, "proposals", columns, sqlite_where=_READY, postgresql_where=_READY)


def downgrade() -> None:
    op.drop_index("ix_proposals_ready_action", "proposals")
    op.drop_index("ix_proposals_ready", "proposals")
    with op.batch_alter_table("proposals") as table:
        table.drop_column("waiting_for")
    op.drop_table("dependencies")
