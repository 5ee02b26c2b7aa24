"""`plangate up`: the servers and the review page come and go together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest
from plangate.plan.v1 import plan_pb2

from plangate_client.client import PlannerClient
from plangate_client.servers.credentials import write_credentials
from plangate_core.rpc.channel import open_channel
from plangate_core.rpc.settings import ChannelSettings
from tests.support.leftovers import mark, marked_processes
from tests.support.model_server import ModelServer
from tests.support.pair import clean_environment
from tests.support.polling import until
from tests.support.ports import unused_port

CATALOGUE = """
version: 1
actions: [{name: look, description: Look., policy: allow}]
"""


@dataclass
class Up:
    process: asyncio.subprocess.Process
    marked: dict[str, str]
    addresses: dict[str, str]

    def servers(self) -> dict[str, int]:
        """The servers' process ids, by module."""
        children = psutil.Process(self.process.pid).children()
        return {child.cmdline()[-1]: child.pid for child in children}


@contextlib.asynccontextmanager
async def up(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Up]:
    """Start it, read the addresses, and see to it that nothing stays."""
    (directory / "catalogue.yaml").write_text(CATALOGUE)
    marked = mark()
    async with ModelServer() as model:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "plangate_client",
            "up",
            "--free-ports",
            "--catalogue",
            "catalogue.yaml",
            "--model",
            "openai/test-model",
            *arguments,
            env={
                **clean_environment(),
                **marked,
                "PLANGATE_DATABASE_URL": f"sqlite:///{directory / 'plangate.db'}",
                "PLANGATE_MODEL_BASE_URL": model.openai_url,
                "PLANGATE_MODEL_API_KEY": "not-a-secret",
                "PLANGATE_DRAIN_SECONDS": "2",
                "PLANGATE_ACTOR": "mallory",
                **(environment or {}),
            },
            cwd=directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            addresses: dict[str, str] = {}
            assert process.stdout is not None
            async with asyncio.timeout(60):
                while len(addresses) < 3 and (line := await process.stdout.readline()):
                    if match := re.fullmatch(r"(store|planner|inbox)\s+(\S+)\n", line.decode()):
                        addresses[match[1]] = match[2]
            yield Up(process, marked, addresses)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                await process.communicate()
            # Killed, it could not wait for them.
            await until(lambda: marked_processes(marked) == [], timeout_seconds=60)


@pytest.mark.asyncio
async def test_runs_nothing_that_lies_in_the_current_directory(tmp_path: Path) -> None:
    for name in ("http.py", "store_service.py", "planner_service.py", "plangate_inbox.py", "yaml.py"):
        (tmp_path / name).write_text("raise SystemExit('taken from the current directory')")
    # The command itself is a script, which has its own directory before all others, not the current one.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "plangate_client", "store", "--help"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, faults = await process.communicate()
    assert (process.returncode, faults) == (0, b"")
    assert b"migrate" in said
    async with up(tmp_path) as running:
        assert running.addresses.keys() == {"store", "planner", "inbox"}


@pytest.mark.asyncio
async def test_serves_until_told_to_stop(tmp_path: Path) -> None:
    async with up(tmp_path) as running:
        channel = open_channel(running.addresses["planner"], ChannelSettings(), actor="alice")
        async with PlannerClient(channel) as planner:
            assert [action.name for action in await planner.list_actions()] == ["look"]
            # The planner acts as itself, whoever started it.
            plan = await planner.submit_plan("Look.", [plan_pb2.Job(action_name="look")])
            assert plan.created_by == "alice"
        async with aiohttp.ClientSession() as session, session.get(f"{running.addresses['inbox']}healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        running.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            _, stderr = await running.process.communicate()
        assert running.process.returncode == 0
        assert b"Traceback" not in stderr


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "module"), [("store", "store_service"), ("planner", "planner_service"), ("inbox", "plangate_inbox")]
)
async def test_if_one_ends_the_others_are_stopped(tmp_path: Path, name: str, module: str) -> None:
    async with up(tmp_path) as running:
        await until(lambda: len(running.servers()) == 3)
        os.kill(running.servers()[module], signal.SIGKILL)
        async with asyncio.timeout(60):
            _, stderr = await running.process.communicate()
        assert running.process.returncode == 1
        assert f"plangate: the {name} was ended by signal 9" in stderr.decode()


