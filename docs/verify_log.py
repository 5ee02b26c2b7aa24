#!/usr/bin/env python3
"""Verify an exported Plangate log with nothing but Python's standard library.

    python -m store_service export > log.jsonl
    python verify_log.py log.jsonl
    python verify_log.py log.jsonl checkpoint.json    # what grpcurl printed for EventService/GetCheckpoint
    python verify_log.py --key plangate-log.key log.jsonl

Each line must follow from the one before it, and have the hash of its own content (docs/reference/event-log.md).
Each must also be one that the rules allow after what the log says of the same proposal before: its state, its writers,
the approvals it asked for and those it was given. (Only the store's check compares args_digest with the arguments.)
With a checkpoint that you kept elsewhere, the log must also still contain what it contained then. (The checkpoint's
signature is Ed25519, which the standard library cannot check; event-log.md shows the one line that does.)
With the key that the log is sealed with, every line must have its seal.

Prints one line. Exit status: 0 sound, 1 not sound, 2 not readable.
"""

import base64
import hashlib
import hmac
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


STATES = [
    "?",
    "DRAFT",
    "PENDING",
    "APPROVED",
    "EXECUTING",
    "EXECUTED",
    "FAILED",
    "REJECTED",
    "CANCELLED",
    "EXPIRED",
    "UNRESOLVED",
]
PROPOSAL, ALLOW = 2, 1
# Kind of entry: from which state it leads to which. The first entry of a proposal comes from "new".
STEPS = {
    "created": "new>DRAFT new>PENDING",
    "approved_by_policy": "new>APPROVED",
    "updated": "DRAFT>DRAFT PENDING>PENDING",
    "submitted": "DRAFT>PENDING",
    "approval_given": "PENDING>PENDING",
    "approval_withdrawn": "PENDING>PENDING",
    "approved": "PENDING>APPROVED",
    "break_glass_requested": "PENDING>PENDING",
    "approved_by_break_glass": "PENDING>APPROVED",
    "notice_added": "DRAFT>DRAFT PENDING>PENDING APPROVED>APPROVED",
    "returned_to_review": "APPROVED>PENDING",
    "fact_recorded": "DRAFT>DRAFT PENDING>PENDING",
    "reconsidered": "DRAFT>DRAFT PENDING>PENDING APPROVED>APPROVED",
    "rejected": "PENDING>REJECTED",
    "cancel_requested": "EXECUTING>EXECUTING UNRESOLVED>UNRESOLVED",
    "cancelled": "new>CANCELLED DRAFT>CANCELLED PENDING>CANCELLED APPROVED>CANCELLED EXECUTING>CANCELLED "
    "UNRESOLVED>CANCELLED",
    "claimed": "APPROVED>EXECUTING",
    "lease_renewed": "EXECUTING>EXECUTING",
    "executed": "EXECUTING>EXECUTED UNRESOLVED>EXECUTED",
    "retried": "EXECUTING>APPROVED UNRESOLVED>APPROVED",
    "returned": "EXECUTING>APPROVED UNRESOLVED>APPROVED",
    "failed": "EXECUTING>FAILED UNRESOLVED>FAILED",
    "unresolved": "EXECUTING>UNRESOLVED",
    "resolved": "UNRESOLVED>EXECUTED UNRESOLVED>APPROVED UNRESOLVED>FAILED UNRESOLVED>CANCELLED",
    "expired": "DRAFT>EXPIRED PENDING>EXPIRED APPROVED>EXPIRED",
    "deleted": "DRAFT>DRAFT EXECUTED>EXECUTED FAILED>FAILED REJECTED>REJECTED CANCELLED>CANCELLED EXPIRED>EXPIRED",
    "purged": "DRAFT>DRAFT EXECUTED>EXECUTED FAILED>FAILED REJECTED>REJECTED CANCELLED>CANCELLED EXPIRED>EXPIRED",
}
# These may ask for more approvals than before.
MAY_ASK_MORE = ("returned_to_review", "reconsidered")
ADDS_APPROVAL = ("approval_given", "approved", "break_glass_requested", "approved_by_break_glass")
ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "|": "l", "!": "l", "m": "rn", "w": "vv", "5": "s", "$": "s"})


def fields(encoded: bytes) -> dict[int, list]:
    """A protobuf message's fields by number: whole numbers, and bytes."""
    found, position = {}, 0

    def varint() -> int:
        nonlocal position
        number = shift = 0
        while True:
            byte = encoded[position]
            position += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while position < len(encoded):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            size = varint() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
            value, position = encoded[position : position + size], position + size
        found.setdefault(key >> 3, []).append(value)
    return found


def person(identity: bytes) -> str:
    """The same for identities that look alike."""
    folded = identity.decode().casefold()
    return folded.translate(ALIKE).translate(str.maketrans("", "", " ._-+'`\"")) or folded


def facts(snapshot: bytes) -> dict:
    """What the rules look at. Field numbers are those of protos/plangate/store/v1/proposal.proto."""
    of = fields(snapshot)
    decision = fields(of[32][0]) if 32 in of else {}
    needed = [fields(each) for each in decision.get(7, [])]
    roles = {each.get(1, [b""])[0]: each.get(2, [0])[0] for each in needed}
    approvals = [fields(each) for each in of.get(15, [])]
    return {
        "version": of.get(11, [0])[0],
        "state": STATES[of.get(10, [0])[0]],
        "says": (of.get(4), of.get(12)),
        "asks": (of.get(13), of.get(14), of.get(32)),
        "args_digest": of.get(12),
        "effect": decision.get(1, [0])[0],
        "required": of.get(13, [0])[0],
        "roles": roles or {of.get(14, [b""])[0]: of.get(13, [0])[0]},
        "facts": of.get(48, []),
        "facts_missing": any(7 not in fields(each) for each in of.get(48, [])),
        "writers": {person(each) for number in (22, 35, 37) for each in of.get(number, [])},
        "approvals": [(each[1][0], each.get(2), each.get(3), each.get(6, []), 7 in each) for each in approvals],
    }


