"""Changing a tokens file: who may call, by the digests of their tokens. Running servers read it again by themselves."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from plangate_core.rpc.identity.tokens_file import TokensFileInvalid, read_tokens_file

ROLES = ("admin", "executor", "planner", "reviewer")
"""What the servers themselves ask for; policies may ask for others."""
_HEAD = "# Who may call. Digests only: the tokens themselves are with the people. Written by `plangate credentials`.\n"


class TokensRefused(Exception):
    """The change cannot be made; the message says why, on one line."""


def add_token(file: Path, identity: str, roles: Sequence[str], *, expires: datetime | None = None) -> str:
    """Make a token for an identity and enter its digest. Returns the token, which is stored nowhere.

    :param expires: aware of its zone; None: never.
    :raises TokensFileInvalid: the file, or the identity, cannot be used; nothing was changed.
    :raises OSError: the file cannot be written.
    """
    token = secrets.token_urlsafe(32)
    entry: dict[str, Any] = {
        "sha256": hashlib.sha256(token.encode()).hexdigest(),
        "identity": identity,
        "roles": list(roles),
    }
    if expires is not None:
        entry["expires"] = expires.isoformat(timespec="seconds")
    document = _document(file)
    document["tokens"] = [*document.get("tokens", ()), entry]
    _write(file, document)
    return token


def revoke(file: Path, identity: str) -> int:
    """Strike an identity's tokens off. Returns how many there were.

    :raises TokensRefused: there are none, or no other would be left.
    :raises TokensFileInvalid: the file cannot be used.
    :raises OSError: the file cannot be written.
    """
    document = _document(file)
    entries = document.get("tokens", [])
    kept = [entry for entry in entries if entry["identity"] != identity]
    if len(kept) == len(entries):
        raise TokensRefused(f"{file} has no token of {identity}")
    document["tokens"] = kept
    if not any(document.values()):
        raise TokensRefused(f"{identity} has the only token of {file}: add another one first")
    _write(file, document)
    return len(entries) - len(kept)


def _document(file: Path) -> dict[str, Any]:
    """All that the file holds, certificates and issuers too. Raises TokensFileInvalid."""
    if not file.exists():
        return {}
    # Refuses what a server would refuse.
    read_tokens_file(file)
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document


def _write(file: Path, document: Mapping[str, Any]) -> None:
    """Replace the file when the new one is whole and a server would take it."""
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as written:
            written.write(_HEAD + yaml.safe_dump({**document}, sort_keys=False))
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
