"""What a person at a terminal sees is what is there."""

from __future__ import annotations

import json
import subprocess
import sys

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from plangate_client.command.app import hoisted
from plangate_client.command.exit_status import ExitStatus
from plangate_client.command.failures import sentence, status_of
from plangate_client.command.output.json_output import print_json
from plangate_client.command.output.text import short_id, struct_text
from plangate_client.errors import typed_error
from plangate_core.rpc.status import RpcFailure
from plangate_core.text.printable import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢", "plain ä 漢"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("a\nb\rc", "a\\nb\\rc"),
        ("\x9b31m", "\\x9b31m"),
        ("data/custom\u0435rs.csv", "data/custom\\u0435rs.csv"),
        ("\uff41dmin", "\\uff41dmin"),
        ("\u0434\u0430\u043d\u043d\u044b\u0435.csv", "\u0434\u0430\u043d\u043d\u044b\u0435.csv"),
        ("na\u00efve T\u30b7\u30e3\u30c4", "na\u00efve T\u30b7\u30e3\u30c4"),
        ("\u212aeys p\u0251ypal \u2170d", "\\u212aeys p\\u0251ypal \\u2170d"),
        ("\ua4d0ook \u2113ist \U0001f170b", "\\ua4d0ook \\u2113ist \\U0001f170b"),
        ("adm\u0131n re\u017fet \u1d0fne \u24d0b", "adm\\u0131n re\\u017fet \\u1d0fne \\u24d0b"),
        ("us\u0d20r a\u0627l x\u0966 fo\U000104c2", "us\\u0d20r a\\u0627l x\\u0966 fo\\U000104c2"),
        ("m\u0308\u0430\u0308n", "m\u0308\\u0430\u0308n"),
        (
            "caf\u00e9 Stra\u00dfe s\u00f8ster \u0142\u00f3d\u017a \u0111\u1ea1i",
            "caf\u00e9 Stra\u00dfe s\u00f8ster \u0142\u00f3d\u017a \u0111\u1ea1i",
        ),
        (
            "g\u00fcne\u015f \u00fe\u00e6r \u0153uvre m\u0259n \u0190k\u025b",
            "g\u00fcne\u015f \u00fe\u00e6r \u0153uvre m\u0259n \u0190k\u025b",
        ),
        (
            "cafe\u0301 m\u00b2 Kafka\ub97c \u0e43\u0e0aAPI o\u02bbzbek",
            "cafe\u0301 m\u00b2 Kafka\ub97c \u0e43\u0e0aAPI o\u02bbzbek",
        ),
        ("a\u3164b\u2800c\ufe0f", "a\\u3164b\\u2800c\\ufe0f"),
    ],
)
def test_nothing_hides(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_failure_says_nothing_to_the_terminal() -> None:
    code = (
        "import sys, plangate_client.command.app as command\n"
        "from plangate_client.command.exit_status import CommandFailed\n"
        "def app(*_, **__): raise CommandFailed('Last attempt: jobs.0: \\x1b[2J\\u202e\\x9b31m')\n"
        "command.app = app\n"
        "command.run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "plangate: Last attempt: jobs.0: \\x1b[2J\\u202e\\x9b31m\n"


def test_json_for_programs_says_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"path": "\x1b[2J\u202e\x9b31m"})
    said = capsys.readouterr().out
    assert said.isascii()
    assert json.loads(said) == {"path": "\x1b[2J\u202e\x9b31m"}


def test_line_breaks_may_stay() -> None:
    assert visible("a\n\x1bb", newlines=True) == "a\n\\x1bb"


def test_arguments_are_shown_as_stored() -> None:
    struct = Struct()
    struct.update({"b": 3, "a": "x\u202e", "c": [1.5, None]})
    assert struct_text(struct) == '{"a": "x\\u202e", "b": 3, "c": [1.5, null]}'


def test_short_ids_are_ends() -> None:
    assert short_id("01a205fb-9eaf-7992-a4c3-6c3f532792fa") == "532792fa"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["approve", "x", "--as", "bob"], ["--as", "bob", "approve", "x"]),
        (["log", "--store=h:1", "--json"], ["--store=h:1", "log", "--json"]),
        (["plan", "--", "--as", "bob"], ["plan", "--", "--as", "bob"]),
        (["store", "backup", "--token", "x"], ["store", "backup", "--token", "x"]),
        (["show", "store"], ["show", "store"]),
        (["show", "--as"], ["--as", "show"]),
        (["log", "--utc", "--limit", "3"], ["--utc", "log", "--limit", "3"]),
    ],
)
def test_options_may_stand_anywhere(given: list[str], taken: list[str]) -> None:
    assert hoisted(given) == taken


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILTER", ExitStatus.USAGE),
        (grpc.StatusCode.NOT_FOUND, "PLAN_NOT_FOUND", ExitStatus.NOT_FOUND),
        (grpc.StatusCode.ABORTED, "VERSION_CONFLICT", ExitStatus.CONFLICT),
        (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", ExitStatus.CONFLICT),
        (grpc.StatusCode.ABORTED, "PLAN_INVALID", ExitStatus.OTHER),
        (grpc.StatusCode.FAILED_PRECONDITION, "SELF_APPROVAL", ExitStatus.DENIED),
        (grpc.StatusCode.PERMISSION_DENIED, "POLICY_DENIED", ExitStatus.DENIED),
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", ExitStatus.DENIED),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", ExitStatus.UNAVAILABLE),
        (grpc.StatusCode.UNAVAILABLE, "", ExitStatus.UNAVAILABLE),
        (grpc.StatusCode.UNKNOWN, "COMMIT_UNKNOWN", ExitStatus.UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", ExitStatus.DEADLINE),
        (grpc.StatusCode.INTERNAL, "INTERNAL", ExitStatus.OTHER),
        (grpc.StatusCode.DATA_LOSS, "NEVER_HEARD_OF", ExitStatus.OTHER),
    ],
)
def test_every_failure_has_a_status_and_one_line(code: grpc.StatusCode, reason: str, status: ExitStatus) -> None:
    error = typed_error(RpcFailure(code, reason, "it did not work"), "store")
    assert status_of(error) == status
    line = sentence(error, {"store": "h:1"})
    assert line
    assert "\n" not in line


def test_starts_without_what_only_subcommands_need() -> None:
    code = (
        "import sys, plangate_client.command.app\n"
        "print([name for name in ('grpc', 'pydantic', 'google.protobuf', 'yaml', 'rich.table') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
