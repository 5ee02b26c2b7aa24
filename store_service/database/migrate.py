"""Bringing a database's schema up to date, at start."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from store_service.domain.errors import SchemaTooNew, StartRefused

# Any number, as long as it stays the same: processes that start together take turns under it.
_ADVISORY_LOCK = 7_526_412_269
# Held by every store while it starts, together; by a copy alone, until it ends.
_OFFLINE_LOCK = 7_526_412_270


def migrate(connection: Connection, target: str = "head") -> None:
    """Applies the migrations up to `target` that are missing, in the connection's transaction.

    Raises SchemaTooNew when the database was written by a version that knows more of them, and StartRefused when it
    names two of them as the last, or is being copied.
    """
    if connection.dialect.name == "postgresql":
        if not connection.scalar(select(func.pg_try_advisory_xact_lock_shared(_OFFLINE_LOCK))):
            raise StartRefused("the database is being copied (plangate store copy): start again when that is done")
        connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    config = Config()
    config.set_main_option("script_location", "store_service.database:migrations")
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    applied = MigrationContext.configure(connection).get_current_heads()
    if len(applied) > 1:
        raise StartRefused(
            f"the table alembic_version names {len(applied)} schemas, {' and '.join(sorted(applied))}, where a store's "
            "names one: it was changed"
        )
    found = applied[0] if applied else None
    head = script.get_current_head()
    if found is not None and found not in {revision.revision for revision in script.walk_revisions()}:
        raise SchemaTooNew(found, str(head))
    if found != head:
        command.upgrade(config, target)


def refuse_starts(connection: Connection) -> bool:
    """Let no store start on this PostgreSQL database until the transaction ends; False where one starts right now."""
    return bool(connection.scalar(select(func.pg_try_advisory_xact_lock(_OFFLINE_LOCK))))
