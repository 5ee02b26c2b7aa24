"""A run of a planner with everything in it that a recording can hold, and the one that is committed.

`PYTHONPATH=.:protos python -m tests.support.recorded_run` records the committed one anew.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from plangate_client.errors import PlangateError
from tests.support.model_server import fails, refuses, says
from tests.support.planner_house import PlannerHouse, asking, draft, open_house, struct

COMMITTED = Path(__file__).parents[1] / "data" / "replay"
LOOK = ("read_status", {"service": "web"})
REFUND = ("refund_order", {"order": "A-1", "amount": 50})


async def record_a_run(house: PlannerHouse) -> None:
    """What can happen: healed, refused, streamed, failed, decided by who asks."""
    alice, bob = house.planner("alice"), house.planner("bob")
    house.model.script(
        says(draft(LOOK, ("restart_service", {"service": "NOT OK"}))),
        says(draft(LOOK, ("restart_service", {"service": "web"}))),
        fails(503),
        says(draft(REFUND)),
        says(draft(("no_matching_action", {"reason": "nothing here books flights"}))),
        refuses(),
    )
    await alice.create_plan(
        asking("Look at web, then restart it.", labels={"team": "ops"}, context=struct(region="eu"))
    )
    await bob.create_plan(asking("Pay back 50 for order A-1."))
    async for _ in alice.stream_plan(asking("Book a flight to Rome.")):
        pass
    with pytest.raises(PlangateError):
        await alice.create_plan(asking("Look the other way."))
    house.model.default = says(draft(("drop_database", {"name": "orders"})))
    async for _ in bob.stream_plan(asking("Drop the database orders.")):
        pass


async def _record_anew(directory: Path) -> None:
    recording = COMMITTED / "recording.jsonl"
    recording.unlink(missing_ok=True)
    async with open_house(directory, model_record_file=recording) as house:
        await record_a_run(house)
    for name in ("catalogue.yaml", "policy.yaml"):
        (COMMITTED / name).write_text((directory / name).read_text())
    recording.chmod(0o644)


if __name__ == "__main__":
    COMMITTED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(_record_anew(Path(temporary)))
