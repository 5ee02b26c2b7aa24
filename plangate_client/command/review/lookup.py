"""From what a person typed to the one thing they mean."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.client import StoreClient
from plangate_client.command.exit_status import CommandFailed, ExitStatus
from plangate_client.errors import NotFound

# An end of an id is looked for among so many of the newest; a beginning is looked up by the store.
_NEWEST = 1000

T = TypeVar("T")


async def find_proposal(store: StoreClient, text: str) -> proposal_pb2.Proposal:
    """The proposal with this id, or with the only id that begins or ends so. Raises CommandFailed."""
    found = await _proposals(store, text)
    return _only(found, [proposal.id for proposal in found], text, "proposal")


async def find_proposal_or_plan(store: StoreClient, text: str) -> proposal_pb2.Proposal | plan_pb2.Plan:
    """As find_proposal, among plans too. Raises CommandFailed."""
    found: list[proposal_pb2.Proposal | plan_pb2.Plan] = [
        *await _proposals(store, text),
        *await _plans(store, text),
    ]
    return _only(found, [thing.id for thing in found], text, "proposal or plan")


async def _proposals(store: StoreClient, text: str) -> list[proposal_pb2.Proposal]:
    if (whole := _whole_id(text)) is not None:
        try:
            return [await store.proposals.get(whole)]
        except NotFound:
            return []
    page = await store.proposals.list_page(filter=_beginning(text), page_size=10)
    if page.proposals:
        return [*page.proposals]
    newest = _newest(store.proposals.list_all(page_size=_NEWEST))
    return [proposal async for proposal in newest if proposal.id.endswith(text.lower())]


async def _plans(store: StoreClient, text: str) -> list[plan_pb2.Plan]:
    if (whole := _whole_id(text)) is not None:
        try:
            return [await store.plans.get(whole)]
        except NotFound:
            return []
    page = await store.plans.list_page(filter=_beginning(text), page_size=10)
    if page.plans:
        return [*page.plans]
    newest = _newest(store.plans.list_all(page_size=_NEWEST))
    return [plan async for plan in newest if plan.id.endswith(text.lower())]


async def _newest(listed: AsyncIterator[T]) -> AsyncIterator[T]:
    """The first so many. Pages end where they are large: it may take several."""
    count = 0
    async for thing in listed:
        yield thing
        count += 1
        if count == _NEWEST:
            return


def _only(found: Sequence[T], identifiers: Sequence[str], text: str, kind: str) -> T:
    if not found:
        raise CommandFailed(f"there is no {kind} {text}", ExitStatus.NOT_FOUND)
    if len(found) > 1:
        some = ", ".join(identifiers[:3])
        raise CommandFailed(f"{text} is not unique: {some}{', ...' if len(found) > 3 else ''}", ExitStatus.USAGE)
    return found[0]


def _whole_id(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _beginning(text: str) -> str:
    """A filter for the ids that begin so: all UUIDs between the smallest and the largest."""
    digits = text.lower().replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{4,31}", digits):
        raise CommandFailed(f"{text!r} is no id, nor at least 4 of an id's hexadecimal digits", ExitStatus.USAGE)
    smallest, largest = (str(uuid.UUID(digits.ljust(32, filler))) for filler in "0f")
    return f'id >= "{smallest}" AND id <= "{largest}"'
