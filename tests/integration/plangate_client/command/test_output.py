"""The command when what it says goes to a file, to a full disk, or to a pipe that nobody reads any more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from plangate.store.v1 import proposal_pb2

from tests.support.pair import Pair, running_pair

CATALOGUE = """
version: 1
actions:
  - name: look
    description: Look at something.
    risk: low
    policy: allow
    parameters: {properties: {what: {type: string}}, required: [what]}
    command: {argv: [echo, "Look: {args.what}"]}
"""
needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")


@pytest_asyncio.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(tmp_path, CATALOGUE) as pair:
        yield pair


async def ended(pair: Pair, *arguments: str, output: int, **environment: str) -> tuple[int | None, str]:
    """Run the command with this standard output; its status, and what it said on standard error."""
    process = await pair.start_command(*arguments, terminal=output, environment=environment)
    async with asyncio.timeout(60):
        _, stderr = await process.communicate()
    return process.returncode, stderr.decode()


@pytest.mark.asyncio
async def test_exporting_to_standard_output_appends_where_the_shell_does(pair: Pair) -> None:
    await pair.submit(("look", {"what": "here"}))
    archive = pair.directory / "archive.jsonl"
    archive.write_text("what was there\n")
    with archive.open("a") as file:
        assert await ended(pair, "log", "--export", "-", output=file.fileno()) == (0, "")
    first, *events = archive.read_text().splitlines()
    assert first == "what was there"
    assert len(events) == 2


@needs_dev_full
@pytest.mark.asyncio
@pytest.mark.parametrize("command", ["proposals", "proposals --json", "log --export -", "--help"])
async def test_a_full_disk_is_said_in_one_line(pair: Pair, command: str) -> None:
    await pair.submit(("look", {"what": "here"}))
    full = os.open("/dev/full", os.O_RDWR)
    try:
        status, said = await ended(pair, *command.split(), output=full)
    finally:
        os.close(full)
    assert status == 1
    assert said.startswith("plangate: cannot write ")
    assert said.endswith("No space left on device\n")
    assert said.count("\n") == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("command", ["proposals", "proposals --json", "log --export -", "--help"])
async def test_a_command_that_nobody_reads_ends_without_a_word(pair: Pair, command: str) -> None:
    await pair.submit(("look", {"what": "here"}))
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        assert await ended(pair, *command.split(), output=write_end) == (1, "")
    finally:
        os.close(write_end)


@pytest.mark.asyncio
async def test_characters_that_the_output_lacks_are_escaped(pair: Pair) -> None:
    await pair.submit(("look", {"what": "caf\u00e9 \u2603"}))
    done = await pair.command("proposals", environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (done.status, done.stderr) == (0, "")
    assert "caf\\xe9 \\u2603" in done.stdout


@pytest.mark.asyncio
@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_an_executor_that_nobody_reads_finishes_what_it_leased(pair: Pair, form: tuple[str, ...]) -> None:
    proposals = await pair.submit(*(("look", {"what": str(number)}) for number in range(3)))
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        status, said = await ended(pair, "work", *form, output=write_end)
    finally:
        os.close(write_end)
    assert status == 1
    assert "Traceback" not in said
    async with pair.store() as store:
        states = {proposal.state for proposal in await store.proposals.batch_get([item.id for item in proposals])}
    # What it had leased is done; what depended on that was not begun.
    assert states <= {proposal_pb2.PROPOSAL_STATE_EXECUTED, proposal_pb2.PROPOSAL_STATE_APPROVED}


@pytest.mark.asyncio
async def test_what_is_not_utf_8_is_said_to_be_none(pair: Pair) -> None:
    for arguments in (["plan", "\udcff"], ["plan", "a", "--label", "b=\udcff"], ["proposals", "--filter", "\udcff"]):
        done = await pair.command(*arguments)
        assert (done.status, done.stdout) == (2, "")
        assert done.stderr.endswith("plangate: an argument, or what came on standard input, is not UTF-8\n")
