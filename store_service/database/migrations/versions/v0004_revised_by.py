"""Who edited a proposal, one a line, the last one last: nobody approves their own words. Edits made before are in the
log."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_events = sa.table("events", sa.column("revision"), sa.column("entity_id"), sa.column("actor"), sa.column("kind"))
_proposals = sa.table("proposals", sa.column("id"), sa.column("revised_by"))


def upgrade() -> None:
    op.add_column("proposals", sa.Column("revised_by", sa.Text, nullable=False, server_default=""))
    connection = op.get_bind()
    edits = sa.select(_events.c.entity_id, _events.c.actor).where(_events.c.kind == "proposal.updated")
    editors: dict[str, dict[str, None]] = {}
    for proposal_id, actor in connection.execute(edits.order_by(_events.c.revision)):
        names = editors.setdefault(proposal_id, {})
        # Each once, where they edited it last.
        names.pop(actor, None)
        names[actor] = None
    for proposal_id, names in editors.items():
        of_proposal = _proposals.update().where(_proposals.c.id == proposal_id)
        connection.execute(of_proposal.values(revised_by="\n".join(names)))


def downgrade() -> None:
    op.drop_column("proposals", "revised_by")
