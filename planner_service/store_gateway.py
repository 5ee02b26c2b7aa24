"""The store as the planner needs it, on the same client as everybody: deadlines, and what failures mean here.

Repeating calls is the client's business; every write carries a request_id, so that it is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2

from plangate_client.calls import new_request_id
from plangate_client.client import StoreClient
from plangate_client.errors import (
    CommitUnknown,
    DeadlineExceeded,
    IllegalTransition,
    LeaseLost,
    NotFound,
    Overloaded,
    Unavailable,
)
from plangate_client.errors import RequestIdReused as StoreSaysReused
from plangate_core.rpc.identity.caller import Caller
from planner_service.governance.decision import Decision
from planner_service.messages.decoding import (
    claimed_plan_from_proto,
    proposal_from_proto,
    stored_plan_from_proto,
    time_from_proto,
)
from planner_service.messages.encoding import (
    ON_REFUSAL,
    decision_to_proto,
    fact_to_proto,
    json_to_proto,
    plan_to_proto,
    queued_plan_to_proto,
    report_to_proto,
    time_to_proto,
)
from planner_service.planning import errors
from planner_service.planning.plan import ClaimedPlan, Plan, PlanningEnded, PlanRequest, Proposal, StoredPlan
from planner_service.planning.store_port import FirstAnswer, Queueing, Revision

Diagnose = Callable[[], Awaitable[str]]
"""Says why the store cannot be reached, as a clause; empty when that was not found out."""

_LONGEST_CALL_SECONDS = 30.0
_HISTORY_PAGE = 100
_REQUESTERS_REMEMBERED = 256


async def _undiagnosed() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class PastPlan:
    """A plan of the store's history."""

    id: str
    created_by: str
    create_time: datetime
    plan: Plan


