"""The log's rules for the store's writer, which knows no messages."""

from __future__ import annotations

from collections.abc import Sequence

from store_service.domain.events import Event, event_hash
from store_service.domain.seals import LogKey
from store_service.domain.snapshot import LogRules
from store_service.event_log.verification import Replay
from store_service.messages.encoding import is_snapshot_of, snapshot_to_bytes
from store_service.messages.log_entries import entry_of


def log_rules(planner_identity: str = "planner", log_key: LogKey | None = None) -> LogRules:
    """planner_identity: whose word is policy's where an entry does not say who decided.
    log_key: must have sealed every entry.
    """

    def entry_fault(event: Event) -> str:
        if event_hash(event) != event.hash:
            return "an entry was changed"
        if log_key is not None and not log_key.has_sealed(event):
            return "an entry was written without the store"
        return ""

    def history_fault(events: Sequence[Event]) -> str:
        if not events:
            return "the log does not know it"
        for event in events:
            if changed := entry_fault(event):
                return changed
        fault = Replay(entry_of, planner_identity, from_the_beginning=True).first_fault(events)
        return fault[1] if fault else ""

    return LogRules(snapshot_to_bytes, is_snapshot_of, history_fault, entry_fault)
