"""What the review and the execution of a proposal need besides: assumed arguments, notices, effects, refusals."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_EFFECT = sa.text("effect_key <> ''")


def upgrade() -> None:
    for name, empty in (
        ("assumed", "[]"),
        ("on_refusal", ""),
        ("effect_key", ""),
        ("notices", "[]"),
        ("earlier_approvals", "[]"),
    ):
        op.add_column("proposals", sa.Column(name, sa.Text, nullable=False, server_default=empty))
    op.add_column("proposals", sa.Column("idempotent", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_proposals_effect_key",
        "proposals",
        ["effect_key", "id"],
        sqlite_where=_EFFECT,
        postgresql_where=_EFFECT,
    )


def downgrade() -> None:
    op.drop_index("ix_proposals_effect_key", "proposals")
    for name in ("idempotent", "earlier_approvals", "notices", "effect_key", "on_refusal", "assumed"):
        op.drop_column("proposals", name)
