"""A support desk: its catalogue and policy, and the servers with the review page, on free ports."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio
from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.client import PlannerClient, StoreClient
from tests.support.planner_house import PlannerHouse, open_house, struct
from tests.support.processes import ServerProcess

CATALOGUE = """
version: 1
actions:
  - name: get_order
    description: Look an order up. Nothing changes.
    risk: low
    read_only: true
    policy: allow
    parameters:
      properties: {order_id: {type: string, pattern: "^[0-9]{4,10}$", description: The number on the receipt.}}
      required: [order_id]
  - name: refund_order
    description: Pay an order's price back to the customer.
    risk: high
    parameters:
      properties:
        order_id: {type: string, pattern: "^[0-9]{4,10}$", description: The number on the receipt.}
        amount: {type: number, exclusiveMinimum: 0, maximum: 10000, x-unit: EUR}
        reason: {type: string, maxLength: 500}
      required: [order_id, amount]
  - name: unlock_account
    description: Let a customer sign in again.
    risk: medium
    parameters:
      properties: {email: {type: string, maxLength: 200}}
      required: [email]
  - name: set_feature_flag
    description: Turn a feature on or off for everybody.
    risk: medium
    parameters:
      properties:
        flag: {type: string, pattern: "^[a-z][a-z0-9-]*$"}
        enabled: {type: boolean}
        environment: {type: string, enum: [staging, production], default: staging}
      required: [flag, enabled]
  - name: restart_service
    description: Restart all replicas of a service, one after the other.
    risk: medium
    parameters:
      properties: {service: {type: string, pattern: "^[a-z][a-z0-9-]*$"}}
      required: [service]
  - name: drop_database
    description: Drop a database.
    risk: high
    policy: {effect: deny, reason: never by machine}
    parameters:
      properties: {name: {type: string}}
      required: [name]
"""

POLICY = """
version: 1
rules:
  - name: small-refunds
    match: {action: refund_order}
    when: args.amount <= 50
    effect: require_approval
    role: support-lead
    reason: a lead looks at every refund
  - name: large-refunds
    match: {action: refund_order}
    when: args.amount > 50
    effect: require_approval
    approvals: 2
    role: finance
    expires_in: 72h
    reason: refunds above 50 EUR take two people of finance
  - name: unlocks
    match: {action: unlock_account}
    effect: require_approval
    role: support-lead
    reason: somebody checks that it is the customer who asks
  - name: flags
    match: {action: set_feature_flag}
    effect: require_approval
    reason: everybody sees a flag
  - name: restarts
    match: {action: restart_service}
    effect: require_approval
    reason: a restart interrupts people
"""

SHOWING_ORDERS = CATALOGUE.replace(
    "customer.\n    risk: high\n", "customer.\n    risk: high\n    review: {show: [get_order]}\n"
)
"""The same catalogue, with the order looked up for who reviews a refund."""

PEOPLE: Mapping[str, tuple[str, ...]] = {
    "planner": ("planner",),
    "ria": (),
    "lea": ("reviewer", "support-lead", "finance"),
    "finn": ("reviewer", "finance"),
    "otto": ("reviewer",),
    "runner": ("executor",),
}
"""Identity -> roles. Each one's token is NAME-token."""


def job(action_name: str, *after: str, id: str = "", **args: Any) -> plan_pb2.Job:
    """One step that comes after others."""
    return plan_pb2.Job(id=id, action_name=action_name, action_args=struct(**args), depends_on=after)


@dataclass
class Desk:
    """What is running. `url` is the review page's."""

    house: PlannerHouse
    page: ServerProcess

    @property
    def url(self) -> str:
        return f"http://{self.page.address}"

    def store(self, actor: str, *roles: str) -> StoreClient:
        return self.house.store(actor, roles)

    def planner(self, actor: str = "ria") -> PlannerClient:
        return self.house.planner(actor)

    async def submit(
        self,
        *jobs: plan_pb2.Job,
        objective: str = "Help a customer",
        actor: str = "ria",
        context: Struct | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[proposal_pb2.Proposal]:
        """Store a plan without asking a model; its proposals in the order of the jobs, without those denied."""
        planner = self.planner(actor)
        plan = await planner.submit_plan(objective, jobs, context=context, labels=labels)
        return await self.store(actor).proposals.batch_get([job.proposal_id for job in plan.jobs if job.proposal_id])


@contextlib.asynccontextmanager
async def open_desk(
    directory: Path, environment: Mapping[str, str] | None = None, *, catalogue: str = CATALOGUE, **settings: Any
) -> AsyncIterator[Desk]:
    """Servers without authentication, and the review page as a process of its own."""
    async with open_house(directory, catalogue=catalogue, policy=POLICY, **settings) as house:
        page = ServerProcess(
            "plangate_inbox",
            {
                "PLANGATE_INBOX_LISTEN": "127.0.0.1:0",
                # The servers share the test's event loop, which the first plan keeps busy with imports.
                "PLANGATE_TIMEOUT_SECONDS": "60",
                "PLANGATE_STORE_TARGET": house.store_server.address,
                "PLANGATE_PLANNER_TARGET": house.planners[0].grpc.address,
                **(environment or {}),
            },
            directory / "inbox.log",
        )
        await page.start()
        try:
            yield Desk(house, page)
        finally:
            assert await page.stop() == 0, page.log()


@pytest_asyncio.fixture(loop_scope="session")
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk whose planner takes requests from its queue."""
    async with open_desk(tmp_path, kernel_concurrency=1) as running:
        yield running


def write_tokens(path: Path) -> None:
    """A tokens file of all people."""
    entries = []
    for name, roles in PEOPLE.items():
        digest = hashlib.sha256(f"{name}-token".encode()).hexdigest()
        entries.append(f"  - {{sha256: {digest}, identity: {name}, roles: [{', '.join(roles)}]}}")
    path.write_text("tokens:\n" + "\n".join(entries) + "\n")
