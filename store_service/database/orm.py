"""The foundation of the mapped classes: asynchronous, and changed under optimistic locking."""

from typing import Any, TypeAlias

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Row, Select, Text
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from store_service.database.column_types import Microseconds
from store_service.domain.instant import Instant

AnySelect: TypeAlias = Select[*tuple[Any, ...]]
AnyRow: TypeAlias = Row[*tuple[Any, ...]]


class Base(AsyncAttrs, DeclarativeBase):
    """The declarative base of all tables."""

    type_annotation_map = {bool: Boolean, bytes: LargeBinary, int: BigInteger, str: Text}  # noqa: RUF012 - read by SQLAlchemy


class AsyncOntologyObject(Base):
    """A row that is changed under optimistic locking: domain.lease.Leased.

    `version` is SQLAlchemy's version_id_col: an UPDATE carries `WHERE version = <as read>` and hits no row when another
    one was faster. Flushes of the ORM do so by themselves; `bulk_writes` takes the column from here.
    A lease is `lease_worker`, `lease_expire_time` and `attempt`; a failure is two columns.
    """

    __abstract__ = True

    id: Mapped[str] = mapped_column(primary_key=True, sort_order=-20)
    version: Mapped[int] = mapped_column(sort_order=-19)
    created_by: Mapped[str] = mapped_column(default="", sort_order=90)
    updated_by: Mapped[str] = mapped_column(default="", sort_order=91)
    create_time: Mapped[Instant] = mapped_column(Microseconds, sort_order=92)
    update_time: Mapped[Instant] = mapped_column(Microseconds, sort_order=93)
    delete_time: Mapped[Instant | None] = mapped_column(Microseconds, default=None, sort_order=94)
    failure_reason: Mapped[str | None] = mapped_column(default=None)
    failure_message: Mapped[str | None] = mapped_column(default=None)
    lease_worker: Mapped[str | None] = mapped_column(default=None)
    lease_expire_time: Mapped[Instant | None] = mapped_column(Microseconds, default=None)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer, default=1)
    not_before_time: Mapped[Instant | None] = mapped_column(Microseconds, default=None)
    returned_attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, object]:
        return {"version_id_col": cls.version}
