"""Who last edited a proposal: nobody approves their own words. Edits made before are not known any more."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("proposals", sa.Column("revised_by", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("proposals", "revised_by")
