"""Reloading catalogue and policy, and trying a policy on what was planned."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2

from plangate_client.client import PlannerClient
from plangate_client.errors import InvalidField, Overloaded, RoleMissing
from plangate_core.catalogue.catalogue import parse_catalogue
from plangate_core.process.tasks import stop_task
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from planner_service.bootstrap import POLICY_HEALTH, PlannerRefused, PlannerServer
from planner_service.errors import TooMany
from planner_service.governance.files import ChangeDebouncer, GovernanceFiles
from planner_service.plan import PastPlan
from planner_service.planning.policy_simulation import Simulations
from planner_service.settings import PlannerSettings
from tests.support.model_server import says
from tests.support.planner_house import CATALOGUE, PlannerHouse, asking, draft, job, open_house
from tests.support.polling import until

LOOK = ("read_status", {"service": "web"})
FROZEN = "version: 1\nrules: [{name: frozen, effect: deny, reason: code freeze}]"


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[PlannerHouse]:
    async with open_house(tmp_path) as house:
        house.answers(LOOK)
        yield house


async def policy_health(house: PlannerHouse) -> int:
    async with open_channel(house.planners[0].grpc.address, ChannelSettings()) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=POLICY_HEALTH))
    return int(answer.status)


async def policy_health_becomes(house: PlannerHouse, status: int) -> None:
    async with asyncio.timeout(5):
        while await policy_health(house) != status:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.01)


def replaced(path: Path, text: str) -> None:
    """Written beside and moved over, as an orchestrator does."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, path)


def test_a_file_is_let_be_while_somebody_writes_it() -> None:
    old, half, more, whole = (((number, number, 1),) for number in range(4))
    debouncer = ChangeDebouncer(old)
    assert not debouncer.changed(old, old)
    assert not debouncer.waiting
    for written in (half, more, whole):
        assert not debouncer.changed(written, old)
        assert debouncer.waiting
    assert debouncer.changed(whole, old)
    assert not debouncer.waiting
    assert not debouncer.changed(whole, whole)
    # Written and taken back meanwhile.
    assert not debouncer.changed(half, whole)
    assert not debouncer.changed(whole, whole)


