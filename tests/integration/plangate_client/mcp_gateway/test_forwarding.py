"""`plangate mcp tools` and `plangate mcp work`: another MCP server behind the gate."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from plangate.store.v1 import proposal_pb2

from tests.support.pair import running_pair
from tests.support.polling import eventually

CATALOGUE = """
version: 1
actions:
  - name: write_note
    description: Write a note.
    parameters:
      properties: {name: {type: string}, text: {type: string}}
      required: [name, text]
    policy: {effect: require_approval}
  - name: break_note
    description: Fail.
    parameters:
      properties: {name: {type: string}}
      required: [name]
    policy: {effect: require_approval}
"""
ROOT = str(Path(__file__).parents[4])


@pytest.mark.asyncio
async def test_an_approved_proposal_is_carried_out_by_calling_the_tool(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    upstream = ("--", sys.executable, "-m", "tests.support.mcp_tool_server", str(notes))
    async with running_pair(tmp_path, CATALOGUE) as pair:
        listed = await pair.command("mcp", "tools", *upstream, environment={"PYTHONPATH": ROOT})
        assert {tool["name"] for tool in json.loads(listed.stdout)["tools"]} == {"write_note", "break_note"}
        [note, broken] = await pair.submit(
            ("write_note", {"name": "a", "text": "hello"}), ("break_note", {"name": "b"}), depends_on=[]
        )
        worker = await pair.start_command("mcp", "work", *upstream, actor="worker", environment={"PYTHONPATH": ROOT})
        async with pair.store("bob") as store:
            assert not notes.exists()
            for proposal in (note, broken):
                await store.proposals.approve(proposal.id, expected_version=proposal.version)

            async def ended() -> list[proposal_pb2.Proposal]:
                both = await store.proposals.batch_get([note.id, broken.id])
                return both if all(one.HasField("end_time") for one in both) else []

            done, failed = await eventually(ended)
        worker.send_signal(signal.SIGTERM)
        await worker.communicate()
    assert done.state == proposal_pb2.PROPOSAL_STATE_EXECUTED
    assert done.result["structured"]["written"] == "a"
    assert notes.read_text() == "a=hello\n"
    assert failed.state == proposal_pb2.PROPOSAL_STATE_FAILED
    assert failed.failure.reason == "TOOL_FAILED"
    assert "no note b" in failed.failure.message
    assert worker.returncode == 0


@pytest.mark.asyncio
async def test_which_server_must_be_said(tmp_path: Path) -> None:
    async with running_pair(tmp_path, CATALOGUE) as pair:
        finished = await pair.command("mcp", "tools")
    assert finished.status == 2
    assert "--url" in finished.stderr
