"""What is shown of a fact."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.outlook.facts import fact_values, facts_outstanding, why_no_fact

COMMAND = {"exit_status": 0, "stderr": "", "duration_seconds": 0.1, "output_cut": False}
ANSWER = {"status": 200, "content_type": "application/json"}


@pytest.mark.parametrize(
    ("result", "values"),
    [
        ({"total": 12}, {"total": 12}),
        ({**COMMAND, "stdout": '{"total": 12}'}, {"total": 12}),
        ({**COMMAND, "stdout": '{"total": 12}', "stderr": "old data"}, {"total": 12, "stderr": "old data"}),
        ({**COMMAND, "stdout": '{"stderr": ""}', "stderr": "x"}, {"stdout": '{"stderr": ""}', "stderr": "x"}),
        ({**COMMAND, "stdout": "12 EUR", "output_cut": True}, {"stdout": "12 EUR", "output_cut": True}),
        ({**ANSWER, "body": {"total": 12}}, {"total": 12}),
        ({**ANSWER, "body": [1]}, {"body": [1]}),
    ],
)
def test_a_fact_says_what_the_command_or_the_answer_says(result: dict[str, Any], values: dict[str, Any]) -> None:
    fact = plan_pb2.Fact(action_name="get", result=result, end_time=Timestamp(seconds=1))
    assert fact_values(fact) == values
    assert why_no_fact(fact) == ""


def test_a_fact_that_is_not_there_says_why() -> None:
    waiting = plan_pb2.Fact(action_name="get")
    failed = plan_pb2.Fact(action_name="get", failure={"reason": "DOWN"}, end_time=Timestamp(seconds=1))
    assert why_no_fact(waiting) == "It is being fetched: waits for an executor."
    assert why_no_fact(failed) == "It could not be fetched: DOWN."
    assert facts_outstanding(proposal_pb2.Proposal(facts=[waiting, failed])) == ["get"]
