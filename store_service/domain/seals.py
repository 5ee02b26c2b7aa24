"""Seals: what shows that the entries of the log were written by a store that has the key.

The key is not in the database. A seal is HMAC-SHA256 over a tag, the revision (8 bytes, big-endian) and the hash of an
entry. That hash covers the entry and all before it, so the seal of the last entry authenticates the whole log.
"""

import hashlib
import hmac

from store_service.domain.events import Event, LogHead

LAYOUT_TAG = b"plangate.seal.v1\n"
MIN_KEY_BYTES = 32


class LogKey:
    """The key that a log is sealed with."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.key_id = hashlib.sha256(LAYOUT_TAG + secret).hexdigest()[:16]

    def seal(self, revision: int, digest: bytes) -> bytes:
        """The seal of the entry with this revision and hash."""
        return hmac.digest(self._secret, LAYOUT_TAG + revision.to_bytes(8, "big") + digest, "sha256")

    def has_sealed(self, entry: Event | LogHead) -> bool:
        """Whether the seal of an entry, or of the log's head, is of this key."""
        return entry.seal is not None and hmac.compare_digest(entry.seal, self.seal(entry.revision, entry.hash))


def head_fault(key: LogKey | None, head: LogHead) -> str:
    """What is wrong with the seal of the log's head; empty when it is right. An empty log needs none."""
    if key is None:
        return "" if head.seal is None else "the log is sealed, and its key is not here"
    if head.seal is None:
        return "the log has no seal, though there is a key for it" if head.revision else ""
    if key.has_sealed(head):
        return ""
    return "the seal of the log is not of this key: entries were written without the store, or the key is another one"
