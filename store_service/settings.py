"""The store's settings, from environment variables. Values are read once, at start.

Light to import: every program of ours looks here for the names of variables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import Field

from plangate_core.process.settings import Fixed
from plangate_core.rpc.settings import ServerSettings


def _default_database_url() -> str:
    return f"sqlite:///{platformdirs.user_data_path('plangate') / 'plangate.db'}"


class StoreSettings(ServerSettings):
    """PLANGATE_STORE_LISTEN, PLANGATE_DATABASE_URL and so on. docs/reference/settings.md lists them for operators."""

    store_listen: str = "127.0.0.1:50051"
    """host:port; port 0 takes a free one."""
    database_url: str = Field(default_factory=_default_database_url)
    """sqlite:///relative/path, sqlite:////absolute/path, or postgresql://user:password@host:port/name."""
    read_connections: int = Field(default=4, ge=1, le=100)
    """Connections that serve reads; one more writes."""
    read_timeout_seconds: float = Field(default=5.0, gt=0, le=86_400)
    """How long a list or count may take; then it ends with READ_TIMED_OUT. The call's own deadline may come first."""
    checkpoint_key_file: Path | None = None
    """Ed25519 private key (unencrypted PKCS #8 PEM) that checkpoints are signed with. Absent: no checkpoints."""
    log_key_file: Path | None = None
    """Key that the log is sealed with: 64 hexadecimal digits or more, the same for all stores of a database. Made
    when it is not there. Absent: `plangate-log.key` beside a SQLite database; on PostgreSQL the log is not sealed."""

    lease_seconds: float = Field(default=60.0, ge=1, le=3600)
    """How long a lease holds when a claim does not say."""
    approval_ttl_seconds: float | None = Field(default=None, gt=0, le=36_500 * 86_400)
    """How long a proposal waits before it expires when its decision does not say. Absent: for ever."""
    plan_max_attempts: int = Field(default=3, ge=1, le=100)
    """Planning attempts of a queued plan when its request does not say."""
    request_retention_days: int = Field(default=30, ge=0, le=36_500)
    """How long a repeated request_id is answered as it was the first time. 0: for ever."""
    sweep_seconds: Annotated[float, Fixed] = 1.0
    """How often to look for leases that ran out, proposals that expired and requests to forget."""

    max_waiting_writes: int = Field(default=1024, ge=1)
    """Writes that may wait for the next commit; more are refused with OVERLOADED."""
    max_batch: Annotated[int, Fixed] = 256
    """Writes per commit."""
    poll_seconds: Annotated[float, Fixed] = 1.0
    """How often to look for what other store processes on the same PostgreSQL database did."""
    watch_buffer_events: Annotated[int, Fixed] = 8192
    """How many of the newest events are kept in memory for all watchers together; older ones are read again."""
    watch_buffer_bytes: Annotated[int, Fixed] = 32 * 1024 * 1024
    """The same in bytes."""
    watch_max_lag_events: Annotated[int, Fixed] = 100_000
    """How far behind the log's head a watcher that has reached it may fall before its watch is ended."""
    watch_stall_seconds: Annotated[float, Fixed] = 30.0
    """How long a watcher may take no message before its watch is ended."""
