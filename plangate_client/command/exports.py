"""Files of proposals and events: CSV for spreadsheets, JSON for programs.

They hold every argument: for their owner alone, as the database is.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import stat
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeVar

from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.command.output.json_output import message_json
from plangate_core.contract.enum_names import enum_name

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from plangate.store.v1 import event_pb2, proposal_pb2

M = TypeVar("M", bound="Message")
Cell = str | int | bool

# With what spreadsheets begin a formula, also in their full-width forms, or what they skip before one.
_FORMULA = tuple("=+-@\t\r\n \u00a0\uff1d\uff0b\uff0d\uff20")


async def export_messages(
    messages: AsyncIterator[M],
    target: Path,
    *,
    name: str,
    row: Callable[[M], Mapping[str, Cell]],
    empty: M,
    force: bool,
) -> None:
    """Write them as they come: FILE.csv as CSV, by `row`, and FILE.json as one document, {name: [...]}.

    :param empty: a message without content; its row names the columns.
    :raises CommandFailed: the file is there already, cannot be written, or its name says no format.
    """
    if not is_table(target):
        raise CommandFailed(f"cannot tell the format of {target}: name it .csv or .json", ExitStatus.USAGE)
    count = 0
    with destination(target, force=force) as file:
        if target.suffix == ".csv":
            writer = csv.writer(file)
            writer.writerow(row(empty))
            async for message in messages:
                writer.writerow([safe_cell(cell) for cell in row(message).values()])
                count += 1
        else:
            file.write(f'{{"{name}": [')
            async for message in messages:
                file.write(",\n" if count else "\n")
                file.write(json.dumps(message_json(message)))
                count += 1
            file.write("\n]}\n")
    print(f"{count} {name} written to {target}")


def is_table(target: Path) -> bool:
    """Whether the name says CSV or JSON."""
    return target.suffix in (".csv", ".json")


def safe_cell(cell: Cell) -> Cell:
    """A text that spreadsheets would take for a formula, with the apostrophe that makes it a text there."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def proposal_row(proposal: proposal_pb2.Proposal) -> dict[str, Cell]:
    """What is asked about a proposal afterwards, by column."""
    return {
        "id": proposal.id,
        "plan_id": proposal.plan_id,
        "state": enum_name(proposal, "state"),
        "version": proposal.version,
        "action_name": proposal.action_name,
        "action_args": _json(proposal, "action_args"),
        "description": proposal.description,
        "labels": json.dumps(dict(sorted(proposal.labels.items())), ensure_ascii=False),
        "created_by": proposal.created_by,
        "revised_by": proposal.revised_by,
        "decision": enum_name(proposal.decision, "effect"),
        "rule": proposal.decision.rule,
        "reason": proposal.decision.reason,
        "approved_by": ", ".join(approval.reviewer for approval in proposal.approvals),
        "updated_by": proposal.updated_by,
        "result": _json(proposal, "result"),
        "failure": ": ".join(filter(None, (proposal.failure.reason, proposal.failure.message))),
        **{
            name: getattr(proposal, name).ToJsonString() if proposal.HasField(name) else ""
            for name in ("create_time", "submit_time", "review_time", "execute_time", "end_time")
        },
    }


def event_row(event: event_pb2.Event) -> dict[str, Cell]:
    """Who did what and when, by column. The event has its resource."""
    return {
        "revision": event.revision,
        "time": event.time.ToJsonString(),
        "kind": event.kind,
        "actor": event.actor,
        "authenticated": event.authenticated,
        "via": event.via,
        "entity_type": enum_name(event, "entity_type"),
        "entity_id": event.entity_id,
        "version": event.version,
        "plan_id": event.proposal.plan_id or event.plan.id,
        "action_name": event.proposal.action_name,
        "action_args": _json(event.proposal, "action_args"),
        "description": event.proposal.description or event.plan.objective,
        "result": _json(event.proposal, "result"),
        "comment": event.comment,
        "request_id": event.request_id,
        "hash": event.hash.hex(),
    }


def _json(proposal: proposal_pb2.Proposal, field: str) -> str:
    from plangate_core.contract.struct_codec import struct_to_json

    if not proposal.HasField(field):  # type: ignore[arg-type]  # one of its Structs
        return ""
    return json.dumps(struct_to_json(getattr(proposal, field)), ensure_ascii=False, sort_keys=True)


@contextlib.contextmanager
def destination(target: Path, *, force: bool) -> Iterator[TextIO]:
    """What to write to; - is standard output. A file becomes what was written when all of it was; until then an earlier
    one stays, and without `force` for good.

    :raises CommandFailed: it is there already, or cannot be written.
    """
    try:
        with _opened(target, force=force) as file:
            yield file
    except BrokenPipeError:
        raise
    except FileExistsError as error:
        problem = f"{target} is there already: name another file, or add --force"
        raise CommandFailed(problem, ExitStatus.USAGE) from error
    except OSError as error:
        raise CommandFailed(f"cannot write {target}: {error.strerror}") from error


@contextlib.contextmanager
def _opened(target: Path, *, force: bool) -> Iterator[TextIO]:
    if str(target) == "-":
        # Standard output as it is: opened anew by name, a file that is appended to would be emptied first.
        with open(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as file:
            yield file
        return
    # A link stays one: what it leads to is replaced.
    place = Path(os.path.realpath(target))
    earlier = place.stat() if place.exists() else None
    if earlier is not None and not stat.S_ISREG(earlier.st_mode):
        with open(place, "w", encoding="utf-8") as file:
            yield file
        return
    if earlier is not None and not force:
        raise FileExistsError
    unfinished = place.with_name(f".plangate-{uuid.uuid4().hex}")
    try:
        with open(unfinished, "x", encoding="utf-8", newline="", opener=_private) as file:
            if earlier is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(earlier.st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            unfinished.replace(place)
        else:
            # Fails where somebody made one meanwhile.
            os.link(unfinished, place)
    finally:
        unfinished.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