class StoreGateway:
    """Calls of one planner to one store."""

    def __init__(self, client: StoreClient, *, planner_identity: str, diagnose: Diagnose = _undiagnosed) -> None:
        """:param diagnose: finds out why the store cannot be reached."""
        self._client = client
        self._diagnose = diagnose
        self._planner_identity = planner_identity
        # Making one takes as long as a call: a stub with all methods for each of its parts.
        self._on_behalf_of = lru_cache(maxsize=_REQUESTERS_REMEMBERED)(client.on_behalf_of)

    async def first_answer(self, request_id: str, requester: str, deadline: float) -> FirstAnswer | None:
        """What a requester stored under a request_id: the plan as its first event shows it. None when nothing was."""
        snapshot = await self._first_snapshot("plan.created", request_id, requester, deadline)
        if snapshot is None:
            return None
        message = plan_pb2.Plan.FromString(snapshot)
        return FirstAnswer(
            stored=StoredPlan(message.id, message.created_by, message),
            plan=stored_plan_from_proto(message),
            queued=message.state == plan_pb2.PLAN_STATE_QUEUED,
            priority=message.priority,
            max_planning_attempts=message.max_attempts,
        )

    async def create_plan(self, plan: Plan, *, requester: str, request_id: str, deadline: float) -> StoredPlan:
        """Store a governed plan and its proposals, in one transaction."""
        return await self._create(plan_to_proto(plan), requester, request_id, deadline)

    async def enqueue_plan(
        self, request: PlanRequest, queue: Queueing, *, requester: str, request_id: str, deadline: float
    ) -> StoredPlan:
        """Store a request for a planner to claim."""
        return await self._create(queued_plan_to_proto(request, queue), requester, request_id, deadline)

    async def _create(self, plan: plan_pb2.Plan, requester: str, request_id: str, deadline: float) -> StoredPlan:
        async with self._translated(request_id):
            stored = await self._for(requester).plans.create(
                plan, request_id=request_id or new_request_id(), timeout_seconds=_seconds_to(deadline)
            )
        return StoredPlan(stored.id, stored.created_by, stored)

    async def get_proposal(self, proposal_id: str, deadline: float) -> Proposal:
        """Return one proposal. Raises the client's ProposalNotFound."""
        async with self._translated():
            return proposal_from_proto(
                await self._client.proposals.get(proposal_id, timeout_seconds=_seconds_to(deadline))
            )

    async def update_proposal(
        self, revision: Revision, decision: Decision | None, *, requester: str, now: datetime, deadline: float
    ) -> Proposal:
        """Store a revision, what policy decided of it, and what that asks of reviewers from now on.

        A revised proposal keeps needing at least one person, also where policy would allow it.
        """
        proposal = proposal_pb2.Proposal(id=revision.proposal_id)
        mask = []
        if decision is not None:
            proposal.decision.CopyFrom(decision_to_proto(decision))
            proposal.required_approvals = max(1, decision.required_approvals)
            proposal.reviewer_role = decision.reviewer_role
            mask = ["decision", "required_approvals", "reviewer_role"]
        if revision.action_args is not None:
            proposal.action_args.CopyFrom(json_to_proto(revision.action_args, "action_args"))
            proposal.facts.extend(map(fact_to_proto, revision.facts))
            mask += ["action_args", "facts"]
        if revision.description is not None:
            proposal.description = revision.description
            mask.append("description")
        if revision.priority is not None:
            proposal.priority = revision.priority
            mask.append("priority")
        if revision.depends_on is not None:
            proposal.depends_on.extend(revision.depends_on)
            mask.append("depends_on")
        if revision.on_refusal is not None:
            proposal.on_refusal = ON_REFUSAL[revision.on_refusal]
            mask.append("on_refusal")
        if revision.assumed is not None:
            proposal.assumed.extend(revision.assumed)
            mask.append("assumed")
        if revision.effect_key is not None:
            proposal.effect_key = revision.effect_key
            mask.append("effect_key")
        if decision is not None and decision.approval_ttl is not None:
            proposal.expire_time.CopyFrom(time_to_proto(now + decision.approval_ttl))
            mask.append("expire_time")
        async with self._translated(revision.request_id):
            revised = await self._for(requester).proposals.update(
                proposal,
                expected_version=revision.expected_version,
                update_mask=mask,
                comment=revision.comment,
                request_id=revision.request_id or new_request_id(),
                validate_only=revision.validate_only,
                timeout_seconds=_seconds_to(deadline),
            )
        return proposal_from_proto(revised)

    async def first_revision(self, request_id: str, requester: str, deadline: float) -> Proposal | None:
        """The proposal as a requester's first revision with this request_id left it, None when there was none."""
        snapshot = await self._first_snapshot("proposal.updated", request_id, requester, deadline)
        return None if snapshot is None else proposal_from_proto(proposal_pb2.Proposal.FromString(snapshot))

    async def _first_snapshot(self, kind: str, request_id: str, requester: str, deadline: float) -> bytes | None:
        quoted = requester.replace("\\", "\\\\").replace('"', '\\"')
        async with self._translated(request_id):
            page = await self._client.events.list_page(
                filter=f'request_id = "{request_id}" AND actor = "{quoted}" AND kind = "{kind}"',
                order_by="revision",
                page_size=1,
                view=event_pb2.EVENT_VIEW_FULL,
                timeout_seconds=_seconds_to(deadline),
            )
        return page.events[0].snapshot if page.events else None

    # --- the queue ---

    async def claim_plans(
        self, max_plans: int, *, lease: timedelta, wait: timedelta, request_id: str
    ) -> list[ClaimedPlan]:
        """Lease queued plans, waiting for one when there is none. The same request_id gives the same plans."""
        async with self._translated():
            plans = await self._client.plans.claim(
                max_plans=max_plans,
                lease_seconds=lease.total_seconds(),
                wait_seconds=wait.total_seconds(),
                request_id=request_id,
            )
        return [claimed_plan_from_proto(plan) for plan in plans]

    async def renew_lease(self, claimed: ClaimedPlan, lease: timedelta, *, timeout_seconds: float) -> bool:
        """Prolong a lease. Returns False when it is lost: stop working on the plan."""
        with _while_leased() as renewal:
            async with self._translated():
                await self._client.plans.renew_lease(
                    claimed.id,
                    attempt=claimed.attempt,
                    lease_seconds=lease.total_seconds(),
                    timeout_seconds=timeout_seconds,
                )
        return renewal.held

    async def complete_planning(self, claimed: ClaimedPlan, plan: Plan, *, request_id: str, deadline: float) -> bool:
        """Store what was generated. Returns False when the lease is lost."""
        with _while_leased() as lease:
            async with self._translated(request_id):
                await self._client.plans.complete_planning(
                    claimed.id,
                    attempt=claimed.attempt,
                    plan=plan_to_proto(plan),
                    request_id=request_id,
                    timeout_seconds=_seconds_to(deadline),
                )
        return lease.held

    async def end_planning(
        self, claimed: ClaimedPlan, ending: PlanningEnded, *, request_id: str, deadline: float
    ) -> bool:
        """End the attempt without a plan. Returns False when the lease is lost."""
        with _while_leased() as lease:
            async with self._translated(request_id):
                await self._client.plans.fail_planning(
                    claimed.id,
                    attempt=claimed.attempt,
                    failure=plan_pb2.Failure(reason=ending.reason, message=ending.message),
                    generation=None if ending.report is None else report_to_proto(ending.report),
                    retryable=ending.retryable,
                    retry_delay_seconds=None if ending.retry_delay is None else ending.retry_delay.total_seconds(),
                    interrupted=not ending.counts,
                    request_id=request_id,
                    timeout_seconds=_seconds_to(deadline),
                )
        return lease.held

    # --- history ---

    async def past_plans(self, start: datetime | None, end: datetime | None, reader: Caller) -> AsyncIterator[PastPlan]:
        """Plans with jobs that the reader may read, oldest first."""
        parts = []
        if start is not None:
            parts.append(f'create_time >= "{start.isoformat()}"')
        if end is not None:
            parts.append(f'create_time < "{end.isoformat()}"')
        async with self._translated():
            async for message in self._client.plans.list_all(
                filter=" AND ".join(parts), order_by="create_time", page_size=_HISTORY_PAGE
            ):
                if message.jobs and reader.scope.may_read(
                    reader.identity, created_by=message.created_by, labels=message.labels
                ):
                    yield PastPlan(
                        message.id,
                        message.created_by,
                        time_from_proto(message.create_time, "create_time"),
                        stored_plan_from_proto(message),
                    )

    def _translated(self, request_id: str = "") -> AbstractAsyncContextManager[None]:
        return translated(request_id, self._diagnose)

    def _for(self, requester: str) -> StoreClient:
        """The store, for what is done in a requester's name."""
        return self._client if requester == self._planner_identity else self._on_behalf_of(requester)


