"""`plangate plan`, `actions` and what goes wrong on the way, against both servers."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.model_server import hangs, says
from tests.support.pair import Pair, running_pair
from tests.support.polling import until

CATALOGUE = """
version: 1
actions:
  - name: look
    description: Look at something.
    risk: low
    policy: allow
    parameters: {properties: {what: {type: string}}, required: [what]}
    command: {argv: [ls, --, "{args.what}"]}
  - name: change
    description: Change something.
    risk: medium
    policy: {effect: require_approval, approvals: 1, reason: it changes something}
    parameters: {properties: {what: {type: string}, times: {type: integer}}, required: [what]}
  - name: destroy
    description: Destroy something.
    risk: high
    policy: {effect: deny, reason: never here}
    parameters: {properties: {what: {type: string}}, required: [what]}
"""


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path, CATALOGUE) as pair:
        yield pair


@pytest.mark.asyncio
async def test_shows_the_plan_and_what_policy_decided(pair: Pair) -> None:
    pair.script(("look", {"what": "a"}), ("change", {"what": "b", "times": 3}), ("destroy", {"what": "c\x1b[2J"}))
    done = await pair.command("plan", "look, change, destroy")
    assert done.status == 0
    for words in ("allowed", "needs 1 approval", "denied", "it changes something", "never here", '"times": 3'):
        assert words in done.stdout
    # A model's escape sequence is shown, not obeyed.
    assert "\x1b" not in done.stdout + done.stderr
    assert "\\u001b[2J" in done.stdout.replace("\n", "") or "\\x1b[2J" in done.stdout
    # News while the model thought.
    assert "+ look" in done.stderr


@pytest.mark.asyncio
async def test_json_labels_context_and_request_id(pair: Pair) -> None:
    pair.script(("change", {"what": "b", "times": 3}))
    (pair.directory / "facts.json").write_text('{"host": "db1"}')
    request_id = str(uuid.uuid4())
    arguments = ["plan", "change it", "--json", "--label", "team=ops", "--label", "x=a=b", "--context", "facts.json"]
    first, second = [await pair.command(*arguments, "--request-id", request_id) for _ in range(2)]
    plan = json.loads(first.stdout)
    assert plan["state"] == "PLAN_STATE_PLANNED"
    assert plan["labels"] == {"team": "ops", "x": "a=b"}
    assert plan["context"] == {"host": "db1"}
    assert plan["jobs"][0]["action_args"] == {"what": "b", "times": 3}
    assert plan["created_by"] == "alice"
    # One id, one plan: the model was asked once.
    assert json.loads(second.stdout)["id"] == plan["id"]
    assert len(pair.model.requests) == 1


@pytest.mark.asyncio
async def test_without_streaming_validating_only_from_standard_input(pair: Pair) -> None:
    pair.script(("look", {"what": "a"}))
    done = await pair.command("plan", "-", "--no-stream", "--validate-only", "--json", stdin="look at a")
    plan = json.loads(done.stdout)
    assert plan["prompt"] == "look at a"
    assert "id" not in plan
    async with pair.store() as store:
        assert (await store.plans.list_page()).plans == []


@pytest.mark.asyncio
async def test_says_that_no_action_fits(pair: Pair) -> None:
    pair.script(("no_matching_action", {"reason": "nothing here can fly"}), objective="Fly.")
    done = await pair.command("plan", "book a flight")
    assert done.status == 0
    assert "No action of the catalogue fits this request" in done.stdout
    assert "nothing here can fly" in done.stdout


@pytest.mark.asyncio
async def test_a_model_that_never_gives_a_plan(pair: Pair) -> None:
    pair.model.default = says({"objective": "Do it."})
    done = await pair.command("plan", "look at a", "--max-attempts", "2")
    assert done.status == 1
    assert done.stderr.splitlines()[-1].startswith("plangate: ")
    assert "Field required" in done.stderr


@pytest.mark.asyncio
async def test_statuses_and_sentences(pair: Pair) -> None:
    pair.model.default = hangs()
    slow, nobody, not_there, *wrong = await asyncio.gather(
        pair.command("plan", "look at a", "--timeout", "1"),
        pair.command("actions", "--planner", "127.0.0.1:1"),
        pair.command("show", "01a205fb-9eaf-7992-a4c3-6c3f532792fa"),
        pair.command("plan", "x", "--context", "[1]"),
        pair.command("plan", "x", "--context", "no-such-file"),
        pair.command("plan", "x", "--label", "nothing"),
        pair.command("plan", "x", "--request-id", "7"),
        pair.command("plan"),
        pair.command("proposals", "--filter", "state ="),
        pair.command("log", "--follow", "--verify"),
        pair.command("nonsense"),
        pair.command("actions", "--timeout", "0"),
    )
    assert slow.status == 7
    assert nobody.status == 6
    assert nobody.stderr.strip() == (
        "plangate: cannot reach the planner at 127.0.0.1:1: start it with `plangate up`, or name it with --planner"
    )
    assert not_there.status == 3
    assert [done.status for done in wrong] == [2] * len(wrong)
    for done in (slow, nobody, not_there, *wrong):
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


@pytest.mark.asyncio
async def test_ctrl_c_stops_the_model_too(pair: Pair) -> None:
    pair.model.default = hangs()
    process = await pair.start_command("plan", "look at a")
    await until(lambda: pair.model.in_flight == 1, timeout_seconds=30)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(20):
        _, stderr = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    await until(lambda: pair.model.in_flight == 0)


@pytest.mark.asyncio
async def test_queued_plans_are_planned_later(pair: Pair) -> None:
    pair.script(("look", {"what": "a"}))
    done = await pair.command("plan", "look at a", "--queue", "--json")
    assert done.status == 0
    plan = json.loads(done.stdout)
    assert plan["state"] == "PLAN_STATE_QUEUED"

    async def planned() -> str:
        async with pair.store() as store:
            while True:
                now = await store.plans.get(plan["id"])
                if now.jobs:
                    return now.jobs[0].action_name
                await asyncio.sleep(0.02)

    assert await asyncio.wait_for(planned(), 20) == "look"


@pytest.mark.asyncio
async def test_lists_the_catalogue(pair: Pair) -> None:
    table, as_json = await asyncio.gather(pair.command("actions"), pair.command("actions", "--json"))
    assert "what, [times]" in table.stdout or "[times], what" in table.stdout
    actions = json.loads(as_json.stdout)["actions"]
    assert [action["name"] for action in actions] == ["change", "destroy", "look"]
    assert actions[2]["binding"] == "BINDING_COMMAND"
