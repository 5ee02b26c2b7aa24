"""The store as the planner needs it, on the same client as everybody: deadlines, and what failures mean here.

Repeating calls is the client's business; every write carries a request_id, so that it is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import event_pb2, proposal_pb2
from plangate.store.v1 import store_service_pb2 as store_pb2

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
from planner_service import errors
from planner_service.governance.decision import Decision
from planner_service.messages.decoding import (
    claimed_plan_from_proto,
    open_proposal_from_proto,
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
)
from planner_service.plan import (
    ClaimedPlan,
    FirstAnswer,
    OpenProposal,
    PastPlan,
    Plan,
    PlanningEnded,
    PlanRequest,
    Proposal,
    Queueing,
    Reconsidered,
    Revision,
    StoredPlan,
)

Diagnose = Callable[[], Awaitable[str]]
"""Says why the store cannot be reached, as a clause; empty when that was not found out."""

_LONGEST_CALL_SECONDS = 30.0
_HISTORY_PAGE = 100
_REQUESTERS_REMEMBERED = 256
_PROPOSALS_PAGE = 200
_OPEN = '(state = "PENDING" OR state = "APPROVED")'
_OPEN_STATES = (proposal_pb2.PROPOSAL_STATE_PENDING, proposal_pb2.PROPOSAL_STATE_APPROVED)


async def _undiagnosed() -> str:
    return ""


class StoreGateway:
    """Calls of one planner to one store. Every method raises StoreUnavailable, StoreTimedOut, those that write
    RequestIdReused, and the store's own errors as the client has them.

    `requester` is the identity that the store's log will show. Deadlines are on the event loop's clock.
    """

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
        was_queued = message.state == plan_pb2.PLAN_STATE_QUEUED
        queue = Queueing(message.priority, message.max_attempts) if was_queued else None
        return FirstAnswer(StoredPlan(message), stored_plan_from_proto(message), queue)

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
        return StoredPlan(stored)

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
        simple = ("description", "priority", "depends_on", "assumed", "effect_key")
        changed: dict[str, Any] = {field: value for field in simple if (value := getattr(revision, field)) is not None}
        if revision.on_refusal is not None:
            changed["on_refusal"] = ON_REFUSAL[revision.on_refusal]
        if revision.action_args is not None:
            changed["action_args"] = json_to_proto(revision.action_args, "action_args")
            changed["facts"] = [fact_to_proto(fact) for fact in revision.facts]
        if decision is not None:
            changed["decision"] = decision_to_proto(decision)
            changed["required_approvals"] = max(1, decision.required_approvals)
            changed["reviewer_role"] = decision.reviewer_role
            if decision.approval_ttl is not None:
                changed["expire_time"] = now + decision.approval_ttl
        async with self._translated(revision.request_id):
            revised = await self._for(requester).proposals.update(
                proposal_pb2.Proposal(id=revision.proposal_id, **changed),
                expected_version=revision.expected_version,
                update_mask=[*changed],
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

    async def renew_lease(self, claimed: ClaimedPlan, lease: timedelta, *, timeout_seconds: float) -> None:
        """Prolong a lease. Raises LeaseLost: stop working on the plan."""
        async with self._while_leased():
            await self._client.plans.renew_lease(
                claimed.id,
                attempt=claimed.attempt,
                lease_seconds=lease.total_seconds(),
                timeout_seconds=timeout_seconds,
            )

    async def complete_planning(self, claimed: ClaimedPlan, plan: Plan, *, request_id: str, deadline: float) -> None:
        """Store what was generated. Raises LeaseLost."""
        async with self._while_leased(request_id):
            await self._client.plans.complete_planning(
                claimed.id,
                attempt=claimed.attempt,
                plan=plan_to_proto(plan),
                request_id=request_id,
                timeout_seconds=_seconds_to(deadline),
            )

    async def end_planning(
        self, claimed: ClaimedPlan, ending: PlanningEnded, *, request_id: str, deadline: float
    ) -> None:
        """End the attempt without a plan. Raises LeaseLost."""
        async with self._while_leased(request_id):
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

    # --- decisions made again ---

    async def governance_in_force(self) -> str:
        """The digest that a planner of this identity put in force last; empty when none did."""
        async with self._translated():
            return (await self._client.proposals.get_governance()).digest

    async def put_in_force(self, digest: str) -> None:
        """Decisions under another digest are not handed out from now on."""
        async with self._translated():
            await self._client.proposals.set_governance(digest)

    async def open_proposals(self, changed_since: datetime | None) -> AsyncIterator[OpenProposal]:
        """Proposals that are PENDING or APPROVED, in the order of their changes; all, or those changed since then."""
        changed = "" if changed_since is None else f' AND update_time >= "{changed_since.isoformat()}"'
        async with self._translated():
            async for message in self._client.proposals.list_all(
                filter=f"{_OPEN}{changed}", order_by="update_time", page_size=_PROPOSALS_PAGE
            ):
                yield open_proposal_from_proto(message)

    async def proposals(self, ids: Sequence[str]) -> list[OpenProposal]:
        """Those of at most 50 proposals that are PENDING or APPROVED."""
        async with self._translated():
            found = await self._client.proposals.list_page(
                filter=" OR ".join(f'id = "{each}"' for each in ids), page_size=len(ids)
            )
        return [open_proposal_from_proto(message) for message in found.proposals if message.state in _OPEN_STATES]

    async def reconsider(self, entries: Sequence[Reconsidered]) -> None:
        """Record at most 100 decisions. Entries of another version are skipped."""
        async with self._translated():
            await self._client.proposals.reconsider(
                [
                    store_pb2.Reconsideration(
                        id=entry.id,
                        expected_version=entry.expected_version,
                        decision=decision_to_proto(entry.decision),
                        reason=entry.decision.reason,
                    )
                    for entry in entries
                ]
            )

    @asynccontextmanager
    async def _translated(self, request_id: str = "") -> AsyncIterator[None]:
        """The client's errors that mean something else to the planner's caller than to the planner."""
        try:
            yield
        except StoreSaysReused as error:
            raise errors.RequestIdReused(request_id) from error
        except Unavailable as error:
            # Without a reason it is gRPC's own: no store answered.
            cause = "" if error.reason else await self._diagnose()
            raise errors.StoreUnavailable(error.retry_after_seconds, cause) from error
        except DeadlineExceeded as error:
            raise errors.StoreTimedOut from error

    @asynccontextmanager
    async def _while_leased(self, request_id: str = "") -> AsyncIterator[None]:
        """The ways in which a lease can be gone, as one."""
        try:
            async with self._translated(request_id):
                yield
        except (LeaseLost, NotFound, IllegalTransition) as error:
            # NotFound: the plan was deleted. IllegalTransition: somebody cancelled it.
            raise errors.LeaseLost from error
        except (Overloaded, CommitUnknown) as error:
            # Nobody waits for the answer, and what is handed over was paid for: it is done again, as after an outage.
            raise errors.StoreUnavailable(error.retry_after_seconds) from error

    def _for(self, requester: str) -> StoreClient:
        """The store, for what is done in a requester's name."""
        return self._client if requester == self._planner_identity else self._on_behalf_of(requester)


def _seconds_to(deadline: float) -> float:
    return min(_LONGEST_CALL_SECONDS, max(0.001, deadline - asyncio.get_running_loop().time()))