@pytest.mark.asyncio
async def test_a_file_that_can_be_read_at_last_is_looked_at_again(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(CATALOGUE)
    heard: list[bool] = []
    watching = asyncio.create_task(GovernanceFiles(catalogue, None).watch(0.01, heard.append))
    try:
        # Root may read anything: what counts is that a change of the mode alone is seen.
        catalogue.chmod(0o640)
        await until(lambda: heard == [True])
    finally:
        await stop_task(watching)


@pytest.mark.asyncio
async def test_a_directory_that_is_swapped_while_it_is_read_gives_no_pair_of_both(tmp_path: Path) -> None:
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        # Long enough to read that the swap comes between the two files.
        actions = "".join(f"  - {{name: {version}_{number}, description: Do it.}}\n" for number in range(1_000))
        (tmp_path / version / "catalogue.yaml").write_text(f"version: 1\nactions:\n{actions}")
        (tmp_path / version / "policy.yaml").write_text(f"version: 1\nrules: [{{name: {version}, effect: deny}}]")
    now = tmp_path / "now"
    now.symlink_to("old")
    files = GovernanceFiles(now / "catalogue.yaml", now / "policy.yaml")
    for version in ("new", "old", "new"):
        reading = asyncio.create_task(asyncio.to_thread(files.reload))
        await asyncio.sleep(0.05)
        beside = tmp_path / "beside"
        beside.symlink_to(version)
        beside.rename(now)
        assert await reading
        in_force = files.current
        assert in_force.catalogue.actions[0].name == f"{in_force.policy.rules[0].name}_0"


@pytest.mark.asyncio
async def test_a_changed_policy_is_in_force_without_restart(house: PlannerHouse) -> None:
    planner = house.planner()
    before = await planner.create_plan(asking("look"))
    replaced(house.policy_file, FROZEN)
    await until(lambda: bool(house.planners[0].governance.current.policy.rules[0].name == "frozen"))
    after = await planner.create_plan(asking("look"))
    assert before.jobs[0].decision.effect == plan_pb2.EFFECT_ALLOW
    assert (after.jobs[0].decision.effect, after.jobs[0].decision.reason) == (plan_pb2.EFFECT_DENY, "code freeze")
    assert before.generation.policy_digest != after.generation.policy_digest
    assert before.generation.catalogue_digest == after.generation.catalogue_digest


@pytest.mark.asyncio
async def test_a_changed_catalogue_is_in_force_without_restart(house: PlannerHouse) -> None:
    replaced(house.catalogue_file, CATALOGUE.replace("read_status", "read_state"))
    await until(lambda: house.planners[0].governance.current.catalogue.find("read_state") is not None)
    assert "read_state" in [action.name for action in await house.planner().list_actions()]
    house.answers(("read_state", {"service": "web"}))
    plan = await house.planner().create_plan(asking("look"))
    assert plan.jobs[0].decision.rule == "catalogue:read_state"


@pytest.mark.asyncio
async def test_a_bad_file_keeps_what_was_in_force_and_says_so(house: PlannerHouse) -> None:
    governance = house.planners[0].governance
    in_force = governance.current
    assert await policy_health(house) == health_pb2.HealthCheckResponse.SERVING
    good = house.policy_file.read_text()
    replaced(house.policy_file, "version: 1\nrules: [{name: x, effect: alow}]")
    # A good catalogue does not slip in beside a bad policy: both or none.
    replaced(house.catalogue_file, CATALOGUE.replace("read_status", "read_state"))
    await policy_health_becomes(house, health_pb2.HealthCheckResponse.NOT_SERVING)
    assert governance.current is in_force
    assert governance.fault.startswith(f"{house.policy_file}:2:27: rules.0.effect")
    plan = await house.planner().create_plan(asking("look"))
    assert plan.generation.policy_digest == in_force.policy.digest
    replaced(house.policy_file, good)
    await policy_health_becomes(house, health_pb2.HealthCheckResponse.SERVING)
    assert governance.fault == ""
    assert governance.current.catalogue.find("read_state") is not None


@pytest.mark.asyncio
async def test_calls_go_on_while_a_large_policy_is_read_by_command(tmp_path: Path) -> None:
    condition = " && ".join(f"args.a{n} == {n}" for n in range(30))
    rules = "\n".join(f"- {{name: r{n}, effect: allow, when: '{condition}'}}" for n in range(400))
    async with open_house(tmp_path, reload_poll_seconds=3_600.0) as house:
        governance, planner = house.planners[0].governance, house.planner()
        replaced(house.policy_file, f"version: 1\nrules:\n{rules}")
        house.planners[0].reload()
        answered_meanwhile = 0
        async with asyncio.timeout(20):
            while len(governance.current.policy.rules) != 400:
                await planner.list_actions()
                answered_meanwhile += 1
        assert answered_meanwhile > 3


@pytest.mark.asyncio
async def test_a_default_that_does_not_fit_is_warned_of_and_not_filled_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_house(tmp_path, catalogue=CATALOGUE.replace("default: 1", "default: many")) as house:
        assert "this default is not used" in capsys.readouterr().out
        house.answers(LOOK)
        plan = await house.planner().create_plan(asking("look"))
        assert plan.jobs[0].action_args == {"service": "web"}
        [look] = [each for each in await house.planner().list_actions() if each.name == "read_status"]
        assert "default" not in look.parameters["properties"]["depth"]
        assert house.planners[0].governance.reload()
        assert "this default is not used" in capsys.readouterr().out


@pytest.mark.asyncio
async def test_a_plan_under_way_keeps_the_rules_it_began_with(house: PlannerHouse) -> None:
    gate = asyncio.Event()
    house.model.script(says(draft(LOOK), gate=gate))
    call = asyncio.create_task(house.planner().create_plan(asking("look")))
    await house.model.until(lambda: house.model.in_flight == 1)
    began_with = house.planners[0].governance.current
    replaced(house.policy_file, FROZEN)
    await until(lambda: house.planners[0].governance.current is not began_with)
    gate.set()
    plan = await call
    assert plan.generation.policy_digest == began_with.policy.digest
    assert plan.jobs[0].decision.effect == plan_pb2.EFFECT_ALLOW


@pytest.mark.asyncio
async def test_a_policy_is_tried_on_what_was_planned(house: PlannerHouse) -> None:
    alice = house.planner("alice")
    first = await alice.submit_plan("one", [job("read_status", service="web"), job("restart_service", service="web")])
    await house.planner("bob").submit_plan("two", [job("refund_order", order="A-1", amount=5)], labels={"team": "ops"})
    await alice.submit_plan("three", [job("drop_database", name="orders")])
    candidate = """
version: 1
resolution: first_match
rules:
  - {name: bobs, match: {requester: bob, labels: {team: ops}}, effect: allow}
  - {name: reads, match: {risk: low}, effect: allow, reason: another reason}
  - {name: drops, match: {action: "drop_*"}, effect: require_approval, approvals: 3, expires_in: 1h}
  - {name: rest, effect: require_approval, approvals: 2, role: sre}
"""
    simulated = await alice.simulate_policy(planner_pb2.SimulatePolicyRequest(policy_yaml=candidate))
    assert (simulated.jobs_evaluated, simulated.jobs_different) == (4, 2)
    refund, drop = simulated.differences
    assert (refund.action_name, refund.actual.effect) == ("refund_order", plan_pb2.EFFECT_REQUIRE_APPROVAL)
    assert (refund.candidate.effect, refund.candidate.rule) == (plan_pb2.EFFECT_ALLOW, "bobs")
    assert (drop.actual.effect, drop.candidate.required_approvals) == (plan_pb2.EFFECT_DENY, 3)
    assert len(simulated.policy_digest) == 64

    few = await alice.simulate_policy(planner_pb2.SimulatePolicyRequest(policy_yaml=candidate, max_differences=1))
    assert (few.jobs_different, len(few.differences)) == (2, 1)
    later = Timestamp(seconds=first.create_time.seconds, nanos=first.create_time.nanos)
    none = await alice.simulate_policy(planner_pb2.SimulatePolicyRequest(policy_yaml=candidate, end_time=later))
    assert none.jobs_evaluated == 0
    rest = await alice.simulate_policy(planner_pb2.SimulatePolicyRequest(policy_yaml=candidate, start_time=later))
    assert rest.jobs_evaluated == 4
    assert house.planners[0].governance.current.policy.digest != simulated.policy_digest


@pytest.mark.asyncio
async def test_a_candidate_that_is_no_policy_is_refused(house: PlannerHouse) -> None:
    with pytest.raises(InvalidField) as caught:
        await house.planner().simulate_policy(planner_pb2.SimulatePolicyRequest(policy_yaml="version: 2\nrules: []"))
    assert caught.value.metadata["field"] == "policy_yaml"
    assert "1:10" in caught.value.message
    # As a reload would refuse it, and with what it would warn of.
    typo = "version: 1\nrules: [{name: x, match: {action: drop_tabel}, effect: %s}]"
    with pytest.raises(
        InvalidField, match=r"2:35: rules\.0\.match\.action\.0: no action of the catalogue fits 'drop_tabel'"
    ):
        await house.planner().simulate_policy(planner_pb2.SimulatePolicyRequest(policy_yaml=typo % "deny"))
    answer = await house.planner().simulate_policy(planner_pb2.SimulatePolicyRequest(policy_yaml=typo % "allow"))
    assert ["no action of the catalogue fits 'drop_tabel'" in warning for warning in answer.warnings] == [True]


@pytest.mark.asyncio
async def test_policies_tried_at_once_are_bounded(tmp_path: Path) -> None:
    rules = "\n".join(f"- {{name: r{n}, effect: allow, when: 'args.a == {n} || args.b == {n}'}}" for n in range(300))
    request = planner_pb2.SimulatePolicyRequest(policy_yaml=f"version: 1\nrules:\n{rules}")
    async with open_house(tmp_path, max_simulations=1) as house:
        planner = house.planner()
        await planner.submit_plan("Look", [job("read_status", service="web")])
        impatient = asyncio.create_task(planner.simulate_policy(request))
        answers = await asyncio.gather(*(planner.simulate_policy(request) for _ in range(4)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Overloaded)]
        assert refused
        assert refused[0].metadata["limit"] == "1"
        assert refused[0].retry_after_seconds == 5.0
        await asyncio.gather(impatient, return_exceptions=True)
        for _ in range(3):
            assert (await planner.simulate_policy(request)).jobs_evaluated == 1


@pytest.mark.asyncio
async def test_who_gives_up_a_simulation_gives_its_place_back_when_its_policy_is_read() -> None:
    simulations = Simulations(1)
    catalogue = parse_catalogue(CATALOGUE)
    began = asyncio.Event()

    async def endless() -> AsyncIterator[PastPlan]:
        began.set()
        await asyncio.Event().wait()
        yield  # never reached: it makes this a generator

    async def nothing() -> AsyncIterator[PastPlan]:
        return
        yield

    for wait in (False, True):
        began.clear()
        first = asyncio.create_task(simulations.run("version: 1\nrules: []", endless(), catalogue, 1))
        await (began.wait() if wait else asyncio.sleep(0))
        with pytest.raises(TooMany):
            await simulations.run("version: 1\nrules: []", nothing(), catalogue, 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

        async def has_room() -> bool:
            with contextlib.suppress(TooMany):
                _, simulation = await simulations.run("version: 1\nrules: []", nothing(), catalogue, 1)
                return simulation.jobs_evaluated == 0
            return False

        async with asyncio.timeout(5):
            while not await has_room():  # noqa: ASYNC110 - only a thread knows
                await asyncio.sleep(0)


REFUSED: list[tuple[Callable[[Path], dict[str, object]], str]] = [
    (lambda _: {"catalogue_file": None}, "PLANGATE_CATALOGUE_FILE"),
    (lambda here: {"catalogue_file": here / "none.yaml"}, "cannot read the catalogue file"),
    (lambda here: {"policy_file": here / "bad.yaml"}, "bad.yaml:1:1"),
    (lambda _: {"model": "nobody/knows"}, "nobody"),
    (lambda _: {"model": "openai/x", "model_base_url": "", "model_api_key": None}, "OPENAI_API_KEY"),
    (lambda _: {"fallback_models": ("openai",)}, "provider/name"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
@pytest.mark.asyncio
async def test_what_cannot_start_says_why(
    tmp_path: Path, changes: Callable[[Path], dict[str, object]], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "catalogue.yaml").write_text(CATALOGUE)
    (tmp_path / "bad.yaml").write_text("[]")
    settings: dict[str, object] = {
        "planner_listen": "127.0.0.1:0",
        "catalogue_file": tmp_path / "catalogue.yaml",
        "model": "openai/test-model",
        "model_base_url": "http://127.0.0.1:1/v1",
        **changes(tmp_path),
    }

    async def started() -> None:
        await PlannerServer(PlannerSettings(**settings)).start()  # type: ignore[arg-type]

    with pytest.raises(PlannerRefused) as caught:
        await started()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.asyncio
async def test_simulating_needs_a_role(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(
        f"tokens: [{{sha256: {hashlib.sha256(b'secret').hexdigest()}, identity: carol, roles: [executor, sre]}}]"
    )
    async with open_house(tmp_path, auth_tokens_file=tokens) as house:
        channel = open_channel(house.planners[0].grpc.address, ChannelSettings(), token="secret")
        async with PlannerClient(channel) as carol:
            with pytest.raises(RoleMissing):
                await carol.simulate_policy(planner_pb2.SimulatePolicyRequest(policy_yaml="version: 1\nrules: []"))
            plan = await carol.submit_plan("Look", [job("read_status", service="web")])
            assert plan.created_by == "carol"
