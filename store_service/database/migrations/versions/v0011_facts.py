"""Facts that reviewers see before they decide."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("proposals", sa.Column("facts", sa.Text, nullable=False, server_default="[]"))
    op.add_column("proposals", sa.Column("fact_for", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("proposals", "fact_for")
    op.drop_column("proposals", "facts")
