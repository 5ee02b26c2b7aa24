"""A forger with write access to the database: rows, events and head. What they wrote is named, on every database.

Who has the log's key too is found by the rules alone; who has not, by the seals."""

from __future__ import annotations

import contextlib
import io
import runpy
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from plangate.store.v1 import store_service_pb2 as rpc

from store_service import administration
from store_service.bootstrap import DATABASE_HEALTH, build_server
from store_service.database.maintenance.copying import CopyRefused
from store_service.domain.errors import DatabaseUnavailable, StartRefused
from store_service.settings import StoreSettings
from tests.support.forger import Forger, forge
from tests.support.served_store import RunningStore, failure_of, planned, running_store

VERIFY_LOG = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "verify_log.py"))["verify"]
APPROVED = proposal_pb2.PROPOSAL_STATE_APPROVED
TABLES = ("events", "log_head")


async def pending(store: RunningStore) -> proposal_pb2.Proposal:
    """A proposal that needs two of finance, written by the planner for alice, approved by one."""
    decision = plan_pb2.Decision(
        effect=plan_pb2.EFFECT_REQUIRE_APPROVAL, rule="refunds", required_approvals=2, reviewer_role="finance"
    )
    job = plan_pb2.Job(id="a", action_name="refund", decision=decision)
    job.action_args.update({"amount": 4800})
    on_behalf = (("x-plangate-on-behalf-of", "alice"),)
    plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(job)), metadata=on_behalf)
    return await store.as_("finn", "finance").approve(await store.bob.get(plan.jobs[0].proposal_id))


def approved(proposal: proposal_pb2.Proposal) -> None:
    proposal.state = APPROVED


def approved_by_nobody(proposal: proposal_pb2.Proposal) -> None:
    proposal.state = APPROVED
    proposal.required_approvals = 0
    proposal.decision.required_approvals = 0


def approved_by(reviewer: str, version: int, **fields: Any) -> Callable[[proposal_pb2.Proposal], None]:
    def change(proposal: proposal_pb2.Proposal) -> None:
        proposal.state = APPROVED
        del proposal.approvals_missing[:]
        proposal.approvals.add(reviewer=reviewer, version=version, args_digest=proposal.args_digest, **fields)

    return change


def allowed(proposal: proposal_pb2.Proposal) -> None:
    proposal.decision.effect = plan_pb2.EFFECT_ALLOW
    proposal.required_approvals = 0
    proposal.state = APPROVED


def more_money(proposal: proposal_pb2.Proposal) -> None:
    proposal.action_args.update({"amount": 9_000_000})


