"""First credentials really open a server with TLS and authentication, and nobody else gets in."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from plangate_client.calls import CallPolicy
from plangate_client.client import StoreClient
from plangate_client.command.failures import sentence
from plangate_client.errors import RoleMissing, Unauthenticated, Unavailable
from plangate_client.proposals import proposal_pb2
from plangate_client.servers.credentials import CredentialsExist, ForeignFiles, write_credentials
from plangate_core.rpc.channel import ChannelRefused, open_channel
from plangate_core.rpc.settings import ChannelSettings
from plangate_core.rpc.status import RpcFailure
from plangate_core.rpc.tls_diagnosis import diagnose
from planner_service.api.status_mapping import map_error
from planner_service.errors import StoreUnavailable
from planner_service.store_gateway import StoreGateway
from tests.support.processes import store_process


def client(address: str, directory: Path, identity: str | None) -> StoreClient:
    settings = ChannelSettings(
        tls_ca_file=directory / "ca.pem", token_file=directory / f"{identity}.token" if identity else None
    )
    return StoreClient(open_channel(address, settings))


def probe(address: str, environment: dict[str, str]) -> tuple[str, int]:
    argv = [sys.executable, "-m", "plangate_core.rpc.probe", address]
    done = subprocess.run(argv, env={**environment, "PATH": ""}, capture_output=True, text=True, check=False)
    return done.stdout.strip(), done.returncode


@pytest.mark.asyncio
async def test_a_server_with_first_credentials(tmp_path: Path) -> None:
    directory = tmp_path / "credentials"
    write_credentials(directory, ["localhost", "127.0.0.1"])
    environment = {
        "PLANGATE_TLS_CERT_FILE": str(directory / "server.pem"),
        "PLANGATE_TLS_KEY_FILE": str(directory / "server-key.pem"),
        "PLANGATE_TLS_CA_FILE": str(directory / "ca.pem"),
        "PLANGATE_AUTH_TOKENS_FILE": str(directory / "tokens.yaml"),
        "PLANGATE_STORE_LISTEN": "0.0.0.0:0",
    }
    proposal = proposal_pb2.Proposal(action_name="restart_service")
    async with store_process(tmp_path, environment) as store:
        address = f"localhost:{store.address.rsplit(':', 1)[1]}"
        assert await asyncio.to_thread(probe, address, environment) == ("SERVING", 0)
        async with client(address, directory, "admin") as admin:
            made = await admin.proposals.create(proposal, submit=True)
            assert made.created_by == "admin"
        async with client(address, directory, "reviewer") as reviewer:
            approved = await reviewer.proposals.approve(made.id, expected_version=1)
            assert approved.approvals[0].reviewer == "reviewer"
            with pytest.raises(RoleMissing):
                await reviewer.proposals.create(proposal)
        async with client(address, directory, "requester") as requester:
            events = [event async for event in requester.events.list_all()]
            assert [(event.actor, event.authenticated) for event in events] == [("admin", True), ("reviewer", True)]
            with pytest.raises(RoleMissing):
                await requester.proposals.claim(max_proposals=1)
        async with client(address, directory, None) as stranger:
            with pytest.raises(Unauthenticated):
                await stranger.proposals.get(made.id)
        assert (directory / "admin.token").read_text().strip() not in store.log()


async def explained(address: str, settings: ChannelSettings) -> str:
    """How the command explains that a store cannot be reached so."""
    async with StoreClient(open_channel(address, settings), call_policy=CallPolicy(attempts=1)) as store:
        with pytest.raises(Unavailable) as refused:
            await store.proposals.list_page()
    cause = await asyncio.to_thread(diagnose, address, settings)
    return sentence(refused.value, {"store": "HOST"}, cause=cause)


async def status_of_a_planner(address: str, settings: ChannelSettings) -> RpcFailure:
    """The status that a planner gives when it cannot reach its store so."""
    async with StoreClient(open_channel(address, settings), call_policy=CallPolicy(attempts=1)) as store:
        gateway = StoreGateway(
            store, planner_identity="planner", diagnose=partial(asyncio.to_thread, diagnose, address, settings)
        )
        with pytest.raises(StoreUnavailable) as refused:
            await gateway.get_proposal("01a2", asyncio.get_running_loop().time() + 30)
    failure = map_error(refused.value)
    assert failure is not None
    return failure


@pytest.mark.asyncio
async def test_why_a_handshake_failed_is_said(tmp_path: Path) -> None:
    for directory in ("own", "other"):
        write_credentials(tmp_path / directory, ["localhost"])
    own = tmp_path / "own"
    environment = {
        "PLANGATE_TLS_CERT_FILE": str(own / "server.pem"),
        "PLANGATE_TLS_KEY_FILE": str(own / "server-key.pem"),
        "PLANGATE_STORE_LISTEN": "127.0.0.1:0",
    }
    trusting, foreign = (ChannelSettings(tls_ca_file=tmp_path / name / "ca.pem") for name in ("own", "other"))
    async with store_process(tmp_path, environment) as store:
        assert [
            await explained(store.address, trusting),
            await explained(store.address, foreign),
            await explained(store.address, ChannelSettings()),
        ] == [
            "cannot reach the store at HOST: its certificate is for localhost, and 127.0.0.1 was dialled",
            "cannot reach the store at HOST: no authority that is trusted here has signed its certificate (--tls-ca)",
            "cannot reach the store at HOST: it speaks TLS: give --tls-ca FILE (PLANGATE_TLS_CA_FILE)",
        ]
        # A planner tells its callers the same, and not to come again.
        failure = await status_of_a_planner(store.address, trusting)
        cause = "its certificate is for localhost, and 127.0.0.1 was dialled"
        assert failure.message == f"the store cannot be reached: {cause}; nothing was stored"
        assert failure.retry_after_seconds is None
    async with store_process(tmp_path, {"PLANGATE_STORE_LISTEN": "127.0.0.1:0"}) as store:
        assert await explained(store.address, trusting) == "cannot reach the store at HOST: it does not speak TLS"
    assert "start it with `plangate up`" in await explained(store.address, ChannelSettings())


def test_what_no_channel_can_be_opened_with_is_said(tmp_path: Path) -> None:
    for text, fault in ((b"\xff\xfe", "is not a text"), (b"\n", "is empty")):
        file = tmp_path / "token"
        file.write_bytes(text)
        with pytest.raises(ChannelRefused, match=f"the token file {fault}: {file}"):
            open_channel("127.0.0.1:1", ChannelSettings(token_file=file))
    for text in (
        b"root:x:0:0:root:/root:/bin/bash\n",
        b"",
        b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    ):
        file = tmp_path / "ca.pem"
        file.write_bytes(text)
        with pytest.raises(ChannelRefused, match=f"no certificates in PEM form: {file}"):
            open_channel("127.0.0.1:1", ChannelSettings(tls_ca_file=file))
        with pytest.raises(ChannelRefused, match=f"no private key in PEM form: {file}"):
            open_channel("127.0.0.1:1", ChannelSettings(tls=True, tls_client_key_file=file, tls_client_cert_file=file))
    argv = [sys.executable, "-m", "plangate_client", "proposals", "--tls-ca", "/etc/passwd"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "plangate: no certificates in PEM form: /etc/passwd\n")
    with pytest.raises(ChannelRefused, match="an empty address"):
        open_channel("", ChannelSettings())


def test_secrets_are_private_and_never_overwritten(tmp_path: Path) -> None:
    written = write_credentials(tmp_path, ["localhost"])
    for path in written:
        private = path.suffix in {".token", ".yaml"} or path.name == "server-key.pem"
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if private else 0o644), path
    with pytest.raises(CredentialsExist):
        write_credentials(tmp_path, ["localhost"])
    tokens = (tmp_path / "tokens.yaml").read_text()
    assert all(path.read_text().strip() not in tokens for path in tmp_path.glob("*.token"))


def test_files_of_others_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "server-key.pem").write_text("of somebody else")
    (tmp_path / "ca.pem").symlink_to("nowhere")
    with pytest.raises(ForeignFiles, match=r"ca\.pem, server-key\.pem"):
        write_credentials(tmp_path, ["localhost"])
    for more in ([], ["--if-missing"]):
        done = init(tmp_path, *more)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "server-key.pem"]
    assert (tmp_path / "server-key.pem").read_text() == "of somebody else"


def test_a_set_that_cannot_be_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name == "tokens.yaml":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_credentials(tmp_path, ["localhost"])
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert (init(tmp_path).returncode, init(tmp_path, "--if-missing").returncode) == (0, 0)


@pytest.mark.parametrize("host", ["", "ä.example", "a" * 300, "a" * 64, "host:50051", "a b", "-a", "a..b", "[::1]"])
def test_names_that_no_certificate_can_hold_are_refused(tmp_path: Path, host: str) -> None:
    done = init(tmp_path / "new", f"--host={host}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("plangate: --host: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_names_that_certificates_hold(tmp_path: Path) -> None:
    write_credentials(tmp_path, ["store", "my_store.internal", "*.example.org", "xn--4ca.example", "10.0.0.1", "::1"])


def init(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "plangate_client", "credentials", "init", str(directory), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False)
