"""Signed statements of what the log was, for auditors to keep outside.

The signature is Ed25519 (RFC 8032) over: "plangate.checkpoint.v1\\n", the revision (8 bytes, unsigned, big-endian), the
event's hash (32 bytes), the time in microseconds since 1970 (8 bytes, signed, big-endian), the key id (16 ASCII
characters).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from store_service.domain.errors import StartRefused
from store_service.domain.events import LogHead
from store_service.domain.instant import Instant

LAYOUT_TAG = b"plangate.checkpoint.v1\n"
_LAYOUT = struct.Struct(">Q32sq16s")


@dataclass(frozen=True)
class Checkpoint:
    """A head of the log, and who says so."""

    head: LogHead
    time: Instant
    key_id: str
    signature: bytes
    public_key: bytes


class CheckpointKey:
    """The key that checkpoints are signed with."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = hashlib.sha256(self.public_key).hexdigest()[:16]

    @classmethod
    def read(cls, path: Path) -> CheckpointKey:
        """Read an unencrypted PKCS #8 PEM file (openssl genpkey -algorithm ed25519). Raises StartRefused."""
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as problem:
            raise StartRefused(f"the checkpoint key cannot be read: {problem.strerror}: {path}") from problem
        except (ValueError, TypeError, UnsupportedAlgorithm) as problem:
            raise StartRefused(f"the checkpoint key is not an unencrypted PEM private key: {path}") from problem
        if not isinstance(key, Ed25519PrivateKey):
            raise StartRefused(f"the checkpoint key is not an Ed25519 key: {path}")
        return cls(key)

    def sign(self, head: LogHead, time: Instant) -> Checkpoint:
        """State that the log's head was this at that time."""
        signature = self._key.sign(signed_bytes(head, time, self.key_id))
        return Checkpoint(head, time, self.key_id, signature, self.public_key)


def signed_bytes(head: LogHead, time: Instant, key_id: str) -> bytes:
    """What a checkpoint's signature is over."""
    return LAYOUT_TAG + _LAYOUT.pack(head.revision, head.hash, time, key_id.encode("ascii"))
