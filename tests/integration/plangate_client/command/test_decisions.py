"""`plangate approve`, `withdraw`, `reject`, `cancel` and `revise`, and the way from review to proof."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import pty
import re
import runpy
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2

from tests.support.pair import Pair, clean_environment, running_pair
from tests.support.polling import until
from tests.support.terminal import everything_shown

CATALOGUE = """
version: 1
actions:
  - name: make
    description: Make a file.
    policy: require_approval
    parameters: {properties: {name: {type: string}}, required: [name]}
    command:
      argv: ["{python}", -c, "import sys; open(sys.argv[1], 'x').close(); print('made it')", "{args.name}"]
      paths: {args.name: .}
  - name: share
    description: Share a file.
    policy: {effect: require_approval, approvals: 2}
    command: {argv: ["true"]}
"""
POLICY = """
version: 1
rules:
  - name: not-there
    match: {args: {name: "forbidden*"}}
    effect: deny
    reason: not there
"""

VERIFY_LOG: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[4] / "docs" / "verify_log.py")))


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path, CATALOGUE, policy=POLICY) as pair:
        yield pair


@pytest.mark.asyncio
async def test_from_review_to_proof(pair: Pair) -> None:
    yes, no = await pair.submit(("make", {"name": "yes"}), ("make", {"name": "no\u202e"}))

    listed = await pair.command("proposals", "--state", "pending", "--json")
    assert {proposal["id"] for proposal in json.loads(listed.stdout)["proposals"]} == {yes.id, no.id}
    shown = await pair.command("show", no.id[-8:])
    assert no.id in shown.stdout
    assert "no\\u202e" in shown.stdout
    assert "proposal.created" in shown.stdout

    own = await pair.command("approve", yes.id, "--yes")
    assert own.status == 5
    assert "somebody else must" in own.stderr
    stale = await pair.command("approve", yes.id, "--version", "7", "--as", "bob", "--yes")
    assert stale.status == 4

    approved = await pair.command("approve", yes.id, "--version", "1", "--comment", "go", "--yes", actor="bob")
    assert approved.status == 0
    assert yes.args_digest in approved.stdout
    assert approved.stdout.strip().endswith("is APPROVED, version 2")
    again = await pair.command("approve", yes.id, "--yes", actor="carol")
    assert again.status == 5
    assert again.stderr.count("possible") == 2, again.stderr
    unsendable = await pair.command("proposals", actor="ülrich")
    assert (unsendable.status, unsendable.stderr) == (
        2,
        "plangate: cannot send a name or token that is not printable ASCII: the identity (PLANGATE_ACTOR)\n",
    )
    misread = await pair.command("proposals", "--filter", "state PENDING", "--state", "pending")
    assert misread.stderr.startswith("plangate: filter at position 6: ")

    rejected = await pair.command("reject", no.id, "--reason", "bad name", "--json", "--as", "bob", "--yes")
    assert json.loads(rejected.stdout)["failure"]["message"] == "bad name"

    worked = await pair.command("work", "--once", "--json")
    assert worked.status == 0
    [line] = [json.loads(line) for line in worked.stdout.splitlines()]
    assert (line["ending"], line["proposal"]["result"]["stdout"]) == ("executed", "made it\n")
    assert (pair.directory / "yes").exists()

    verified = await pair.command("log", "--verify")
    assert verified.status == 0
    assert "chain whole" in verified.stdout
    table = await pair.command("log", "--filter", f'entity_id = "{yes.id}"')
    kinds = re.findall(r"proposal\.\w+", table.stdout)
    assert kinds == ["proposal.created", "proposal.approved", "proposal.claimed", "proposal.executed"]
    question = ("--filter", "action_name = make AND args.name = yes")
    for command, columns in (("proposals", ["state", "approved_by"]), ("log", ["kind", "actor"])):
        assert (await pair.command(command, *question, "--export", f"{command}.csv")).status == 0
        again = await pair.command(command, *question, "--export", f"{command}.csv")
        assert (again.status, "is there already" in again.stderr) == (2, True)
        with open(pair.directory / f"{command}.csv", newline="") as file:  # noqa: ASYNC230 - a short file
            rows = [tuple(row[name] for name in columns) for row in csv.DictReader(file)]
        assert ("EXECUTED", "bob") in rows or ("proposal.approved", "bob") in rows
        assert len(rows) == (1 if command == "proposals" else len(kinds))
    exported = await pair.command("log", "--export", "events.jsonl")
    assert exported.status == 0
    events = [json.loads(line) for line in (pair.directory / "events.jsonl").read_text().splitlines()]
    assert [event["revision"] for event in events] == list(range(1, len(events) + 1))
    assert VERIFY_LOG.verify(map(json.dumps, events))[0]
    events[1]["actor"] = "mallory"
    assert VERIFY_LOG.verify(map(json.dumps, events)) == (False, "revision 2 was changed")


@pytest.mark.asyncio
async def test_asks_at_a_terminal(pair: Pair) -> None:
    [proposal] = await pair.submit(("make", {"name": "a"}))
    for answer, status, state in ((b"n\n", 1, "PENDING"), (b"y\n", 0, "APPROVED")):
        terminal, other_end = pty.openpty()
        process = await pair.start_command("approve", proposal.id, actor="bob", terminal=other_end)
        os.close(other_end)
        os.write(terminal, answer)
        async with asyncio.timeout(30):
            await process.communicate()
        shown = everything_shown(terminal)
        os.close(terminal)
        assert process.returncode == status
        assert proposal.args_digest in shown.replace("\r\n", "\n")
        async with pair.store() as store:
            now = await store.proposals.get(proposal.id)
        assert proposal_pb2.ProposalState.Name(now.state) == f"PROPOSAL_STATE_{state}"


@pytest.mark.asyncio
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("piped", [False, True])
async def test_asks_a_person_wherever_the_answer_goes(pair: Pair, as_json: bool, piped: bool) -> None:
    [proposal] = await pair.submit(("make", {"name": "a"}))
    for answer, status, state in ((b"n\n", 1, "PENDING"), (b"y\n", 0, "APPROVED")):
        terminal, other_end = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "plangate_client", "approve", proposal.id, *(["--json"] if as_json else [])),
            env={**clean_environment(), "PLANGATE_STORE_TARGET": pair.store_address, "PLANGATE_ACTOR": "bob"},
            stdin=other_end,
            stdout=asyncio.subprocess.PIPE if piped else other_end,
            stderr=other_end,
            process_group=0,
        )
        os.close(other_end)
        os.write(terminal, answer)
        async with asyncio.timeout(30):
            stdout, _ = await process.communicate()
        shown = everything_shown(terminal)
        os.close(terminal)
        assert process.returncode == status, shown
        assert proposal.args_digest in shown
        assert "Approve exactly this?" in shown
        if piped:
            assert ("APPROVED" in stdout.decode()) == (state == "APPROVED")
            assert "Approve exactly" not in stdout.decode()
        async with pair.store() as store:
            now = await store.proposals.get(proposal.id)
        assert proposal_pb2.ProposalState.Name(now.state) == f"PROPOSAL_STATE_{state}"


@pytest.mark.asyncio
async def test_shows_what_is_approved_however_narrow_the_terminal(pair: Pair) -> None:
    [proposal] = await pair.submit(("make", {"name": "seen"}))
    terminal, other_end = pty.openpty()
    process = await pair.start_command(
        *("approve", proposal.id, "--yes"), actor="bob", terminal=other_end, environment={"COLUMNS": "9"}
    )
    os.close(other_end)
    async with asyncio.timeout(30):
        await process.communicate()
    shown = everything_shown(terminal)
    os.close(terminal)
    assert '{"name": "seen"}' in shown


@pytest.mark.asyncio
@pytest.mark.parametrize("columns", ["60", "40"])
async def test_tables_leave_out_nothing_however_narrow_the_terminal(pair: Pair, columns: str) -> None:
    [proposal] = await pair.submit(("make", {"name": "a"}))
    shown = {}
    for subcommand in ("proposals", "log"):
        terminal, other_end = pty.openpty()
        process = await pair.start_command(subcommand, terminal=other_end, environment={"COLUMNS": columns})
        os.close(other_end)
        async with asyncio.timeout(30):
            await process.communicate()
        shown[subcommand] = re.sub(r"\x1b\[[0-9;]*m", "", everything_shown(terminal))
        os.close(terminal)
    for words in (proposal.id[-8:], "PENDING", "make", '{"name": "a"}', "0 of 1", "alice"):
        assert words in shown["proposals"]
    for words in (proposal.id[-8:], "proposal.created", "alice"):
        assert words in shown["log"]


@pytest.mark.asyncio
async def test_says_that_earlier_events_are_left_out(pair: Pair) -> None:
    [proposal] = await pair.submit(("make", {"name": "a"}))
    async with pair.store("bob") as bob:
        await bob.proposals.approve(proposal.id, expected_version=1)
        await bob.proposals.claim(action_names=["make"])
        for _ in range(100):
            await bob.proposals.renew_lease(proposal.id, attempt=1)
        await bob.proposals.complete(proposal.id, attempt=1)
    shown = await pair.command("show", proposal.id)
    note, _, *events, _ = shown.stdout.partition("\n\n")[2].splitlines()
    assert note.startswith("the last 100 events; for more: plangate log --limit 1000 ")
    assert len(events) == 100
    assert "proposal.executed" in events[-1]
    # The command that it names has all of them.
    more = await pair.command(*shlex.split(note.partition(" plangate ")[2]))
    assert re.findall(r"proposal\.\w+", more.stdout)[:2] == ["proposal.created", "proposal.approved"]


@pytest.mark.asyncio
async def test_finds_ends_of_ids_behind_large_pages(pair: Pair) -> None:
    big = Struct()
    big.update({"name": "y" * 30_000})
    job = store_pb2.CreateProposalRequest(proposal=proposal_pb2.Proposal(action_name="make", action_args=big))
    async with pair.store("planner") as store:
        [oldest, *_] = await store.proposals.batch_create([job] * 80)
        await store.proposals.batch_create([job] * 80)
    found = await pair.command("show", oldest.id[-8:], "--json")
    assert json.loads(found.stdout)["id"] == oldest.id


@pytest.mark.asyncio
async def test_times_at_the_end_of_all_days_are_shown(pair: Pair) -> None:
    proposal = proposal_pb2.Proposal(action_name="make")
    proposal.expire_time.FromJsonString("9999-12-31T23:59:59Z")
    async with pair.store("planner") as store:
        made = await store.proposals.create(proposal)
    shown = await pair.command("show", made.id, "--utc", environment={"TZ": "Asia/Tokyo"})
    assert (shown.status, shown.stderr) == (0, "")
    assert "9999-12-31 23:59:59 UTC" in shown.stdout


@pytest.mark.asyncio
async def test_numbers_that_the_contract_cannot_hold_are_wrong_usage(pair: Pair) -> None:
    [proposal] = await pair.submit(("make", {"name": "a"}))
    large = str(2**63)
    ended = await asyncio.gather(
        pair.command("plan", "x", "--token-budget", large),
        pair.command("log", "--verify", "--from", large),
        pair.command("log", "--from", large),
        *(
            pair.command(name, proposal.id, "--version", large, "--reason", "x", "--yes")
            for name in ("cancel", "reject")
        ),
        pair.command("approve", proposal.id, "--version", large),
    )
    assert [done.status for done in ended] == [2] * len(ended)
    assert "Traceback" not in "".join(done.stderr for done in ended)
    most = await pair.command("cancel", proposal.id, "--version", str(2**63 - 1), "--yes")
    assert most.status == 4


@pytest.mark.asyncio
async def test_revise_and_cancel(pair: Pair) -> None:
    first, second = await pair.submit(("make", {"name": "a"}), ("make", {"name": "b"}))
    revised = await pair.command("revise", first.id, "--args", '{"name": "c"}', "--comment", "better", "--yes")
    assert revised.status == 0
    assert "version 2" in revised.stdout
    shown = await pair.command("show", first.id)
    assert ["changed", "by", "alice"] in [line.split() for line in shown.stdout.splitlines()]
    assert ["was", "name:", '"a"', "→", '"c"'] in [line.split() for line in shown.stdout.splitlines()]
    denied, invalid, no_json, nothing = await asyncio.gather(
        pair.command("revise", first.id, "--args", '{"name": "forbidden"}', "--yes"),
        pair.command("revise", first.id, "--args", '{"name": 3}', "--yes"),
        pair.command("revise", first.id, "--args", "name", "--yes"),
        pair.command("revise", first.id),
    )
    assert denied.status == 5
    assert "not-there" in denied.stderr or "not there" in denied.stderr
    assert [done.status for done in (invalid, no_json, nothing)] == [2, 2, 2]

    cancelled = await pair.command("cancel", second.id, "--reason", "no longer", "--yes")
    assert "is CANCELLED" in cancelled.stdout
    whole = await pair.command("cancel", first.plan_id, "--yes")
    assert "is CANCELLED" in whole.stdout
    assert "With it: job_1 (make) becomes CANCELLED." in whole.stdout + whole.stderr
    ambiguous = await pair.command("show", first.id[:8])
    assert ambiguous.status == 2
    assert "not unique" in ambiguous.stderr


@pytest.mark.asyncio
async def test_without_a_terminal_nothing_changes_unless_it_is_said_to_be_meant(pair: Pair) -> None:
    waiting, approved = await pair.submit(("make", {"name": "a"}), ("make", {"name": "b"}))
    async with pair.store("bob") as bob:
        await bob.proposals.approve(approved.id, expected_version=1)
        before = (await bob.events.verify()).head_revision
    ended = await asyncio.gather(
        pair.command("approve", waiting.id, actor="bob"),
        pair.command("withdraw", approved.id, actor="bob"),
        pair.command("reject", waiting.id, "--reason", "no", actor="bob"),
        pair.command("cancel", waiting.id),
        pair.command("cancel", waiting.plan_id, "--json"),
        pair.command("revise", waiting.id, "--args", '{"name": "c"}'),
        pair.command("submit", "--action", "make", "--args", '{"name": "c"}'),
        pair.command("approve", waiting.id, actor="bob", stdin="y\n"),
    )
    assert [done.status for done in ended] == [8] * len(ended)
    assert {done.stdout for done in ended} == {""}
    assert all("--yes" in done.stderr and done.stderr.count("\n") == 1 for done in ended)
    async with pair.store() as store:
        assert (await store.events.verify()).head_revision == before


@pytest.mark.asyncio
async def test_an_approval_is_taken_back(pair: Pair) -> None:
    [proposal] = await pair.submit(("share", {}))
    approved = await pair.command("approve", proposal.id, "--yes", actor="bob")
    assert "1 more approval must follow" in approved.stderr
    withdrawn = await pair.command("withdraw", proposal.id, "--yes", "--comment", "too early", actor="bob")
    assert withdrawn.stdout.rstrip().endswith("is PENDING, version 3, 0 of 2 approvals")


@pytest.mark.asyncio
async def test_a_no_says_what_falls_with_it(pair: Pair) -> None:
    step = Struct()
    step.update({"name": "a"})
    jobs = [
        plan_pb2.Job(id="one", action_name="make", action_args=step),
        plan_pb2.Job(id="two", action_name="make", action_args=step, depends_on=["one"]),
    ]
    async with pair.planner() as planner:
        plan = await planner.submit_plan("One, then two.", jobs)
    done = await pair.command("reject", plan.jobs[0].proposal_id, "--reason", "no", "--yes", actor="bob")
    assert "two (make)" in done.stderr
    shown = await pair.command("show", plan.id)
    assert "REJECTED" in shown.stdout


@pytest.mark.asyncio
async def test_follow_goes_on_until_interrupted(pair: Pair) -> None:
    await pair.submit(("make", {"name": "a"}))
    process = await pair.start_command("log", "--follow", "--json", "--from", "1")
    assert process.stdout is not None
    async with asyncio.timeout(30):
        before = [json.loads(await process.stdout.readline())["kind"] for _ in range(2)]
        await pair.submit(("make", {"name": "b"}))
        after = [json.loads(await process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert before == ["plan.created", "proposal.created"]
    assert [event["kind"] for event in after] == ["plan.created", "proposal.created"]
    assert after[1]["proposal"]["action_args"] == {"name": "b"}
    assert process.returncode == 130


@pytest.mark.asyncio
async def test_work_ends_in_order_on_sigterm(pair: Pair) -> None:
    [proposal] = await pair.submit(("make", {"name": "late"}))
    process = await pair.start_command("work", "--json", "--catalogue", str(pair.catalogue_file))
    assert process.stdout is not None
    async with pair.store("bob") as store:
        await store.proposals.approve(proposal.id, expected_version=1)
    async with asyncio.timeout(30):
        line = json.loads(await process.stdout.readline())
        assert line["ending"] == "executed"
        assert line["proposal"]["id"] == proposal.id
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
    await until((pair.directory / "late").exists)


@pytest.mark.asyncio
async def test_work_refuses_what_it_could_not_do(pair: Pair) -> None:
    (pair.directory / "secret.yaml").write_text(
        "version: 1\n"
        "actions: [{name: a, description: A., http: {method: GET, url: 'http://h/', headers: {A: {env: NOT_SET}}}}]"
    )
    (pair.directory / "shell.yaml").write_text(
        "version: 1\nactions: [{name: a, description: A., parameters: {properties: {x: {}}, required: [x]}, "
        "command: {argv: [sh, -c, '{args.x}']}}]"
    )
    (pair.directory / "none.yaml").write_text("version: 1\nactions: [{name: a, description: A.}]")
    secret, shell, none, absent = await asyncio.gather(
        *(pair.command("work", "--catalogue", f"{name}.yaml") for name in ("secret", "shell", "none", "absent"))
    )
    assert [done.status for done in (secret, shell, none, absent)] == [2, 2, 2, 2]
    assert "NOT_SET" in secret.stderr
    assert "into code" in shell.stderr
    assert "binds no action" in none.stderr
    assert "cannot read" in absent.stderr
