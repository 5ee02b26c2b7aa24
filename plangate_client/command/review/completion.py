"""What the shell completes besides commands and options: ids and states, as the store has them now."""

from __future__ import annotations

import asyncio

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
    from plangate_client.client import StoreClient
    from plangate_client.command.output.tables import proposal_state
    from plangate_client.command.output.text import short_id
    from plangate_client.settings import ClientSettings
    from plangate_core.rpc.channel import open_channel
    from plangate_core.text.printable import visible

    # The options of the line that is being typed are not known here: the environment says where the store is.
    settings = ClientSettings()
    channel = open_channel(settings.store_target, settings, actor=settings.identity, roles=settings.role_names)

    async with StoreClient(channel) as store:
        page = await store.proposals.list_page(page_size=_NEWEST, timeout_seconds=_TIMEOUT_SECONDS)
        return [
            (short_id(proposal.id), f"{visible(proposal.action_name)} {proposal_state(proposal)}")
            for proposal in page.proposals
        ]