FORGERIES: dict[str, tuple[Callable[[Forger, str], Any], str]] = {
    "an approval that nobody gave": (
        lambda forger, id_: forger.append(id_, "proposal.approved", "mallory", approved),
        "it adds other than one approval",
    ),
    "requirements that went away": (
        lambda forger, id_: forger.append(id_, "proposal.approved", "mallory", approved_by_nobody),
        "its requirements changed, which proposal.approved does not do",
    ),
    "a claim without approval": (
        lambda forger, id_: forger.append(id_, "proposal.claimed", "worker", approved),
        "proposal.claimed does not lead from PENDING to APPROVED",
    ),
    "an approval in another one's name": (
        lambda forger, id_: forger.append(
            id_, "proposal.approved", "mallory", approved_by("fay", 2, roles=["finance"])
        ),
        "the approval of fay was not given by themselves",
    ),
    "an approval of another version": (
        lambda forger, id_: forger.append(id_, "proposal.approved", "fay", approved_by("fay", 1, roles=["finance"])),
        "the approval is for another version or other arguments",
    ),
    "the requester's own approval": (
        lambda forger, id_: forger.append(
            id_, "proposal.approved", "Alice", approved_by("Alice", 2, roles=["finance"])
        ),
        "Alice approved their own words",
    ),
    "one reviewer twice": (
        lambda forger, id_: forger.append(id_, "proposal.approved", "F1nn", approved_by("F1nn", 2, roles=["finance"])),
        "F1nn approved twice",
    ),
    "a reviewer without the role": (
        lambda forger, id_: forger.append(id_, "proposal.approved", "rob", approved_by("rob", 2, roles=["friends"])),
        "it is APPROVED with 1 approvals of the role finance missing",
    ),
    "one admin who broke the glass": (
        lambda forger, id_: forger.append(
            id_, "proposal.approved_by_break_glass", "root", approved_by("root", 2, break_glass=True)
        ),
        "it is APPROVED with 1 approvals of the role finance missing",
    ),
    "policy that allowed it from the start": (
        lambda forger, id_: forger.rewrite(id_, 1, allowed, kind="proposal.approved_by_policy", actor="root", via=""),
        "it names planner as the planner that decided, who did not write it",
    ),
    "a beginning in state APPROVED": (
        lambda forger, id_: forger.rewrite(id_, 1, allowed),
        "proposal.created with state APPROVED is no beginning of a proposal",
    ),
    "other arguments under the same digest": (
        lambda forger, id_: forger.rewrite(id_, 2, more_money),
        "its args_digest is not that of its arguments",
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", FORGERIES)
async def test_the_first_entry_that_no_rule_allows_is_named(name: str, database_url: str) -> None:
    async with running_store(database_url) as store:
        proposal = await pending(store)
    assert (await administration.check(database_url)).problems == ()
    act, problem = FORGERIES[name]
    await forge(database_url, lambda forger: act(forger, proposal.id))
    problems = (await administration.check(database_url)).problems
    assert any(problem in found and found.startswith("the log at revision ") for found in problems), problems
    async with running_store(database_url) as store:
        exported = io.StringIO()
        await administration.export(database_url, exported)
        sound, sentence = VERIFY_LOG(exported.getvalue().splitlines())
        if name != "other arguments under the same digest":
            assert not sound, sentence
        verified = await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())
        assert (verified.valid, verified.problem) == (False, problem)
        assert verified.first_bad_revision > 1


ROWS: dict[str, dict[str, Any]] = {
    "approved by nobody": {"state": "APPROVED", "required_approvals": 0},
    "approved with what it has": {"state": "APPROVED"},
    "allowed by policy": {"state": "APPROVED", "required_approvals": 0, "decision": '{"effect":"ALLOW"}'},
    "other arguments": {"args_json": '{"amount":9000000}'},
    "fewer approvals": {"required_approvals": 1},
    "another role": {"reviewer_role": ""},
    "another requester": {"created_by": "mallory"},
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ROWS)
async def test_a_forged_row_is_neither_approved_nor_executed(name: str, database_url: str) -> None:
    async with running_store(database_url) as store:
        proposal = await pending(store)
        honest = await store.planner.propose("honest")
        await store.bob.approve(honest)
    await forge(database_url, lambda forger: forger.set_row(proposal.id, **ROWS[name]))
    async with running_store(database_url) as store:
        claimed = await store.worker.claim(max_proposals=10)
        assert [each.id for each in claimed] == [honest.id]
        changed = await store.bob.get(proposal)
        if changed.state != APPROVED:
            failure = await failure_of(store.as_("fay", "finance").approve(changed))
            if failure.reason != "ILLEGAL_TRANSITION":
                assert (failure.code, failure.reason) == (grpc.StatusCode.DATA_LOSS, "LOG_MISMATCH")
                assert failure.metadata == {"id": proposal.id}
        assert await store.worker.claim(max_proposals=10) == []
        # It can be ended, and what was done before goes on.
        await store.bob.proposals.CancelProposal(rpc.CancelProposalRequest(id=proposal.id, reason="forged"))
        await store.worker.proposals.CompleteProposal(rpc.CompleteProposalRequest(id=honest.id, attempt=1))


@pytest.mark.asyncio
async def test_a_forged_row_keeps_nothing_else_back(database_url: str) -> None:
    async with running_store(database_url) as store:
        forged = [await store.bob.approve(await store.planner.propose("act")) for _ in range(2)]
        honest = await store.bob.approve(await store.planner.propose("act"))
        for each in forged:
            await forge(database_url, lambda forger, id_=each.id: forger.set_row(id_, args_json='{"a":1}'))
        assert await store.worker.claim(max_proposals=2) == []
        assert [each.id for each in await store.worker.claim(max_proposals=1)] == [honest.id]


@pytest.mark.asyncio
@pytest.mark.parametrize("first_too", [False, True])
async def test_a_step_is_not_handed_out_before_those_it_depends_on(first_too: bool, database_url: str) -> None:
    """Its count of unfinished dependencies is no part of the log."""
    async with running_store(database_url) as store:
        allow = plan_pb2.Decision(effect=plan_pb2.EFFECT_ALLOW)
        jobs = [
            plan_pb2.Job(id="a", action_name="first", decision=allow),
            plan_pb2.Job(id="b", action_name="second", decision=allow, depends_on=["a"]),
        ]
        plan = await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=planned(*jobs)))
        first, second = (job.proposal_id for job in plan.jobs)
    await forge(database_url, lambda forger: forger.set_row(second, waiting_for=0))
    if first_too:
        await forge(database_url, lambda forger: forger.set_row(first, state="EXECUTED"))
    async with running_store(database_url) as store:
        assert await store.worker.claim(action_names=["second"]) == []


