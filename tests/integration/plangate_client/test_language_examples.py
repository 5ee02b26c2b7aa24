"""The clients in other languages, each through the whole cycle against both servers with TLS and tokens.

Skipped where a language's tools are missing; `make clients` runs all and says which.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from plangate_client.servers.credentials import write_credentials
from tests.support.pair import clean_environment
from tests.support.processes import planner_process, store_process

EXAMPLES = Path(__file__).parents[3] / "examples"
TOOLS = {
    "cpp": ("g++", "protoc", "grpc_cpp_plugin"),
    "go": ("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"),
    "java": ("javac", "protoc", "grpc_java_plugin"),
    "ruby": ("ruby", "grpc_tools_ruby_protoc"),
    "typescript": ("node", "npm"),
}
# Those that compile take minutes.
EVERY = [name if name in ("ruby", "typescript") else pytest.param(name, marks=pytest.mark.clients) for name in TOOLS]
RUN_SECONDS = 900


@pytest_asyncio.fixture
async def environment(tmp_path: Path) -> AsyncIterator[Mapping[str, str]]:
    """Both servers as they run on a network, and what a client has to know of them."""
    credentials = tmp_path / "credentials"
    write_credentials(credentials, ["localhost", "127.0.0.1"])
    tls = {
        "PLANGATE_TLS_CERT_FILE": str(credentials / "server.pem"),
        "PLANGATE_TLS_KEY_FILE": str(credentials / "server-key.pem"),
        "PLANGATE_AUTH_TOKENS_FILE": str(credentials / "tokens.yaml"),
    }
    planner = {
        **tls,
        "PLANGATE_TLS_CA_FILE": str(credentials / "ca.pem"),
        "PLANGATE_TOKEN_FILE": str(credentials / "planner.token"),
        "PLANGATE_POLICY_FILE": str(EXAMPLES / "demo" / "policy.yaml"),
        # The clients bring their plans: no model is asked.
        "PLANGATE_MODEL": "openai/none",
        "PLANGATE_MODEL_BASE_URL": "http://127.0.0.1:9/v1",
        "PLANGATE_MODEL_API_KEY": "none",
    }
    protos = tmp_path / "protos"
    writing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "plangate_client", "protos", str(protos)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await writing.wait() == 0
    async with (
        store_process(tmp_path, tls) as store,
        planner_process(tmp_path, store.address, EXAMPLES / "demo" / "catalogue.yaml", planner) as planning,
    ):
        yield {
            **clean_environment(),
            "PLANGATE_STORE_TARGET": store.address,
            "PLANGATE_PLANNER_TARGET": planning.address,
            "PLANGATE_TLS_CA_FILE": str(credentials / "ca.pem"),
            "PLANGATE_CREDENTIALS": str(credentials),
            "PLANGATE_PROTOS": str(protos),
        }


def test_examples_are_short() -> None:
    lines = {
        file.name: len(file.read_text(encoding="utf-8").splitlines())
        for file in EXAMPLES.glob("*/[Cc]lient.*")
        if file.parent.name in (*TOOLS, "node")
    }
    assert len(lines) == len(TOOLS) + 1
    assert max(lines.values()) < 100, lines


@pytest.mark.asyncio
@pytest.mark.timeout(RUN_SECONDS + 120)
@pytest.mark.parametrize("language", EVERY)
async def test_the_whole_cycle(language: str, environment: Mapping[str, str]) -> None:
    if missing := [tool for tool in TOOLS[language] if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    process = await asyncio.create_subprocess_exec(
        EXAMPLES / language / "run", env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(RUN_SECONDS):
        stdout, stderr = await process.communicate()
    assert process.returncode == 0, f"{stdout.decode()}\n{stderr.decode()[-4000:]}"
    lines = stdout.decode().splitlines()
    assert lines[0].startswith("planned ")
    assert lines[1] == "refused INVALID_FIELD jobs"
    created = lines.index("event proposal.created")
    assert lines[created + 1] == "conflict VERSION_CONFLICT current 1"
    # Enum values by name or by number, as the language prints them.
    assert lines[created + 2] in ("approved PROPOSAL_STATE_APPROVED", "approved 3")
    assert lines[created + 3].startswith("executed ")
    # Resumed behind what was seen: nothing comes twice.
    assert lines[created + 4 :] == ["event proposal.approved", "event proposal.claimed", "event proposal.executed"]
