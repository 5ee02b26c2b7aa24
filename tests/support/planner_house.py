"""A planner, a store and a model server in one process, on free ports, and clients of both."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2

from plangate_client.calls import CallPolicy
from plangate_client.client import PlannerClient, StoreClient
from plangate_core.process.clock import Clock
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from planner_service.bootstrap import PlannerServer
from planner_service.settings import PlannerSettings
from store_service import bootstrap as store_bootstrap
from store_service.settings import StoreSettings
from tests.support.databases import new_sqlite_file
from tests.support.model_server import ModelServer, says

CATALOGUE = """
version: 1
actions:
  - name: read_status
    description: Read the status of a service. Nothing changes.
    risk: low
    policy: allow
    parameters:
      properties:
        service: {type: string}
        depth: {type: integer, minimum: 1, default: 1}
      required: [service]
  - name: restart_service
    description: Restart a service.
    risk: medium
    policy: {effect: require_approval, approvals: 2, role: sre, reason: restarts interrupt people}
    parameters:
      properties: {service: {type: string, pattern: "^[a-z][a-z0-9-]*$"}}
      required: [service]
  - name: refund_order
    description: Pay an order's price back.
    risk: high
    policy: require_approval
    parameters:
      properties: {order: {type: string}, amount: {type: number, exclusiveMinimum: 0}}
      required: [order, amount]
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
  - name: large-refunds
    match: {action: refund_order}
    when: args.amount > 1000
    effect: deny
    reason: too much for a machine
"""


def draft(*steps: tuple[str, dict[str, Any]], objective: str = "Do it.") -> dict[str, Any]:
    """What a model would answer: these actions, one after the other."""
    return {"objective": objective, "jobs": [{"action_name": name, "action_args": args} for name, args in steps]}


def struct(**fields: Any) -> Struct:
    message = Struct()
    message.update(fields)
    return message


def job(action_name: str, job_id: str = "", depends_on: tuple[str, ...] = (), **args: Any) -> plan_pb2.Job:
    """A job that a client brings."""
    return plan_pb2.Job(id=job_id, action_name=action_name, action_args=struct(**args), depends_on=depends_on)


def asking(prompt: str, **fields: Any) -> planner_pb2.CreatePlanRequest:
    """A request under an id of its own unless one is given."""
    return planner_pb2.CreatePlanRequest(prompt=prompt, **{"request_id": str(uuid.uuid4()), **fields})


@dataclass
class PlannerHouse:
    """Everything that a test of the planner needs. Servers stop with `open_house`."""

    directory: Path
    model: ModelServer
    store_server: store_bootstrap.StoreServer
    planners: list[PlannerServer] = field(default_factory=list)
    clients: list[PlannerClient | StoreClient] = field(default_factory=list)

    @property
    def catalogue_file(self) -> Path:
        return self.directory / "catalogue.yaml"

    @property
    def policy_file(self) -> Path:
        return self.directory / "policy.yaml"

    async def add_planner(self, *, clock: Clock | None = None, **settings: Any) -> PlannerServer:
        """One more planner on the same store, with settings of its own."""
        merged = {
            "planner_listen": "127.0.0.1:0",
            "store_target": self.store_server.address,
            "catalogue_file": self.catalogue_file,
            "policy_file": self.policy_file,
            "model": "openai/test-model",
            "model_base_url": self.model.openai_url,
            "model_api_key": "not-a-secret",
            "kernel_concurrency": 0,
            "reload_poll_seconds": 0.02,
            "min_remaining_seconds": 0.0,
            **settings,
        }
        planner = PlannerServer(PlannerSettings(**merged), channel_settings=ChannelSettings(), clock=clock)
        await planner.start()
        self.planners.append(planner)
        return planner

    def planner(self, actor: str = "alice", roles: tuple[str, ...] = (), number: int = 0) -> PlannerClient:
        """A client of a planner that says everything it is answered, and repeats nothing."""
        channel = open_channel(self.planners[number].grpc.address, ChannelSettings(), actor=actor, roles=roles)
        client = PlannerClient(channel, call_policy=CallPolicy(attempts=1))
        self.clients.append(client)
        return client

    def store(self, actor: str = "alice", roles: tuple[str, ...] = ()) -> StoreClient:
        client = StoreClient(open_channel(self.store_server.address, ChannelSettings(), actor=actor, roles=roles))
        self.clients.append(client)
        return client

    async def stored_plans(self) -> list[plan_pb2.Plan]:
        return [plan async for plan in self.store().plans.list_all(order_by="create_time")]

    def answers(self, *steps: tuple[str, dict[str, Any]]) -> None:
        """What the model says to every request that is not scripted."""
        self.model.default = says(json.dumps(draft(*steps)))


@contextlib.asynccontextmanager
async def open_house(
    directory: Path, *, catalogue: str = CATALOGUE, policy: str = POLICY, **settings: Any
) -> AsyncIterator[PlannerHouse]:
    """A house with one planner; `settings` are the planner's."""
    (directory / "catalogue.yaml").write_text(catalogue)
    (directory / "policy.yaml").write_text(policy)
    store = store_bootstrap.build_server(
        StoreSettings(store_listen="127.0.0.1:0", database_url=new_sqlite_file(directory), sweep_seconds=0.05)
    )
    await store.start()
    async with ModelServer() as model:
        house = PlannerHouse(directory, model, store)
        try:
            await house.add_planner(**settings)
            yield house
        finally:
            for client in house.clients:
                await client.close()
            for planner in house.planners:
                await planner.stop(0)
            await house.store_server.stop(0)