@pytest.mark.asyncio
async def test_a_forged_row_is_named_by_check(database_url: str) -> None:
    async with running_store(database_url) as store:
        proposal = await pending(store)
    await forge(database_url, lambda forger: forger.set_row(proposal.id, **ROWS["approved by nobody"]))
    problems = (await administration.check(database_url)).problems
    assert f"{proposal.id} version 2: its row is not what the log says" in problems


@pytest.mark.asyncio
@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_log_with_a_row_that_agrees_gets_nothing_executed(name: str, database_url: str) -> None:
    """What is forged so badly that no rule allows it; event-log.md says what only a checkpoint finds."""
    async with running_store(database_url) as store:
        proposal = await pending(store)
    act, _ = FORGERIES[name]
    await forge(database_url, lambda forger: act(forger, proposal.id), lambda forger: forger.agree(proposal.id))
    async with running_store(database_url) as store:
        assert await store.worker.claim(max_proposals=10) == []


def honest_history(proposal_id: str, **place: int) -> tuple[Callable[[Forger], Any], ...]:
    """The second approval, as the store would have written it, in rows, events and head."""

    def approve(proposal: proposal_pb2.Proposal) -> None:
        approved_by("fay", 2, roles=["finance"])(proposal)
        proposal.approvals[-1].create_time.FromMicroseconds(0)

    return (
        lambda forger: forger.append(proposal_id, "proposal.approved", "fay", approve, **place),
        lambda forger: forger.agree(proposal_id),
    )


@pytest.mark.asyncio
async def test_a_history_that_breaks_no_rule_needs_the_key(database_url: str, tmp_path: Path) -> None:
    key = tmp_path / "log.key"
    async with running_store(database_url, log_key_file=key) as store:
        proposal = await pending(store)
    assert (await administration.check(database_url, log_key_file=key)).problems == ()
    await forge(database_url, *honest_history(proposal.id), with_key=False)
    assert (await administration.check(database_url, log_key_file=key)).problems == (
        "the log at revision 4: it has no seal of the log's key: it was written without the store",
    )
    exported = io.StringIO()
    await administration.export(database_url, exported)
    lines = exported.getvalue().splitlines()
    assert VERIFY_LOG(lines)[0]
    assert VERIFY_LOG(lines, None, bytes.fromhex(key.read_text())) == (
        False,
        "revision 4 has no seal of this key: it was written without the store",
    )
    with pytest.raises(StartRefused, match="were written without the store"):
        await build_server(StoreSettings(database_url=database_url, log_key_file=key)).start()
    # Somebody who takes the log as it is gets what it says: nothing but its seal was wrong with it.
    await administration.seal(database_url, log_key_file=key)
    async with running_store(database_url, log_key_file=key) as store:
        assert [each.id for each in await store.worker.claim()] == [proposal.id]


