"""A run that was recorded is made again without a model, and what differs is said."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import rfc8785

from plangate_client.errors import PlangateError
from planner_service.bootstrap import PlannerRefused
from planner_service.generation.providers.recording import RecordingInvalid
from planner_service.governance.files import read_governance
from planner_service.replay.replay import RecordedRun, Replayed
from planner_service.settings import PlannerSettings
from tests.support.model_server import fails, says
from tests.support.pair import Finished, clean_environment
from tests.support.planner_house import CATALOGUE, POLICY, PlannerHouse, asking, draft, open_house
from tests.support.polling import until
from tests.support.recorded_run import COMMITTED, record_a_run

LOOK = ("read_status", {"service": "web"})


async def replayed(recording: Path, catalogue: Path, policy: Path | None) -> list[Replayed]:
    return [each async for each in RecordedRun(recording).replay(read_governance(catalogue, policy))]


async def command(*arguments: str, **environment: str) -> Finished:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "plangate_client", "replay", *arguments),
        env={**clean_environment(), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


@pytest.mark.asyncio
async def test_a_recorded_run_is_made_again_to_the_byte(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    async with open_house(tmp_path, model_record_file=recording) as house:
        await record_a_run(house)
        stored = await house.stored_plans()
        catalogue, policy = house.catalogue_file, house.policy_file
    plans = await replayed(recording, catalogue, policy)
    assert [each.differences for each in plans] == [()] * 5
    assert [each.notes for each in plans] == [()] * 5
    assert [each.attempts for each in plans] == [2, 2, 1, 1, 1]
    for each in plans:
        assert rfc8785.dumps(each.plan) == rfc8785.dumps(each.record.plan)
    healed, refund, flight, refused, drop = plans
    assert [job["id"] for job in healed.plan["jobs"]] == [job.id for job in stored[0].jobs]
    assert refund.plan["jobs"][0]["decision"]["effect"] == "require_approval"
    assert flight.plan["no_action_reason"] == "nothing here books flights"
    assert refused.failure is not None
    assert refused.failure.reason == "MODEL_REFUSED"
    assert drop.plan["jobs"][0]["decision"]["rule"] == "catalogue:drop_database"


@pytest.mark.asyncio
async def test_a_recording_holds_no_secrets_and_is_its_owners(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    async with open_house(tmp_path, model_record_file=recording, model_api_key="sk-0123456789abcdef") as house:
        house.model.script(fails(401, body="key sk-0123456789abcdef is wrong"), fails(400, body="sk-0123456789abcdef?"))
        for prompt in ("one", "two"):
            with pytest.raises(PlangateError):
                await house.planner().create_plan(asking(prompt, max_attempts=1))
    text = recording.read_text()
    assert len(text.splitlines()) == 5
    assert "sk-0123456789abcdef" not in text
    assert "[key]?" in text
    assert text.count("is wrong") == 1, "in the plan's failure, not in the exchange"
    assert "127.0.0.1" not in text
    assert stat.S_IMODE(recording.stat().st_mode) == 0o600


@pytest.mark.asyncio
async def test_each_recorded_plan_has_exchanges_of_its_own(tmp_path: Path) -> None:
    async with open_house(tmp_path, model_record_file=tmp_path / "run.jsonl") as house:
        house.answers(LOOK)
        plans = [await house.planner().create_plan(asking("look")) for _ in range(2)]
    assert not any(plan.generation.cached for plan in plans)
    assert len(house.model.requests) == 2
    assert [len(record.exchanges) for record in RecordedRun(tmp_path / "run.jsonl").records] == [1, 1]


@pytest.mark.asyncio
async def test_identical_requests_at_once_are_recorded_with_one_exchange(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    gate = asyncio.Event()
    async with open_house(tmp_path, model_record_file=recording) as house:
        house.model.script(says(draft(LOOK), gate=gate))
        calls = [
            asyncio.create_task(house.planner(name).create_plan(asking("look"))) for name in ("alice", "bob", "carol")
        ]
        await house.model.until(lambda: house.model.in_flight == 1)
        await until(lambda: _misses(house) == 3)
        gate.set()
        await asyncio.gather(*calls)
        assert len(house.model.requests) == 1
        catalogue, policy = house.catalogue_file, house.policy_file
    plans = await replayed(recording, catalogue, policy)
    assert sorted(each.record.requester for each in plans) == ["alice", "bob", "carol"]
    assert [each.differences for each in plans] == [()] * 3


def _misses(house: PlannerHouse) -> float:
    """How many requests have looked for a kept answer: after that they wait for the model."""
    samples = house.planners[0]._metrics._cache.collect()[0].samples
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


@pytest.mark.asyncio
async def test_another_policy_shows_what_it_would_have_decided(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    async with open_house(tmp_path, model_record_file=recording) as house:
        await record_a_run(house)
    stricter = tmp_path / "stricter.yaml"
    stricter.write_text(POLICY.replace("> 1000", "> 10"))
    files = {"PLANGATE_CATALOGUE_FILE": str(tmp_path / "catalogue.yaml"), "PLANGATE_POLICY_FILE": str(stricter)}
    same, shown, told = await asyncio.gather(
        command(str(recording), "--policy", str(tmp_path / "policy.yaml"), **files),
        command(str(recording), **files),
        command(str(recording), "--json", **files),
    )
    assert (same.status, same.stderr) == (0, "")
    assert same.stdout.endswith("5 plans, 5 as recorded, 0 different\n")
    assert "note:" not in same.stdout
    assert "job_1  read_status" in same.stdout
    assert "allow  catalogue:read_status" in same.stdout
    assert (shown.status, shown.stderr) == (1, "")
    assert shown.stdout.startswith("note: 5 of 5 plans were recorded under the policy ")
    assert "DIFFERS job_1 decision.effect: require_approval was recorded, now deny\n" in shown.stdout
    assert shown.stdout.endswith("5 plans, 4 as recorded, 1 different\n")
    document = json.loads(told.stdout)
    assert (told.status, document["different"]) == (1, 1)
    assert document["catalogue_digest"] == document["plans"][0]["recorded_catalogue_digest"]
    assert document["policy_digest"] != document["plans"][0]["recorded_policy_digest"]
    assert {"job": "job_1", "path": "decision.effect", "old": "require_approval", "new": "deny"} in (
        document["plans"][1]["differences"]
    )


@pytest.mark.asyncio
async def test_another_catalogue_is_said_and_shows_what_no_longer_passes(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    async with open_house(tmp_path, model_record_file=recording) as house:
        await record_a_run(house)
    other = tmp_path / "other.yaml"
    other.write_text(CATALOGUE.replace("refund_order", "repay_order"))
    policy = tmp_path / "other-policy.yaml"
    policy.write_text(POLICY.replace("refund_order", "repay_order"))
    plans = await replayed(recording, other, policy)
    refund = plans[1]
    assert [(each.job, each.path) for each in refund.differences] == [("", "failure"), ("job_1", "")]
    assert refund.differences[1].new is None
    assert refund.notes[0].startswith("the request to the model differs from the recorded one")
    assert plans[2].differences == ()


@pytest.mark.asyncio
async def test_what_was_never_answered_is_no_difference(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    async with open_house(tmp_path, model_record_file=recording) as house:
        await house.model.stop()
        with pytest.raises(PlangateError):
            await house.planner().create_plan(asking("look", max_attempts=1))
    [away] = await replayed(recording, tmp_path / "catalogue.yaml", tmp_path / "policy.yaml")
    assert away.differences == ()
    assert away.notes == ("not comparable: no reply was recorded for its last attempt",)


@pytest.mark.asyncio
async def test_a_committed_run_is_made_again_to_the_byte() -> None:
    """If plans are meant to differ from now on: `python -m tests.support.recorded_run` records it anew."""
    plans = await replayed(COMMITTED / "recording.jsonl", COMMITTED / "catalogue.yaml", COMMITTED / "policy.yaml")
    assert [each.differences for each in plans] == [()] * 5
    for each in plans:
        assert rfc8785.dumps(each.plan) == rfc8785.dumps(each.record.plan)


def damaged(change: Mapping[str, Any] | None = None, line: int = 1) -> str:
    lines = (COMMITTED / "recording.jsonl").read_text().splitlines()
    entry = json.loads(lines[line])
    lines[line] = json.dumps({**entry, **(change or {})})
    return "\n".join(lines) + "\n"


WHOLE = damaged()
BAD: list[tuple[str, str]] = [
    ("", "not a recording"),
    ("hello\n", "not a recording"),
    ('{"format": "plangate-recording", "version": 7}\n', "of version 7"),
    ('{"format": "plangate-recording", "version": 1}\n', "there is no plan in it"),
    (WHOLE[:-20], ":13: cut off"),
    (WHOLE.replace('"kind": "plan"', '"kind": "pl\nan"', 1), ": not JSON"),
    (damaged({"kind": "other"}), ":2: neither an exchange nor a plan"),
    (damaged({"status": "200"}), ":2: not an exchange"),
    (damaged({"models": []}, 3), ":4: not a plan as it was written: models"),
    (damaged({"plan": None}, 3), ":4: not a plan as it was written: a plan or a failure is wanted"),
    (damaged({"exchanges": ["0" * 32]}, 3), ":4: the recording lacks the exchange 0000"),
    ("[" * 100_000 + "\n", "not a recording"),
]


@pytest.mark.parametrize(("text", "words"), BAD, ids=[words for _, words in BAD])
def test_a_file_that_cannot_be_replayed_says_why(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(text)
    with pytest.raises(RecordingInvalid) as caught:
        RecordedRun(file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.asyncio
async def test_the_command_says_what_it_cannot_use(tmp_path: Path) -> None:
    catalogue = str(COMMITTED / "catalogue.yaml")
    none, foreign, no_catalogue, usage = await asyncio.gather(
        command(str(tmp_path / "none.jsonl"), PLANGATE_CATALOGUE_FILE=catalogue),
        command(str(COMMITTED / "policy.yaml"), PLANGATE_CATALOGUE_FILE=catalogue),
        command(str(COMMITTED / "recording.jsonl")),
        command(),
    )
    assert [each.status for each in (none, foreign, no_catalogue, usage)] == [2, 2, 2, 2]
    assert none.stderr == f"plangate replay: {tmp_path}/none.jsonl: No such file or directory\n"
    assert "not a recording" in foreign.stderr
    assert "PLANGATE_CATALOGUE_FILE" in no_catalogue.stderr
    assert usage.stderr.startswith("usage: plangate replay ")


@pytest.mark.asyncio
async def test_a_planner_does_not_append_to_what_is_no_recording(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Alice,\n")
    with pytest.raises(PlannerRefused, match="not a recording"):
        async with open_house(tmp_path, model_record_file=letter):
            pass
    assert letter.read_text() == "Dear Alice,\n"


def test_what_forbids_keeping_replies_forbids_recording() -> None:
    for setting in ("redact", "drop"):
        with pytest.raises(ValueError, match=f"PLANGATE_RAW_REPLIES={setting} forbids"):
            PlannerSettings(model_record_file=Path("run.jsonl"), raw_replies=setting)  # type: ignore[arg-type]


@pytest.mark.asyncio
async def test_a_planner_answers_from_a_recording(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    async with open_house(tmp_path, model_record_file=recording) as house:
        house.answers(LOOK)
        await house.planner().create_plan(asking("look"))
        await house.model.stop()
        await house.add_planner(model_replay_file=recording)
        plan = await house.planner(number=1).create_plan(asking("look"))
        assert plan.jobs[0].action_name == "read_status"
        with pytest.raises(PlangateError) as caught:
            await house.planner(number=1).create_plan(asking("something else", max_attempts=1))
        assert (caught.value.code, caught.value.message) == (
            grpc.StatusCode.UNAVAILABLE,
            "the recording has no reply to this request",
        )
