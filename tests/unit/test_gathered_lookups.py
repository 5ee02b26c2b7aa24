"""Look-ups that share calls: who gets what, also when some fail or go away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest

from planner_service.gathered_lookups import GatheredLookups


class Store:
    """Keeps calls waiting until they are let through."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.deadlines: list[float] = []
        self.problem: Exception | None = None
        self.open = asyncio.Event()

    async def load(self, keys: Sequence[str], deadline: float) -> Mapping[str, str]:
        self.calls.append(list(keys))
        self.deadlines.append(deadline)
        await self.open.wait()
        if self.problem:
            raise self.problem
        return {key: key.upper() for key in keys if not key.startswith("-")}


def later(seconds: float = 30.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - there is nothing to wait for but the call itself
            await asyncio.sleep(0.001)


@pytest.mark.asyncio
async def test_what_is_asked_for_together_is_one_call_and_everybody_gets_their_own() -> None:
    store = Store()
    store.open.set()
    lookups = GatheredLookups(store.load)
    deadline = later()
    found = await asyncio.gather(*(lookups.find(key, deadline) for key in ("a", "-b", "c", "a")))
    assert found == ["A", None, "C", "A"]
    assert store.calls == [["a", "-b", "c"]]


@pytest.mark.asyncio
async def test_what_is_asked_for_during_a_call_goes_with_the_next_one() -> None:
    store = Store()
    lookups = GatheredLookups(store.load)
    first = asyncio.create_task(lookups.find("a", later()))
    await until(lambda: store.calls)
    others = [asyncio.create_task(lookups.find(key, later())) for key in ("a", "b")]
    await asyncio.sleep(0)
    store.open.set()
    assert await asyncio.gather(first, *others) == ["A", "A", "B"]
    assert store.calls == [["a"], ["a", "b"]], "a call that is under way may have missed what was committed since"


@pytest.mark.asyncio
async def test_a_call_that_hangs_holds_nobody_else_up() -> None:
    store = Store()
    lookups = GatheredLookups(store.load)
    first = asyncio.create_task(lookups.find("a", later()))
    await until(lambda: store.calls)
    second = asyncio.create_task(lookups.find("b", later()))
    await until(lambda: len(store.calls) == 2)
    assert not first.done()
    store.open.set()
    assert [await first, await second] == ["A", "B"]


@pytest.mark.asyncio
async def test_many_are_divided_into_calls_of_bounded_size() -> None:
    store = Store()
    store.open.set()
    lookups = GatheredLookups(store.load)
    keys = [f"k{number}" for number in range(100)]
    assert await asyncio.gather(*(lookups.find(key, later()) for key in keys)) == [key.upper() for key in keys]
    assert max(map(len, store.calls)) <= 32
    assert sum(map(len, store.calls)) == 100


@pytest.mark.asyncio
async def test_a_failure_reaches_all_who_shared_the_call_and_nobody_after() -> None:
    store = Store()
    store.problem = OSError("away")
    store.open.set()
    lookups = GatheredLookups(store.load)
    results = await asyncio.gather(*(lookups.find(key, later()) for key in "ab"), return_exceptions=True)
    assert [str(result) for result in results] == ["away", "away"]
    store.problem = None
    assert await lookups.find("a", later()) == "A"


@pytest.mark.asyncio
async def test_one_that_goes_away_or_runs_out_of_time_takes_nothing_with_it() -> None:
    store = Store()
    lookups = GatheredLookups(store.load)
    patient, leaving = (asyncio.create_task(lookups.find("a", later())) for _ in range(2))
    hasty = asyncio.create_task(lookups.find("a", later(0.01)))
    await until(lambda: store.calls)
    leaving.cancel()
    with pytest.raises(TimeoutError):
        await hasty
    assert store.deadlines[0] > later(20), "the most patient one's"
    store.open.set()
    assert await patient == "A"
    assert leaving.cancelled()
