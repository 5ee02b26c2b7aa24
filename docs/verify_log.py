#!/usr/bin/env python3
"""Verify an exported Plangate log with nothing but Python's standard library.

    python -m store_service export > log.jsonl
    python verify_log.py log.jsonl
    python verify_log.py log.jsonl checkpoint.json    # what grpcurl printed for EventService/GetCheckpoint

Each line must follow from the one before it, and have the hash of its own content; docs/event-log.md gives the layout.
With a checkpoint that you kept elsewhere, the log must also still contain what it contained then. (The checkpoint's
signature is Ed25519, which the standard library cannot check; docs/event-log.md shows the one line that does.)

Prints one line. Exit status: 0 sound, 1 not sound, 2 not readable.
"""

import base64
import hashlib
import json
import struct
import sys


def event_hash(event: dict) -> bytes:
    """SHA-256 over a tag, the numbers at fixed width (big-endian), and each text and the snapshot after its length."""
    hashed = b"plangate.event.v1\n" + struct.pack(
        ">32sQBQqB",
        bytes.fromhex(event["prev_hash"]),
        event["revision"],
        event["entity_type"],
        event["version"],
        event["time"],
        event["authenticated"],
    )
    texts = [event[name].encode() for name in ("entity_id", "kind", "actor", "via", "request_id", "comment")]
    for part in [*texts, base64.b64decode(event["snapshot"], validate=True)]:
        hashed += struct.pack(">I", len(part)) + part
    return hashlib.sha256(hashed).digest()


def verify(lines, checkpoint: dict | None = None) -> tuple[bool, str]:
    """Whether the log is sound, and one sentence about it."""
    revision, previous, kept_revision, kept_hash = 0, bytes(32), 0, bytes(32)
    if checkpoint is not None:
        # JSON leaves out what is 0: the revision, when nothing had been written yet.
        kept_revision, kept_hash = int(checkpoint.get("revision", 0)), base64.b64decode(checkpoint["hash"])
    if kept_revision == 0 and kept_hash != previous:
        return False, "the checkpoint is of no revision"
    for line in lines:
        event = json.loads(line)
        revision += 1
        if event["revision"] != revision:
            return False, f"revision {revision} is missing"
        if bytes.fromhex(event["prev_hash"]) != previous:
            return False, f"revision {revision} does not follow from the one before it"
        previous = event_hash(event)
        if bytes.fromhex(event["hash"]) != previous:
            return False, f"revision {revision} was changed"
        if revision == kept_revision and previous != kept_hash:
            return False, f"revision {revision} is not what the checkpoint says it was"
    if revision < kept_revision:
        return False, f"the log ends at revision {revision}, before the checkpoint's {kept_revision}"
    return True, f"sound: {revision} events, head hash {previous.hex()}"


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2):
        print("usage: verify_log.py LOG.jsonl [CHECKPOINT.json]", file=sys.stderr)
        return 2
    try:
        checkpoint = None
        if len(arguments) == 2:
            with open(arguments[1], encoding="utf-8") as file:
                checkpoint = json.load(file)
        with open(arguments[0], encoding="utf-8") as log:
            sound, sentence = verify(log, checkpoint)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as problem:
        print(f"not readable as a log: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 2
    print(sentence)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
