"""Both servers in this process, a model server that they ask, and the `plangate` command as a process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Struct
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2

from plangate_client.client import PlannerClient, StoreClient
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from planner_service.bootstrap import PlannerServer
from planner_service.settings import PlannerSettings
from store_service.bootstrap import build_server as build_store
from store_service.settings import StoreSettings
from tests.support.databases import new_sqlite_file
from tests.support.model_server import ModelServer, says

COMMAND_SECONDS = 60.0


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


@dataclass
class Pair:
    """What is running. `directory` is the test's own."""

    directory: Path
    catalogue_file: Path
    model: ModelServer
    store_address: str
    planner_address: str

    def store(self, actor: str = "alice") -> StoreClient:
        return StoreClient(open_channel(self.store_address, ChannelSettings(), actor=actor))

    def planner(self, actor: str = "alice") -> PlannerClient:
        return PlannerClient(open_channel(self.planner_address, ChannelSettings(), actor=actor))

    def script(self, *steps: tuple[str, dict[str, Any]], objective: str = "Do it.") -> None:
        """What the model answers to the next request."""
        jobs = [{"action_name": name, "action_args": args, "depends_on": []} for name, args in steps]
        self.model.script(says({"objective": objective, "jobs": jobs}))

    async def submit(self, *steps: tuple[str, dict[str, Any]], **job: Any) -> list[proposal_pb2.Proposal]:
        """Store a plan of these steps without asking a model; the proposals of its jobs."""
        jobs = []
        for name, args in steps:
            struct = Struct()
            struct.update(args)
            jobs.append(plan_pb2.Job(action_name=name, action_args=struct, **job))
        async with self.planner() as planner, self.store() as store:
            plan = await planner.submit_plan(f"Do it {uuid.uuid4()}.", jobs)
            return await store.proposals.batch_get([job.proposal_id for job in plan.jobs])

    async def command(
        self, *arguments: str, actor: str = "alice", stdin: str = "", environment: Mapping[str, str] | None = None
    ) -> Finished:
        """Run `plangate` to its end."""
        process = await self.start_command(*arguments, actor=actor, environment=environment)
        async with asyncio.timeout(COMMAND_SECONDS):
            stdout, stderr = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Finished(process.returncode, stdout.decode(), stderr.decode())

    async def start_command(
        self,
        *arguments: str,
        actor: str = "alice",
        environment: Mapping[str, str] | None = None,
        terminal: int | None = None,
    ) -> asyncio.subprocess.Process:
        """Run `plangate` with pipes, or with input and output at a terminal; its group is its own."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "plangate_client",
            *arguments,
            env={
                **clean_environment(),
                "PLANGATE_STORE_TARGET": self.store_address,
                "PLANGATE_PLANNER_TARGET": self.planner_address,
                "PLANGATE_ACTOR": actor,
                "PLANGATE_CATALOGUE_FILE": str(self.catalogue_file),
                **(environment or {}),
            },
            cwd=self.directory,
            stdin=asyncio.subprocess.PIPE if terminal is None else terminal,
            stdout=asyncio.subprocess.PIPE if terminal is None else terminal,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,
        )


def clean_environment() -> dict[str, str]:
    """This process's environment without what would reach Plangate."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PLANGATE_", "PROMPT"))}


@contextlib.asynccontextmanager
async def running_pair(directory: Path, catalogue: str, *, policy: str | None = None) -> AsyncIterator[Pair]:
    """Start both on free ports with a fresh database; stop both."""
    catalogue_file = directory / "catalogue.yaml"
    catalogue_file.write_text(catalogue)
    policy_file = None
    if policy is not None:
        policy_file = directory / "policy.yaml"
        policy_file.write_text(policy)
    async with ModelServer() as model, contextlib.AsyncExitStack() as stack:
        store = build_store(StoreSettings(store_listen="127.0.0.1:0", database_url=new_sqlite_file(directory)))
        await store.start()
        stack.push_async_callback(store.stop, 0.5)
        planner = PlannerServer(
            PlannerSettings(
                planner_listen="127.0.0.1:0",
                store_target=store.address,
                catalogue_file=catalogue_file,
                policy_file=policy_file,
                model="openai/test-model",
                model_base_url=model.openai_url,
                model_api_key="not-a-secret",
            )
        )
        await planner.start()
        stack.push_async_callback(planner.stop, 0.5)
        yield Pair(directory, catalogue_file, model, store.address, planner.grpc.address)