def lacks(now: dict) -> bool:
    """Whether approvals that it asks for are missing. Each person counts once, for one role."""
    people = {person(who): roles for who, _, _, roles, broke in now["approvals"] if not broke}
    seats = [role for role, count in now["roles"].items() for _ in range(count)]
    taken: dict[int, str] = {}

    def seated(who: str, tried: set) -> bool:
        for seat, role in enumerate(seats):
            fits = not role or role in people[who] or (len(now["roles"]) == 1 and not people[who])
            if fits and seat not in tried:
                tried.add(seat)
                if seat not in taken or seated(taken[seat], tried):
                    taken[seat] = who
                    return True
        return False

    for who in people:
        seated(who, set())
    return len(taken) < len(seats)


def step_fault(before: dict | None, now: dict, event: dict) -> str:
    """Why no rule allows this entry after the one before of the same proposal; empty when one does."""
    kind, was = event["kind"].removeprefix("proposal."), before["state"] if before else "new"
    if f"{was}>{now['state']}" not in STEPS.get(kind, "").split() or now["version"] != event["version"]:
        return f"{kind} does not lead from {was} to {now['state']}"
    given, had = now["approvals"], before["approvals"] if before else []
    if before and kind != "updated":
        if (now["says"], now["writers"]) != (before["says"], before["writers"]):
            return f"{kind} does not change what it says"
        if now["facts"] != before["facts"] and kind != "fact_recorded":
            return f"{kind} does not change what reviewers are shown"
        if now["asks"] != before["asks"] and kind not in MAY_ASK_MORE:
            return f"{kind} does not change what its review asks for"
        if any(now["roles"].get(role, 0) < count for role, count in before["roles"].items() if role):
            return "its review asks for fewer of a role than before"
        if sum(now["roles"].values()) < sum(before["roles"].values()):
            return "its review asks for fewer approvals than before"
    if kind in ADDS_APPROVAL:
        if len(given) != len(had) + 1 or given[:-1] != had:
            return "it adds other than one approval"
        who, version, digest, _, broke = given[-1]
        if who.decode() != event["actor"] or event["via"] or broke != ("break_glass" in kind):
            return "the approval is not the actor's own"
        if version != [before["version"]] or digest != before["args_digest"]:
            return "the approval is for another version"
        if before["facts_missing"] and not broke:
            return "the approval came before what reviewers are shown"
        if person(who) in before["writers"] | {person(each[0]) for each in had}:
            return "the approval is by a writer, or a second one"
    elif kind == "approval_withdrawn":
        if given != [each for each in had if each[0].decode() != event["actor"]] or given == had:
            return "it takes back other than the actor's approval"
    elif given != ([] if kind in ("updated", "returned_to_review") else had):
        return f"{kind} does not change approvals"
    if now["state"] not in ("APPROVED", "EXECUTING", "EXECUTED", "UNRESOLVED"):
        return ""
    if len({person(each[0]) for each in given if each[4]}) >= 2 or (now["effect"] == ALLOW and not now["required"]):
        return ""
    return "approvals that it asks for are missing" if not any(now["roles"].values()) or lacks(now) else ""


def seal(key: bytes, revision: int, digest: bytes) -> bytes:
    """HMAC-SHA256 over a tag, the revision and the hash."""
    return hmac.digest(key, b"plangate.seal.v1\n" + revision.to_bytes(8, "big") + digest, "sha256")


def verify(lines, checkpoint: dict | None = None, key: bytes | None = None) -> tuple[bool, str]:
    """Whether the log is sound, and one sentence about it."""
    last: dict[str, dict] = {}
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
        if key is not None and bytes.fromhex(event.get("seal", "")) != seal(key, revision, previous):
            return False, f"revision {revision} has no seal of this key: it was written without the store"
        if event["entity_type"] == PROPOSAL:
            now = facts(base64.b64decode(event["snapshot"], validate=True))
            fault = step_fault(last.get(event["entity_id"]), now, event)
            if fault:
                return False, f"revision {revision} is not allowed: {fault}"
            last[event["entity_id"]] = now
        if revision == kept_revision and previous != kept_hash:
            return False, f"revision {revision} is not what the checkpoint says it was"
    if revision < kept_revision:
        return False, f"the log ends at revision {revision}, before the checkpoint's {kept_revision}"
    return True, f"sound: {revision} events, head hash {previous.hex()}"


def main(arguments: list[str]) -> int:
    key_file = arguments[1] if arguments[:1] == ["--key"] and len(arguments) > 1 else ""
    arguments = arguments[2:] if key_file else arguments
    if len(arguments) not in (1, 2):
        print("usage: verify_log.py [--key KEY] LOG.jsonl [CHECKPOINT.json]", file=sys.stderr)
        return 2
    try:
        checkpoint = key = None
        if key_file:
            with open(key_file, encoding="ascii") as file:
                key = bytes.fromhex(file.read())
        if len(arguments) == 2:
            with open(arguments[1], encoding="utf-8") as file:
                checkpoint = json.load(file)
        with open(arguments[0], encoding="utf-8") as log:
            sound, sentence = verify(log, checkpoint, key)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error) as problem:
        print(f"not readable as a log: {type(problem).__name__}: {problem}", file=sys.stderr)
        return 2
    print(sentence)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