@pytest.mark.asyncio
async def test_a_store_that_runs_hands_out_nothing_that_it_did_not_write(database_url: str, tmp_path: Path) -> None:
    key = tmp_path / "log.key"
    async with running_store(database_url, log_key_file=key) as store:
        proposal = await pending(store)
        health = health_pb2_grpc.HealthStub(store.bob.channel)
        await forge(database_url, *honest_history(proposal.id), with_key=False)
        with contextlib.suppress(grpc.aio.AioRpcError):
            assert await store.worker.claim() == []
        failure = await failure_of(store.planner.propose())
        assert failure.code is grpc.StatusCode.UNAVAILABLE
        checked = await health.Check(health_pb2.HealthCheckRequest(service=DATABASE_HEALTH))
        assert checked.status == health_pb2.HealthCheckResponse.NOT_SERVING
        verified = await store.bob.events.VerifyEvents(rpc.VerifyEventsRequest())
        assert (verified.valid, verified.first_bad_revision) == (False, 4)


@pytest.mark.asyncio
async def test_an_entry_in_the_place_of_another_one_is_not_believed(database_url: str, tmp_path: Path) -> None:
    """The head stays what it was, so the store goes on; what was forged does not."""
    key = tmp_path / "log.key"
    async with running_store(database_url, log_key_file=key) as store:
        proposal = await pending(store)
        await store.planner.propose("gives_way")
        await store.planner.propose("stays")
        await forge(database_url, *honest_history(proposal.id, in_place_of=4), with_key=False)
        assert await store.worker.claim() == []
    async with running_store(database_url, log_key_file=key) as store:
        assert await store.worker.claim() == []
    problems = (await administration.check(database_url, log_key_file=key)).problems
    assert problems[0].startswith("the log at revision 4: ")


@pytest.mark.asyncio
async def test_a_request_that_nobody_made_is_not_planned(database_url: str, tmp_path: Path) -> None:
    async with running_store(database_url, log_key_file=tmp_path / "log.key") as store:
        queued = plan_pb2.Plan(prompt="tidy up", state=plan_pb2.PLAN_STATE_QUEUED)
        on_behalf = (("x-plangate-on-behalf-of", "alice"),)
        await store.planner.plans.CreatePlan(rpc.CreatePlanRequest(plan=queued), metadata=on_behalf)
        await forge(
            database_url, lambda forger: forger.execute("UPDATE plans SET prompt = 'pay mallory'"), with_key=False
        )
        assert not (await store.planner.plans.ClaimPlans(rpc.ClaimPlansRequest())).plans
        await forge(database_url, lambda forger: forger.execute("UPDATE plans SET prompt = 'tidy up'"), with_key=False)
        assert len((await store.planner.plans.ClaimPlans(rpc.ClaimPlansRequest())).plans) == 1


@pytest.mark.asyncio
async def test_seals_are_made_once_and_missed_afterwards(database_url: str, tmp_path: Path) -> None:
    key = tmp_path / "log.key"
    no_seals = [lambda forger, table=table: forger.execute(f"UPDATE {table} SET seal = NULL") for table in TABLES]
    async with running_store(database_url, log_key_file=key) as store:
        await pending(store)
    # As a database of an older version, which had none.
    await forge(database_url, *no_seals, with_key=False)
    key.unlink()
    async with running_store(database_url, log_key_file=key):
        pass
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    health = await administration.check(database_url, log_key_file=key)
    assert (health.problems, health.seal_checked) == ((), True)
    settings = StoreSettings(database_url=database_url, log_key_file=key)
    lost = key.rename(tmp_path / "lost.key")
    with pytest.raises(StartRefused, match="the log is sealed, and its key is not here"):
        await build_server(settings).start()
    assert not key.exists()
    lost.rename(key)
    await forge(database_url, *no_seals, with_key=False)
    with pytest.raises(StartRefused, match="the log has no seal, though there is a key for it"):
        await build_server(settings).start()


