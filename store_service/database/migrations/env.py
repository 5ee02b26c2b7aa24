"""Alembic's entry: runs the migrations on the connection that `migrate` was given."""

from alembic import context

from store_service.database import models

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=models.ProposalModel.metadata,
    # SQLite cannot alter most things in place: tables are copied.
    render_as_batch=True,
)
# The caller's transaction is used, so a migration that fails leaves nothing behind.
context.run_migrations()
