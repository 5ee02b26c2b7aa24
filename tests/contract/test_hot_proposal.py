"""Many who change one proposal: losers are told in turn, a lone one at once, nobody for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from plangate.store.v1.proposal_pb2 import Proposal

from store_service.commands import UpdateProposal
from store_service.domain.errors import VersionConflict
from store_service.domain.proposal import ProposalDraft
from store_service.engine.turns import TurnOptions
from store_service.engine.writer import WriterOptions
from tests.support.polling import until
from tests.support.proposals import ALICE
from tests.support.serverless_store import Store, opened, outcomes

# Longer than any pause of a busy machine: who is answered before was not answered by the passing of time.
SLOW = WriterOptions(turns=TurnOptions(turn_seconds=30, run_seconds=30, return_seconds=30, max_seconds=60))


def change(proposal: Proposal, version: int = 0, text: str = "changed") -> UpdateProposal:
    draft = ProposalDraft(action_name="act", description=text)
    fields = frozenset({"description"})
    return UpdateProposal(
        actor=ALICE,
        proposal_id=proposal.id,
        expected_version=version or proposal.version,
        draft=draft,
        fields=fields,
    )


async def race(store: Store, proposal: Proposal, count: int) -> list[asyncio.Task[object]]:
    """`count` changes of one version at once, in order; returns when the first two are answered."""
    calls = [asyncio.ensure_future(_outcome(store.writer.execute(change(proposal)))) for _ in range(count)]
    await asyncio.wait_for(asyncio.gather(*calls[:2]), 10)
    return calls


async def _outcome(call: Awaitable[object]) -> object:
    try:
        return await call
    except Exception as error:
        return error


@pytest.mark.asyncio
async def test_losers_are_told_in_turn_with_the_version_of_that_moment(database_url: str) -> None:
    async with opened(database_url, options=SLOW) as store:
        proposal = await store.created()
        calls = await race(store, proposal, 5)
        assert isinstance(calls[1].result(), VersionConflict)
        assert not any(call.done() for call in calls[2:])
        for position in (2, 3, 4):
            # Each change lets the one go that waits longest.
            await store.writer.execute(change(proposal, position))
            await until(calls[position].done)
            told = calls[position].result()
            assert isinstance(told, VersionConflict)
            assert (told.expected_version, told.current_version) == (1, position + 1)
            assert [call.done() for call in calls[position + 1 :]] == [False] * (4 - position)


async def returning(store: Store, proposal: Proposal) -> list[asyncio.Task[object]]:
    """A race in which one lost who knew the newest version: two calls that wait, and version 3."""
    calls = await race(store, proposal, 4)
    await store.writer.execute(change(proposal, 2))
    await until(calls[2].done)
    late = asyncio.ensure_future(_outcome(store.writer.execute(change(proposal, 2))))
    # What comes after it in the queue is answered after it was looked at.
    await store.created()
    return [calls[3], late]


@pytest.mark.asyncio
async def test_who_comes_back_at_once_may_go_on_for_a_turn(sqlite_url: str) -> None:
    async with opened(sqlite_url, options=SLOW) as store:
        proposal = await store.created()
        calls = await returning(store, proposal)
        for version in range(3, 13):
            await store.writer.execute(change(proposal, version))
        await asyncio.sleep(0)
        assert not any(call.done() for call in calls)


@pytest.mark.asyncio
async def test_the_turn_of_those_who_come_back_ends(sqlite_url: str) -> None:
    options = WriterOptions(turns=TurnOptions(run_seconds=0.05, turn_seconds=30, return_seconds=30, max_seconds=60))
    async with opened(sqlite_url, options=options) as store:
        proposal = await store.created()
        calls = await returning(store, proposal)
        version = 3
        while not all(call.done() for call in calls):
            await store.writer.execute(change(proposal, version))
            version += 1
            assert version < 10_000


@pytest.mark.asyncio
async def test_who_stays_away_lets_the_next_one_go(sqlite_url: str) -> None:
    options = WriterOptions(turns=TurnOptions(turn_seconds=30, run_seconds=30, return_seconds=0.01, max_seconds=60))
    async with opened(sqlite_url, options=options) as store:
        proposal = await store.created()
        waiting, late = await returning(store, proposal)
        await store.writer.execute(change(proposal, 3))
        assert isinstance(await asyncio.wait_for(waiting, 10), VersionConflict)
        # They stayed away: from now on each change lets the next one go again.
        await store.writer.execute(change(proposal, 4))
        assert isinstance(await asyncio.wait_for(late, 10), VersionConflict)


@pytest.mark.asyncio
async def test_a_lone_conflict_is_told_at_once(database_url: str) -> None:
    async with opened(database_url, options=SLOW) as store:
        for _ in range(3):
            proposal = await store.created()
            await store.writer.execute(change(proposal))
            with pytest.raises(VersionConflict):
                await asyncio.wait_for(store.writer.execute(change(proposal)), 10)


@pytest.mark.asyncio
async def test_other_proposals_are_not_waited_for(database_url: str) -> None:
    async with opened(database_url, options=SLOW) as store:
        proposals = [await store.created() for _ in range(4)]
        for proposal in proposals:
            await store.writer.execute(change(proposal))
        stale = asyncio.gather(*(_outcome(store.writer.execute(change(proposal))) for proposal in proposals))
        assert all(isinstance(told, VersionConflict) for told in await asyncio.wait_for(stale, 10))


@pytest.mark.asyncio
async def test_a_turn_that_nobody_takes_passes_on(sqlite_url: str) -> None:
    options = WriterOptions(turns=TurnOptions(turn_seconds=0.01, max_seconds=60))
    async with opened(sqlite_url, options=options) as store:
        calls = await race(store, await store.created(), 5)
        told = await asyncio.wait_for(asyncio.gather(*calls[2:]), 10)
        assert [type(each) for each in told] == [VersionConflict] * 3


@pytest.mark.asyncio
async def test_nobody_waits_longer_than_the_bound(sqlite_url: str) -> None:
    options = WriterOptions(turns=TurnOptions(turn_seconds=1, max_seconds=0.05))
    async with opened(sqlite_url, options=options) as store:
        calls = await race(store, await store.created(), 30)
        # One after the other it would be 28 turns of a second.
        await asyncio.wait_for(asyncio.gather(*calls), 10)


@pytest.mark.asyncio
async def test_who_has_little_time_and_who_would_be_too_many_are_told_at_once(sqlite_url: str) -> None:
    turns = TurnOptions(turn_seconds=30, max_seconds=60, max_held=1)
    async with opened(sqlite_url, options=WriterOptions(turns=turns)) as store:
        proposal = await store.created()
        calls = await race(store, proposal, 5)
        await asyncio.wait_for(asyncio.gather(*calls[3:]), 10)
        assert not calls[2].done()
        deadline = asyncio.get_running_loop().time() + 20
        with pytest.raises(VersionConflict):
            await asyncio.wait_for(store.writer.execute(change(proposal), deadline=deadline), 10)


@pytest.mark.asyncio
async def test_a_call_that_was_cancelled_takes_nobodys_turn(sqlite_url: str) -> None:
    async with opened(sqlite_url, options=SLOW) as store:
        proposal = await store.created()
        calls = await race(store, proposal, 4)
        calls[2].cancel()
        await asyncio.wait([calls[2]])
        await store.writer.execute(change(proposal, 2))
        assert isinstance(await asyncio.wait_for(calls[3], 10), VersionConflict)


@pytest.mark.asyncio
async def test_a_draining_store_lets_nobody_wait(sqlite_url: str) -> None:
    async with opened(sqlite_url, options=SLOW) as store:
        proposal = await store.created()
        calls = await race(store, proposal, 4)
        store.writer.end_waits()
        await asyncio.wait_for(asyncio.gather(*calls), 10)
        results = await asyncio.wait_for(outcomes(*(store.writer.execute(change(proposal)) for _ in range(3))), 10)
        assert [type(result) for result in results] == [VersionConflict] * 3


@pytest.mark.asyncio
async def test_everybody_gets_their_turn(database_url: str) -> None:
    # Long enough for a pause of a busy machine, which would be the end of several turns at once.
    options = WriterOptions(turns=TurnOptions(turn_seconds=0.1, max_seconds=60))
    async with opened(database_url, options=options) as store:
        proposal = await store.created()
        wins = dict.fromkeys(range(8), 0)
        calls = 0

        async def contend(who: int) -> None:
            nonlocal calls
            version = 1
            while min(wins.values()) < 3:
                calls += 1
                try:
                    await store.writer.execute(change(proposal, version, f"by {who}"))
                except VersionConflict as conflict:
                    version = conflict.current_version
                else:
                    version += 1
                    wins[who] += 1

        await asyncio.wait_for(asyncio.gather(*(contend(who) for who in wins)), 60)
        # GovernedJobObserver all at once, each change would cost eight.
        assert calls < 3 * sum(wins.values())