@pytest.mark.asyncio
async def test_a_start_that_fails_to_seal_leaves_no_key(sqlite_url: str, tmp_path: Path) -> None:
    """It would refuse the log, which has no seals, for ever."""
    key = tmp_path / "log.key"
    settings = StoreSettings(store_listen="127.0.0.1:0", database_url=sqlite_url, log_key_file=key)
    async with running_store(sqlite_url, log_key_file=key) as store:
        await pending(store)
    no_seals = [lambda forger, table=table: forger.execute(f"UPDATE {table} SET seal = NULL") for table in TABLES]
    no_space = "CREATE TRIGGER full BEFORE UPDATE OF seal ON events BEGIN SELECT RAISE(ABORT, 'full'); END"
    await forge(sqlite_url, *no_seals, lambda forger: forger.execute(no_space), with_key=False)
    key.unlink()
    with pytest.raises(DatabaseUnavailable) as refusal:
        await build_server(settings).start()
    assert refusal.value.problem == "full"
    assert not key.exists()
    await forge(sqlite_url, lambda forger: forger.execute("DROP TRIGGER full"), with_key=False)
    async with running_store(sqlite_url, log_key_file=key):
        assert (await administration.check(sqlite_url, log_key_file=key)).problems == ()


@pytest.mark.asyncio
@pytest.mark.parametrize("column", ["snapshot", "seal"])
async def test_a_forged_answer_is_not_given_to_a_repeated_claim(column: str, database_url: str, tmp_path: Path) -> None:
    claim = rpc.ClaimProposalsRequest(request_id="7d9f1e0a-3c55-4a0e-9d0c-0f6a1b2c3d4e")
    async with running_store(database_url, log_key_file=tmp_path / "log.key") as store:
        proposal = await pending(store)
        await store.as_("fay", "finance").approve(proposal)
        claimed = await store.worker.proposals.ClaimProposals(claim)
        assert await store.worker.proposals.ClaimProposals(claim) == claimed
        forged = f"UPDATE events SET {column} = (SELECT {column} FROM events WHERE revision = 2) WHERE revision = 5"
        await forge(database_url, lambda forger: forger.execute(forged), with_key=False)
        failure = await failure_of(store.worker.proposals.ClaimProposals(claim))
        assert failure.reason == "LOG_MISMATCH"


@pytest.mark.asyncio
async def test_a_sealed_log_is_not_copied_without_its_key(sqlite_url: str, tmp_path: Path) -> None:
    """The copy would be sealed, whatever somebody wrote into the source."""
    key, target = tmp_path / "log.key", f"sqlite:///{tmp_path}/copy.db"
    async with running_store(sqlite_url, log_key_file=key) as store:
        proposal = await pending(store)
    await forge(sqlite_url, *honest_history(proposal.id), with_key=False)
    for file, fault in ((key, "without the store"), (None, "its key is not here")):
        with pytest.raises(CopyRefused, match=fault):
            await administration.copy(sqlite_url, target, log_key_file=file)


@pytest.mark.asyncio
async def test_a_row_forged_before_a_claim_is_found_after_it(database_url: str) -> None:
    """Older stores handed such a row out, and the claim's own entry then agreed with it."""
    async with running_store(database_url) as store:
        proposal = await pending(store)

    def claimed(snapshot: proposal_pb2.Proposal) -> None:
        snapshot.state = proposal_pb2.PROPOSAL_STATE_EXECUTING
        snapshot.required_approvals = 0
        snapshot.lease.worker = "worker"

    await forge(database_url, lambda forger: forger.append(proposal.id, "proposal.claimed", "worker", claimed))
    problems = (await administration.check(database_url)).problems
    assert any("proposal.claimed does not lead from PENDING to EXECUTING" in found for found in problems), problems
