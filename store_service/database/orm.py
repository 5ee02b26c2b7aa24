"""The foundation of the ORM models."""

from sqlalchemy import BigInteger, Text
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column


class Base(AsyncAttrs, DeclarativeBase):
    """The declarative base of all tables."""


class VersionedBase(Base):
    """A row that is changed under optimistic locking.

    `version` is SQLAlchemy's version_id_col: every UPDATE that the ORM sends carries `WHERE version = <as read>` and
    fails with StaleDataError when no row was hit. The writer, which sends its updates in bulk, builds the same
    condition from this mapping (`write_session.guard_of`) and counts the rows itself.
    Times are microseconds since 1970 (UTC): exact, and the same number in the log's hashes.
    """

    __abstract__ = True

    id: Mapped[str] = mapped_column(Text, primary_key=True, sort_order=-20)
    version: Mapped[int] = mapped_column(BigInteger, nullable=False, sort_order=-19)
    created_by: Mapped[str] = mapped_column(Text, default="", sort_order=90)
    updated_by: Mapped[str] = mapped_column(Text, default="", sort_order=91)
    create_time: Mapped[int] = mapped_column(BigInteger, sort_order=92)
    update_time: Mapped[int] = mapped_column(BigInteger, sort_order=93)
    delete_time: Mapped[int | None] = mapped_column(BigInteger, default=None, sort_order=94)

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, object]:
        return {"version_id_col": cls.version}