@pytest.mark.asyncio
async def test_killed_it_leaves_no_server_behind(tmp_path: Path) -> None:
    async with up(tmp_path) as running:
        await until(lambda: len(running.servers()) == 3)
        servers = [psutil.Process(pid) for pid in running.servers().values()]
        running.process.kill()
        # Asked to end, not cut off: well within the drain time, as nothing is in flight.
        await until(lambda: not any(server.is_running() for server in servers), timeout_seconds=60)
    # The write-ahead log of a database that was closed in order is gone.
    assert "plangate.db-wal" not in os.listdir(tmp_path)


@pytest.mark.asyncio
async def test_says_why_a_server_does_not_start(tmp_path: Path) -> None:
    async with up(tmp_path, "--policy", "no-such-policy.yaml") as running:
        async with asyncio.timeout(60):
            _, stderr = await running.process.communicate()
        assert running.process.returncode == 1
        assert "no-such-policy.yaml" in stderr.decode()
        assert stderr.decode().splitlines()[-1] == "plangate: the planner ended with status 1"


@pytest.mark.asyncio
async def test_a_reload_that_is_refused_is_shown_at_the_terminal(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nrules: [{name: free, match: {action: look}, effect: allow}]\n")
    async with up(tmp_path, "--policy", "policy.yaml") as running:
        assert running.process.stderr is not None
        policy.write_text("version: 1\nrules: [{name: free, match: {action: look}, effect: perhaps}]\n")
        shown = b""
        async with asyncio.timeout(60):
            while b"reload refused" not in shown:
                shown = await running.process.stderr.readline()
                assert shown, "the end of what it says"
        assert b"planner error: reload refused: what was in force stays in force" in shown
        assert b"policy.yaml:2:" in shown


@pytest.mark.asyncio
async def test_servers_dial_each_other_by_a_name_of_the_certificate(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    write_credentials(credentials, ["localhost"])
    environment = {
        "PLANGATE_TLS_CERT_FILE": str(credentials / "server.pem"),
        "PLANGATE_TLS_KEY_FILE": str(credentials / "server-key.pem"),
        "PLANGATE_TLS_CA_FILE": str(credentials / "ca.pem"),
        "PLANGATE_AUTH_TOKENS_FILE": str(credentials / "tokens.yaml"),
        "PLANGATE_TOKEN_FILE": str(credentials / "planner.token"),
    }
    async with up(tmp_path, environment=environment) as running:
        # It listens at 127.0.0.1, for which the certificate is not good.
        port = running.addresses["planner"].rpartition(":")[2]
        settings = ChannelSettings(tls_ca_file=credentials / "ca.pem", token_file=credentials / "requester.token")
        async with PlannerClient(open_channel(f"localhost:{port}", settings)) as planner:
            plan = await planner.submit_plan("Look.", [plan_pb2.Job(action_name="look")])
        assert (plan.created_by, plan.state) == ("requester", plan_pb2.PLAN_STATE_PLANNED)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "missing"),
    [("PLANGATE_TLS_CERT_FILE", "PLANGATE_TLS_CA_FILE"), ("PLANGATE_AUTH_TOKENS_FILE", "PLANGATE_TOKEN_FILE")],
)
async def test_half_of_the_security_is_refused_before_anything_starts(tmp_path: Path, given: str, missing: str) -> None:
    async with up(tmp_path, environment={given: "file"}) as running:
        _, stderr = await running.process.communicate()
    assert running.process.returncode == 2
    assert stderr.decode().startswith(f"plangate: {given} is set: the planner also needs {missing}")


@pytest.mark.asyncio
async def test_all_servers_serve_their_metrics(tmp_path: Path) -> None:
    port = unused_port(3)
    async with (
        up(tmp_path, environment={"PLANGATE_METRICS_LISTEN": f"127.0.0.1:{port}"}),
        aiohttp.ClientSession() as web,
    ):
        # Without a notify file the page counts nothing.
        for number, metric in ((port, "plangate_rpc"), (port + 1, "plangate_governance_info"), (port + 2, "")):
            async with web.get(f"http://127.0.0.1:{number}/metrics") as answer:
                assert answer.status == 200
                assert metric in await answer.text()
