"""Seals of the log's entries and of its head. Those of older entries are added when a store opens the database."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("events", "log_head"):
        op.add_column(table, sa.Column("seal", sa.LargeBinary))


def downgrade() -> None:
    for table in ("events", "log_head"):
        op.drop_column(table, "seal")
