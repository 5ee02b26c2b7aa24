"""Files that proposals and events are written to: what is in them, and what becomes of files that are there."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.command.exit_status import CommandFailed
from plangate_client.command.exports import event_row, export_messages, proposal_row, safe_cell
from plangate_core.contract.struct_codec import json_to_struct

EVIL = '=HYPERLINK("http://x","y")'


async def stream(*messages: object) -> AsyncIterator[object]:
    for message in messages:
        if isinstance(message, Exception):
            raise message
        yield message


async def export(file: Path, *messages: object, force: bool = False) -> None:
    await export_messages(
        stream(*messages),  # type: ignore[arg-type]
        file,
        name="proposals",
        row=proposal_row,
        empty=proposal_pb2.Proposal(),
        force=force,
    )


def refund() -> proposal_pb2.Proposal:
    return proposal_pb2.Proposal(
        id="p1",
        state=proposal_pb2.PROPOSAL_STATE_EXECUTED,
        action_name="refund",
        action_args=json_to_struct({"order_id": "4711", "amount": -5}),
        description=f'{EVIL},\n"zoë"',
        created_by="@alice",
        labels={"team": "shop"},
        approvals=[proposal_pb2.Approval(reviewer="bob"), proposal_pb2.Approval(reviewer="carol")],
        result=json_to_struct({"paid": 80}),
    )


@pytest.mark.parametrize("begin", [*"=+-@\t\r\n \u00a0\uff1d\uff0b\uff0d\uff20"])
def test_what_a_spreadsheet_takes_for_a_formula_becomes_a_text(begin: str) -> None:
    assert safe_cell(f"{begin}1") == f"'{begin}1"


def test_other_cells_stay_as_they_are() -> None:
    assert [safe_cell(cell) for cell in ("a=1", "", -5, True, "{}", "4711")] == ["a=1", "", -5, True, "{}", "4711"]


@pytest.mark.asyncio
async def test_a_csv_file_holds_who_approved_what_and_what_came_of_it(tmp_path: Path) -> None:
    file = tmp_path / "proposals.csv"
    await export(file, refund())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [row] = csv.DictReader(io.StringIO(file.read_bytes().decode(), newline=""))
    assert json.loads(row["action_args"]) == {"order_id": "4711", "amount": -5}
    assert row["description"] == f'\'{EVIL},\n"zoë"'
    assert (row["state"], row["approved_by"], row["result"]) == ("EXECUTED", "bob, carol", '{"paid": 80}')
    assert (row["created_by"], row["labels"]) == ("'@alice", '{"team": "shop"}')


@pytest.mark.asyncio
async def test_without_anything_to_write_there_are_columns_and_an_empty_list(tmp_path: Path) -> None:
    await export(tmp_path / "a.csv")
    await export(tmp_path / "a.json")
    assert (tmp_path / "a.csv").read_text().splitlines()[0].startswith("id,plan_id,state,")
    assert json.loads((tmp_path / "a.json").read_text()) == {"proposals": []}


@pytest.mark.asyncio
async def test_a_json_file_is_one_document(tmp_path: Path) -> None:
    await export(tmp_path / "a.json", refund(), refund())
    proposals = json.loads((tmp_path / "a.json").read_text())["proposals"]
    assert [proposal["action_args"] for proposal in proposals] == [{"order_id": "4711", "amount": -5}] * 2


@pytest.mark.asyncio
async def test_a_file_that_is_there_is_replaced_by_force_only(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("earlier")
    with pytest.raises(CommandFailed, match="is there already"):
        await export(file, refund())
    assert file.read_text() == "earlier"
    await export(file, refund(), force=True)
    assert "refund" in file.read_text()
    with pytest.raises(CommandFailed, match=r"name it \.csv or \.json"):
        await export(tmp_path / "a.txt", refund())


@pytest.mark.asyncio
async def test_an_export_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        await export(tmp_path / "a.csv", refund(), RuntimeError("the store is gone"))
    assert os.listdir(tmp_path) == []


def test_a_row_of_the_log_says_what_the_event_was_about() -> None:
    row = event_row(event_pb2.Event(revision=3, kind="proposal.approved", actor="bob", proposal=refund(), hash=b"\1"))
    assert (row["revision"], row["kind"], row["actor"], row["action_name"]) == (3, "proposal.approved", "bob", "refund")
    assert (row["action_args"], row["hash"]) == ('{"amount": -5, "order_id": "4711"}', "01")
