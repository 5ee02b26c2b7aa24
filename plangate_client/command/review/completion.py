"""What the shell completes besides commands and options: ids and states, as the store has them now."""

from __future__ import annotations

import asyncio

from plangate_client.command.output.text import short_id
from plangate_core.contract.enum_names import enum_name
from plangate_core.text.printable import visible

_NEWEST = 50
_TIMEOUT_SECONDS = 1.0


def complete_id(incomplete: str) -> list[tuple[str, str]]:
    """Ends of the ids of the newest proposals, with what they are. Empty where the store cannot be reached."""
    try:
        return [(end, what) for end, what in asyncio.run(_newest()) if end.startswith(incomplete.lower())]
    except Exception:
        # A completion that fails must not write into the command line that is being typed.
        return []


def complete_state(incomplete: str) -> list[str]:
    """Names of states."""
    from plangate.store.v1 import proposal_pb2

    names = (name.removeprefix("PROPOSAL_STATE_") for name in proposal_pb2.ProposalState.keys())  # noqa: SIM118
    return [name for name in names if name != "UNSPECIFIED" and name.startswith(incomplete.upper())]


async def _newest() -> list[tuple[str, str]]:
    from plangate_client.command.session import Session
    from plangate_client.settings import ClientSettings

    # The options of the line that is being typed are not known here: the environment says where the store is.
    async with Session(ClientSettings()).store() as store:
        page = await store.proposals.list_page(page_size=_NEWEST, timeout_seconds=_TIMEOUT_SECONDS)
    return [
        (short_id(proposal.id), f"{visible(proposal.action_name)} {enum_name(proposal, 'state')}")
        for proposal in page.proposals
    ]
