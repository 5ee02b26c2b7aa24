"""Lists say what will not run, and why."""

from __future__ import annotations

import io

from google.protobuf.timestamp_pb2 import Timestamp
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from rich.console import Console
from rich.table import Table

from plangate_client.command.output.tables import inbox_table, plans_table, proposals_table


def shown(table: Table) -> str:
    output = io.StringIO()
    Console(file=output, width=200).print(table)
    return output.getvalue()


def test_a_list_of_proposals_gives_the_reason() -> None:
    cancelled = proposal_pb2.Proposal(
        id="019a22ff-0000-7000-8000-000000000001",
        action_name="refund",
        state=proposal_pb2.PROPOSAL_STATE_CANCELLED,
        failure=plan_pb2.Failure(reason="DEPENDENCY_FAILED", message="job_1 (check) was rejected"),
    )
    waiting = proposal_pb2.Proposal(action_name="unlock", state=proposal_pb2.PROPOSAL_STATE_PENDING)
    lines = shown(proposals_table([cancelled, waiting])).splitlines()
    row = next(number for number, line in enumerate(lines) if "refund" in line)
    assert "CANCELLED" in lines[row]
    assert lines[row + 1].strip() == "job_1 (check) was rejected"
    assert "unlock" in lines[row + 2]


def test_a_list_of_plans_counts_them() -> None:
    stopped = plan_pb2.Job(id="b", will_not_run=plan_pb2.Failure(reason="DENIED", message="policy"))
    plans = [plan_pb2.Plan(jobs=[plan_pb2.Job(id="a")]), plan_pb2.Plan(jobs=[stopped, stopped])]
    text = shown(plans_table(plans))
    assert "2, 2 will not run" in text
    assert text.count("will not run") == 1


def test_the_inbox_has_the_facts() -> None:
    fact = plan_pb2.Fact(action_name="get_order", result={"total": 249}, end_time=Timestamp(seconds=1))
    missing = plan_pb2.Fact(action_name="get_customer", failure={"reason": "EXPIRED"}, end_time=Timestamp(seconds=1))
    text = shown(inbox_table([proposal_pb2.Proposal(action_name="refund", facts=[fact, missing])]))
    assert 'get_order: {"total": 249}' in text
    assert "get_customer: It could not be fetched: EXPIRED." in text
