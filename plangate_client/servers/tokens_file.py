"""Changing a tokens file: who may call, by the digests of their tokens. Running servers read it again by themselves."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from plangate_core.rpc.auth import TokensFileInvalid, read_tokens_file

ROLES = ("admin", "executor", "planner", "reviewer")
"""What the servers themselves ask for; policies may ask for others."""
_HEAD = "# Who may call. Digests only: the tokens themselves are with the people. Written by `plangate credentials`.\n"


class TokensRefused(Exception):
    """The change cannot be made; the message says why, on one line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One token. `digest` is SHA-256 (hex) of its UTF-8 bytes."""

    identity: str
    roles: tuple[str, ...]
    digest: str


def entries_of(file: Path) -> list[Entry]:
    """The tokens of a file, in its order. Raises TokensFileInvalid."""
    callers = read_tokens_file(file)
    return [Entry(caller.identity, tuple(sorted(caller.roles)), digest.hex()) for digest, caller in callers.items()]


def add_token(file: Path, identity: str, roles: Sequence[str]) -> str:
    """Make a token for an identity and enter its digest. Returns the token, which is stored nowhere.

    :raises TokensFileInvalid: the file, or the identity, cannot be used; nothing was changed.
    :raises OSError: the file cannot be written.
    """
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    _write(file, [*_raw(file), {"sha256": digest, "identity": identity, "roles": list(roles)}])
    return token


def revoke(file: Path, identity: str) -> int:
    """Strike an identity's tokens off. Returns how many there were.

    :raises TokensRefused: there are none, or no other would be left.
    :raises TokensFileInvalid: the file cannot be used.
    :raises OSError: the file cannot be written.
    """
    entries = _raw(file)
    kept = [entry for entry in entries if entry["identity"] != identity]
    if len(kept) == len(entries):
        raise TokensRefused(f"{file} has no token of {identity}")
    if not kept:
        raise TokensRefused(f"{identity} has the only token of {file}: add another one first")
    _write(file, kept)
    return len(entries) - len(kept)


def _raw(file: Path) -> list[dict[str, Any]]:
    """The entries with all that they hold. Raises TokensFileInvalid."""
    if not file.exists():
        return []
    # Refuses what a server would refuse.
    read_tokens_file(file)
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [*document["tokens"]]


def _write(file: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Replace the file when the new one is whole and a server would take it."""
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as written:
            written.write(_HEAD + yaml.safe_dump({"tokens": [*entries]}, sort_keys=False))
            written.flush()
            os.fsync(written.fileno())
        try:
            read_tokens_file(Path(unfinished))
        except TokensFileInvalid as error:
            raise TokensFileInvalid(str(error).removesuffix(f": {unfinished}")) from error
        if file.exists():
            os.chmod(unfinished, file.stat().st_mode & 0o777)
        os.replace(unfinished, file)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