class _Lease:
    held = True


@contextmanager
def _while_leased() -> Iterator[_Lease]:
    """Turns the ways in which a lease can be gone into one."""
    lease = _Lease()
    try:
        yield lease
    except (LeaseLost, NotFound, IllegalTransition):
        # NotFound: the plan was deleted. IllegalTransition: somebody cancelled it.
        lease.held = False
    except (Overloaded, CommitUnknown) as error:
        # Nobody waits for the answer, and what is handed over was paid for: it is done again, as after an outage.
        raise errors.StoreUnavailable(error.retry_after_seconds) from error


@asynccontextmanager
async def translated(request_id: str = "", diagnose: Diagnose = _undiagnosed) -> AsyncIterator[None]:
    """The client's errors that mean something else to the planner's caller than to the planner."""
    try:
        yield
    except StoreSaysReused as error:
        raise errors.RequestIdReused(request_id) from error
    except Unavailable as error:
        # Without a reason it is gRPC's own: no store answered.
        cause = "" if error.reason else await diagnose()
        raise errors.StoreUnavailable(error.retry_after_seconds, cause) from error
    except DeadlineExceeded as error:
        raise errors.StoreTimedOut from error


def _seconds_to(deadline: float) -> float:
    return min(_LONGEST_CALL_SECONDS, max(0.001, deadline - asyncio.get_running_loop().time()))
