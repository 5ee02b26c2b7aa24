"""How far along the log answers to repeated requests were forgotten."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "log_head", sa.Column("forgotten_revision", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    )


def downgrade() -> None:
    op.drop_column("log_head", "forgotten_revision")
