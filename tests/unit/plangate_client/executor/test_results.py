"""Results that are more than the store takes."""

from __future__ import annotations

import json

from plangate_client.executor.execution import result_struct
from plangate_core.contract.struct_codec import struct_to_json

# Each takes six bytes of JSON.
CONTROL = "\x01" * 20_000


def test_of_an_answer_the_beginning_is_kept_and_of_a_commands_output_the_end() -> None:
    answer = struct_to_json(result_struct({"status": 200, "body": f"first{CONTROL}last"}), "result")
    assert str(answer["body"]).startswith("first")
    assert (answer["status"], answer["output_cut"]) == (200, True)
    output = struct_to_json(result_struct({"exit_status": 0, "stdout": f"first{CONTROL}last"}), "result")
    assert str(output["stdout"]).endswith("last")


def test_an_answer_of_json_is_cut_as_json() -> None:
    body = {"account": [{"name": "x" * 100}] * 1000}
    answer = struct_to_json(result_struct({"body": body}), "result")
    assert json.dumps(body).startswith(str(answer["body"]))


def test_what_fits_is_left_alone() -> None:
    assert struct_to_json(result_struct({"body": {"a": 1}}), "result") == {"body": {"a": 1}}
