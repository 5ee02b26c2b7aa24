"""TLS on the shared server: servers prove who they are, and clients too where the server asks for it."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import store_service_pb2 as rpc
from plangate.store.v1 import store_service_pb2_grpc

from plangate_core.rpc.channel import ChannelRefused, open_channel
from plangate_core.rpc.identity.caller import current_caller
from plangate_core.rpc.identity.tokens_file import TokensFileInvalid
from plangate_core.rpc.server import GrpcServer, ServerRefused
from plangate_core.rpc.settings import ChannelSettings, ServerSettings


class Authority:
    """Signs certificates for 127.0.0.1 and writes them, with their keys, to a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """(certificate file, key file)"""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = self._builder(subject, key).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        files = self._directory / f"{name}.pem", self._directory / f"{name}-key.pem"
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )


class Plans(store_service_pb2_grpc.PlanServiceServicer):
    async def GetPlan(self, request: rpc.GetPlanRequest, context: Any) -> plan_pb2.Plan:
        return plan_pb2.Plan(created_by=current_caller().identity)


@asynccontextmanager
async def serving(settings: ServerSettings, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
    def register(server: grpc.aio.Server) -> None:
        store_service_pb2_grpc.add_PlanServiceServicer_to_server(Plans(), server)

    server = GrpcServer(settings, register, (), lambda _: None, listen=listen)
    try:
        yield f"127.0.0.1:{await server.start()}"
    finally:
        await server.stop(0)


async def identity_seen(target: str, settings: ChannelSettings) -> str:
    async with open_channel(target, settings) as channel:
        plan = await store_service_pb2_grpc.PlanServiceStub(channel).GetPlan(rpc.GetPlanRequest(), timeout=5)
        return plan.created_by


@pytest.mark.asyncio
async def test_a_server_for_others_has_tls_and_tokens(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("server")
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(f"tokens:\n  - {{sha256: {hashlib.sha256(b't').hexdigest()}, identity: bob}}\n")
    settings = ServerSettings(tls_cert_file=certificate, tls_key_file=key, auth_tokens_file=tokens)
    async with serving(settings, listen="0.0.0.0:0") as target:
        assert await identity_seen(target, ChannelSettings(tls_ca_file=authority.file, token="t")) == "bob"
        for wrong in (
            ChannelSettings(tls_ca_file=Authority(tmp_path, "other").file, token="t"),
            ChannelSettings(token="t"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await identity_seen(target, wrong)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.asyncio
async def test_clients_show_a_certificate_where_the_server_asks_for_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("server")
    own, own_key = authority.issue("client")
    settings = ServerSettings(tls_cert_file=certificate, tls_key_file=key, tls_client_ca_file=authority.file)
    async with serving(settings) as target:
        known = ChannelSettings(
            tls_ca_file=authority.file, tls_client_cert_file=own, tls_client_key_file=own_key, actor="alice"
        )
        assert await identity_seen(target, known) == "alice"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await identity_seen(target, ChannelSettings(tls_ca_file=authority.file, actor="alice"))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.asyncio
async def test_client_certificates_are_identities(tmp_path: Path) -> None:
    authority, foreign = Authority(tmp_path, "authority"), Authority(tmp_path, "foreign")
    certificate, key = authority.issue("server")
    tokens = tmp_path / "tokens.yaml"
    tokens.write_text(
        "certificates: [{common_name: runner, identity: runner-1, roles: [executor]}]\n"
        f"tokens: [{{sha256: {hashlib.sha256(b't').hexdigest()}, identity: bob}}]\n"
    )
    settings = ServerSettings(
        tls_cert_file=certificate, tls_key_file=key, tls_client_ca_file=authority.file, auth_tokens_file=tokens
    )

    def shows(signed_by: Authority, name: str, **options: Any) -> ChannelSettings:
        own, own_key = signed_by.issue(name)
        return ChannelSettings(
            tls_ca_file=authority.file, tls_client_cert_file=own, tls_client_key_file=own_key, **options
        )

    async with serving(settings) as target:
        assert await identity_seen(target, shows(authority, "runner")) == "runner-1"
        # A token comes first, and a wrong one is not made good by a certificate.
        assert await identity_seen(target, shows(authority, "runner", token="t")) == "bob"
        for signed_by, name, token, code in (
            (authority, "runner", "wrong", grpc.StatusCode.UNAUTHENTICATED),
            (authority, "stranger", None, grpc.StatusCode.UNAUTHENTICATED),
            (foreign, "runner", None, grpc.StatusCode.UNAVAILABLE),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await identity_seen(target, shows(signed_by, name, token=token))
            assert refused.value.code() is code
    with pytest.raises(TokensFileInvalid, match="set PLANGATE_TLS_CLIENT_CA_FILE"):
        GrpcServer(ServerSettings(auth_tokens_file=tokens), lambda _: None, (), lambda _: None, listen="127.0.0.1:0")


@pytest.mark.asyncio
async def test_files_that_cannot_be_used_are_named_in_one_sentence(tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"
    with pytest.raises(ServerRefused, match=r"No such file.*absent\.pem"):
        async with serving(ServerSettings(tls_cert_file=absent, tls_key_file=absent)):
            pass
    with pytest.raises(ChannelRefused, match=r"No such file.*absent\.pem"):
        open_channel("127.0.0.1:1", ChannelSettings(tls_ca_file=absent))
    with pytest.raises(ValueError, match="go together"):
        ServerSettings(tls_cert_file=absent)
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("nonsense")
    with pytest.raises(ServerRefused):
        async with serving(ServerSettings(tls_cert_file=garbage, tls_key_file=garbage)):
            pass


@pytest.mark.asyncio
async def test_what_is_not_encrypted_goes_past_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = bytearray()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await reader.read(1_000))
        writer.close()

    listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
    async with open_channel("127.0.0.1:1", ChannelSettings(), token="secret") as channel:
        call = channel.unary_unary("/x.Y/Z")(b"", timeout=5, wait_for_ready=False)
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    listening.close()
    assert not seen
