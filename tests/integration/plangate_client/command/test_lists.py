"""`plangate inbox`, `plans`, `proposals`, `show`, `whoami`, `submit` and `simulate`, against both servers."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.pair import Pair, running_pair
from tests.support.terminal import everything_shown

CATALOGUE = """
version: 1
actions:
  - name: make
    description: Make a file.
    policy: require_approval
    parameters:
      properties: {name: {type: string}, mode: {type: string, default: plain}}
      required: [name]
    command: {argv: ["{python}", -c, "pass", "{args.name}"]}
  - name: look
    description: Look at a file for as long as it takes to know what is in it and who put it there.
    policy: allow
    parameters: {properties: {name: {type: string}}, required: [name]}
    command: {argv: ["{python}", -c, "pass", "{args.name}"]}
"""
STRICTER = """
version: 1
rules:
  - {name: nobody-makes, match: {action: make}, effect: deny, reason: not today}
  - {name: look, match: {action: look}, effect: allow, reason: harmless}
"""


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path, CATALOGUE) as pair:
        yield pair


@pytest.mark.asyncio
async def test_the_inbox_holds_what_this_person_can_decide(pair: Pair) -> None:
    own, other = await pair.submit(("make", {"name": "first"}), ("make", {"name": "second"}))
    empty = await pair.command("inbox")
    assert empty.stdout == "nothing waits for alice\n"
    listed = await pair.command("inbox", actor="bob")
    assert own.id[-8:] in listed.stdout
    assert other.id[-8:] in listed.stdout
    await pair.command("approve", own.id, "--yes", actor="bob")
    left = await pair.command("inbox", "--json", actor="bob")
    assert [proposal["id"] for proposal in json.loads(left.stdout)["proposals"]] == [other.id]


@pytest.mark.asyncio
async def test_the_inbox_goes_on(pair: Pair) -> None:
    process = await pair.start_command("inbox", "--watch", actor="bob")
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"nothing waits for bob\n"
        [proposal] = await pair.submit(("make", {"name": "a"}))
        while proposal.id[-8:].encode() not in await process.stdout.readline():
            pass
        async with pair.store("carol") as carol:
            await carol.proposals.approve(proposal.id, expected_version=1)
        while await process.stdout.readline() != b"nothing waits for bob\n":
            pass
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130


@pytest.mark.asyncio
async def test_a_plan_shows_where_each_step_is(pair: Pair) -> None:
    made = await pair.command(
        *("submit", "--action", "make", "--args", '{"name": "a"}', "--objective", "Make it.", "--yes", "--json")
    )
    plan = json.loads(made.stdout)
    assert plan["objective"] == "Make it."
    [job] = plan["jobs"]
    shown = await pair.command("show", plan["id"])
    assert "PENDING" in shown.stdout
    await pair.command("approve", job["proposal_id"], "--yes", actor="bob")
    assert (await pair.command("work", "--once")).status == 0
    shown = await pair.command("show", plan["id"])
    assert "EXECUTED" in shown.stdout
    assert "PENDING" not in shown.stdout
    listed = await pair.command("plans", "--mine")
    assert plan["id"][-8:] in listed.stdout
    assert (await pair.command("plans", "--mine", actor="bob")).stdout == "no plans\n"


@pytest.mark.asyncio
async def test_a_reviewer_sees_what_surrounds_a_proposal(pair: Pair) -> None:
    (pair.directory / "plan.yaml").write_text(
        """
objective: Two files for the customer.
labels: {team: shop}
context: {ticket: ZD-991}
jobs:
  - {id: first, action_name: make, action_args: {name: a}}
  - {id: second, action_name: make, action_args: {name: b}, depends_on: [first]}
"""
    )
    made = await pair.command("submit", "plan.yaml", "--yes", "--json")
    first, second = json.loads(made.stdout)["jobs"]
    shown = await pair.command("approve", first["proposal_id"], "--yes", actor="bob")
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert 'context {"ticket": "ZD-991"}' in lines
    assert "labels team=shop" in lines
    assert "still needs 1 approval" in lines
    assert "if it fails second (make) will not run" in lines
    shown = await pair.command("show", second["proposal_id"])
    assert re.search(rf"after +{first['proposal_id'][-8:]} make .* APPROVED", shown.stdout)


@pytest.mark.asyncio
async def test_who_am_i(pair: Pair) -> None:
    shown = await pair.command("whoami", "--as", "dora", "--roles", "finance")
    assert shown.stdout.startswith("dora  (claimed: the store does not authenticate)\n")
    assert "finance" in shown.stdout


@pytest.mark.asyncio
async def test_another_policy_is_tried_on_what_was_decided(pair: Pair) -> None:
    await pair.submit(("make", {"name": "a"}), ("look", {"name": "a"}))
    (pair.directory / "stricter.yaml").write_text(STRICTER)
    tried = await pair.command("simulate", "stricter.yaml")
    assert tried.status == 0, tried.stderr
    assert "2 steps looked at, 1 decided differently" in tried.stdout
    assert "nobody-makes" in tried.stdout
    assert (await pair.command("simulate", "none.yaml")).status == 2


@pytest.mark.asyncio
async def test_wrong_plans_are_wrong_usage(pair: Pair) -> None:
    (pair.directory / "odd.yaml").write_text("jobs: [{action: make}]")
    (pair.directory / "list.yaml").write_text("[]")
    ended = await asyncio.gather(
        pair.command("submit", "--yes"),
        pair.command("submit", "odd.yaml", "--yes"),
        pair.command("submit", "list.yaml", "--yes"),
        pair.command("submit", "none.yaml", "--yes"),
        pair.command("submit", "--action", "make", "--args", "[]", "--yes"),
        pair.command("submit", "--action", "make", "--args", "{}", "--yes"),
    )
    assert [done.status for done in ended] == [2] * len(ended)
    assert "action" in ended[1].stderr


@pytest.mark.asyncio
async def test_tables_fit_a_terminal_of_80_columns_and_are_not_padded_in_a_pipe(pair: Pair) -> None:
    await pair.submit(*(("make", {"name": "x" * 200, "mode": "y" * 50}) for _ in range(2)), ("look", {"name": "z"}))
    for command in ("proposals", "plans", "actions", "inbox", "log"):
        terminal, other_end = pty.openpty()
        process = await pair.start_command(command, actor="bob", terminal=other_end, environment={"COLUMNS": "80"})
        os.close(other_end)
        shown = re.sub(r"\x1b\[[0-9;]*m", "", await asyncio.to_thread(everything_shown, terminal))
        await process.communicate()
        os.close(terminal)
        assert shown.strip()
        assert max(map(len, shown.replace("\r", "").splitlines())) <= 80, command
        piped = await pair.command(command, actor="bob")
        assert piped.stdout
        assert all(line == line.rstrip() for line in piped.stdout.splitlines()), command
