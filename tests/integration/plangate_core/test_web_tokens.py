"""JSON Web Tokens as identities, from the wire: what is taken, and everything that is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from plangate.store.v1 import store_service_pb2 as rpc
from plangate.store.v1 import store_service_pb2_grpc

from plangate_core.rpc.identity import signing_keys
from plangate_core.rpc.status import RpcFailure, from_rpc_error
from tests.integration.plangate_core.test_server import Served, serving

ISSUER = "https://login.example.org"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, key_id: str, **fields: Any) -> dict[str, Any]:
    algorithm: Any = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig", **fields}


def token(
    key: Any = RSA_KEY, *, algorithm: str = "RS256", key_id: str | None = "first", leave_out: str = "", **claims: Any
) -> str:
    now = int(time.time())
    payload = {"iss": ISSUER, "aud": "plangate", "exp": now + 86_400, "email": "alice@example.org", "groups": ["leads"]}
    payload |= claims
    payload.pop(leave_out, None)
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": key_id} if key_id else None)


def unsigned(header: Any, payload: Any, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


class Issuer:
    """A tokens file that trusts an issuer whose keys are in a file, and the served methods that need a token."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tokens_file = directory / "tokens.yaml"
        self.served: Served

    def publish(self, *keys: dict[str, Any]) -> None:
        (self.directory / "keys.json").write_text(json.dumps({"keys": keys}))

    def write(self, jwks: str = "keys.json", **fields: Any) -> None:
        entry = {
            "issuer": ISSUER,
            "audience": "plangate",
            "algorithms": ["RS256"],
            "jwks": jwks,
            "identity_claim": "email",
            "roles_claim": "groups",
            "roles": {"leads": ["reviewer", "finance"]},
            **fields,
        }
        tokens = [{"sha256": hashlib.sha256(b"s3cret").hexdigest(), "identity": "bob", "roles": []}]
        self.tokens_file.write_text(yaml.safe_dump({"issuers": [entry], "tokens": tokens}))

    async def call(self, *authorization: str) -> Any:
        async with grpc.aio.insecure_channel(self.served.target) as channel:
            metadata = tuple(("authorization", value) for value in authorization)
            stub = store_service_pb2_grpc.PlanServiceStub(channel)
            await stub.GetPlan(rpc.GetPlanRequest(id="x"), metadata=metadata, timeout=20)
        return self.served.plans.callers[-1]

    async def failure(self, *authorization: str) -> RpcFailure:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(*authorization)
        return from_rpc_error(caught.value)


@asynccontextmanager
async def trusting(directory: Path, jwks: str = "keys.json", **fields: Any) -> AsyncIterator[Issuer]:
    issuer = Issuer(directory)
    issuer.publish(jwk(RSA_KEY, "first"))
    issuer.write(jwks, **fields)
    async with serving(auth_tokens_file=issuer.tokens_file) as served:
        issuer.served = served
        yield issuer


@pytest_asyncio.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    async with trusting(tmp_path) as issuer:
        yield issuer


@pytest.mark.asyncio
async def test_a_good_token_gives_identity_and_mapped_roles(issuer: Issuer) -> None:
    for _ in range(2):  # the second time from memory
        caller = await issuer.call(f"Bearer {token(groups=['leads', 'unmapped', 7])}")
        assert (caller.identity, caller.roles) == ("alice@example.org", {"reviewer", "finance"})
        assert caller.authenticated
    assert (await issuer.call(f"bearer {token(groups='leads other')}")).roles == {"reviewer", "finance"}
    # Case never makes two people of one.
    assert (await issuer.call(f"Bearer {token(email='ALICE@example.org')}")).identity == "alice@example.org"
    assert (await issuer.call("Bearer s3cret")).identity == "bob"


CONFUSED = {"alg": "HS256", "typ": "JWT", "kid": "first"}
PAYLOAD = {"iss": ISSUER, "aud": "plangate", "exp": int(time.time()) + 86_400, "email": "mallory@example.org"}


def signed_with_the_public_key() -> str:
    body = unsigned(CONFUSED, PAYLOAD).rpartition(".")[0]
    signature = hmac.new(public_pem(RSA_KEY), body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


NESTED = base64.urlsafe_b64encode(b"[" * 2_000 + b"]" * 2_000).decode()
HEADER, _, SIGNATURE = token().split(".")
OTHERS_PAYLOAD = ".".join([HEADER, token(email="eve@example.org").split(".")[1], SIGNATURE])
LOOKS_LIKE = "the token's identity looks like another one that is known here"
REFUSED = {
    "expired": (token(exp=int(time.time()) - 60), "the token has expired"),
    "not valid yet": (token(nbf=int(time.time()) + 43_200), "the token is not valid yet"),
    "wrong audience": (token(aud="billing"), "the token is meant for another audience"),
    "no audience": (token(leave_out="aud"), "the token lacks the claim 'aud'"),
    "no expiry": (token(leave_out="exp"), "the token lacks the claim 'exp'"),
    "wrong issuer": (token(iss="https://evil.example.org"), "the token's issuer is not known here"),
    "no issuer": (token(leave_out="iss"), "the token's issuer is not known here"),
    "issuer that is a list": (unsigned({"alg": "RS256"}, {"iss": [ISSUER]}), "the token's issuer is not known here"),
    "wrong algorithm": (token(algorithm="RS512"), "the token is signed with an algorithm that is not accepted"),
    "none": (unsigned({"alg": "none"}, PAYLOAD), "the token is signed with an algorithm that is not accepted"),
    "algorithm that is a list": (unsigned({"alg": ["RS256"]}, PAYLOAD), None),
    "key confusion": (signed_with_the_public_key(), "the token is signed with an algorithm that is not accepted"),
    "foreign key": (token(OTHER_KEY), "the token's signature is wrong"),
    "unknown key id": (token(key_id="nobody's"), "the token is signed with a key that its issuer does not have"),
    "a key of its own": (unsigned({"alg": "RS256", "jwk": jwk(OTHER_KEY, "mine"), "kid": "mine"}, PAYLOAD), None),
    "no signature": (token().rpartition(".")[0] + ".", "the token's signature is wrong"),
    "another payload": (OTHERS_PAYLOAD, "the token's signature is wrong"),
    "no identity": (token(leave_out="email"), "the token has no claim 'email' to name the caller by"),
    "an identity that is none": (token(email="a\nb"), None),
    "a reserved identity": (token(email="system:sweeper"), None),
    "a known identity's look-alike": (token(email="b0b"), LOOKS_LIKE),
    "nested": (".".join([HEADER, NESTED, "x"]), "the token is not known here"),
    "too long": (token(email="a" * 4_500), "the token is not known here"),
    "not a token": ("a.b.c", "the token is not known here"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", REFUSED)
async def test_refused(issuer: Issuer, name: str) -> None:
    text, message = REFUSED[name]
    failure = await issuer.failure(f"Bearer {text}")
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert message is None or failure.message == message
    assert issuer.served.plans.callers == []


@pytest.mark.asyncio
async def test_no_token_another_scheme_and_two_of_them(issuer: Issuer) -> None:
    assert (await issuer.failure()).message == "send metadata authorization: Bearer TOKEN"
    assert (await issuer.failure(f"Basic {token()}")).code is grpc.StatusCode.UNAUTHENTICATED
    twice = await issuer.failure(f"Bearer {token()}", "Bearer s3cret")
    assert (twice.code, twice.message) == (grpc.StatusCode.INVALID_ARGUMENT, "authorization must be sent once")


@pytest.mark.asyncio
async def test_a_key_of_another_type_or_algorithm_verifies_nothing(tmp_path: Path) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    async with trusting(tmp_path, algorithms=["RS256", "PS256", "ES256"]) as issuer:
        issuer.publish(jwk(RSA_KEY, "first", alg="RS256"), jwk(curve, "curve"), jwk(OTHER_KEY, "enc", use="enc"))
        assert (await issuer.call(f"Bearer {token(curve, algorithm='ES256', key_id='curve')}")).authenticated
        other = await issuer.failure(f"Bearer {token(algorithm='PS256')}")
        assert other.message == "the token is signed with an algorithm that is not its key's"
        for wrong in (token(key_id="curve"), token(OTHER_KEY, key_id="enc"), token(key_id=None)):
            assert (await issuer.failure(f"Bearer {wrong}")).code is grpc.StatusCode.UNAUTHENTICATED


class KeyServer:
    """Serves a key set over HTTP as an issuer does."""

    def __init__(self) -> None:
        self.keys = [jwk(RSA_KEY, "first")]
        self.status = 200
        self.padding = ""
        self.requests = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.status == 302:
            raise web.HTTPFound("/elsewhere")
        return web.json_response({"keys": self.keys, "padding": self.padding}, status=self.status)


@pytest_asyncio.fixture
async def key_server() -> AsyncIterator[tuple[KeyServer, str]]:
    server, app = KeyServer(), web.Application()
    app.router.add_get("/keys", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield server, f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    await runner.cleanup()


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    defaults = signing_keys.SigningKeys.__init__.__defaults__
    assert defaults is not None
    monkeypatch.setattr(signing_keys.SigningKeys.__init__, "__defaults__", (clock,))
    return clock


@pytest.mark.asyncio
async def test_keys_that_rotate_while_serving(tmp_path: Path, key_server: tuple[KeyServer, str], clock: Clock) -> None:
    server, url = key_server
    async with trusting(tmp_path, url) as issuer:
        assert (await issuer.call(f"Bearer {token()}")).authenticated
        assert server.requests == 1
        server.keys = [jwk(OTHER_KEY, "second")]
        # Unknown key ids make no more than one request in ten seconds, whoever sends them.
        for _ in range(5):
            assert (await issuer.failure(f"Bearer {token(OTHER_KEY, key_id='second')}")).code
        assert server.requests == 1
        clock.seconds += 11
        assert (await issuer.call(f"Bearer {token(OTHER_KEY, key_id='second')}")).authenticated
        assert server.requests == 2
        # The first key is gone, also for tokens that were found good before.
        assert (await issuer.failure(f"Bearer {token()}")).code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.asyncio
async def test_keys_that_cannot_be_read_any_more_count_until_they_are_stale(
    tmp_path: Path, key_server: tuple[KeyServer, str], clock: Clock
) -> None:
    server, url = key_server
    async with trusting(tmp_path, url, refresh_seconds=60, stale_seconds=600) as issuer:
        good = token(exp=int(time.time()) + 100_000)
        assert (await issuer.call(f"Bearer {good}")).authenticated
        server.status = 503
        clock.seconds += 300
        assert (await issuer.call(f"Bearer {good}")).authenticated
        clock.seconds += 301
        assert (await issuer.failure(f"Bearer {good}")).message == "the keys of the token's issuer cannot be read now"
        server.status = 200
        clock.seconds += 11
        assert (await issuer.call(f"Bearer {good}")).authenticated


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["redirect", "too large", "no keys", "secret keys only"])
async def test_key_sets_that_are_not_taken(tmp_path: Path, key_server: tuple[KeyServer, str], fault: str) -> None:
    server, url = key_server
    if fault == "redirect":
        server.status = 302
    elif fault == "too large":
        server.padding = "x" * 600_000
    else:
        server.keys = [] if fault == "no keys" else [{"kty": "oct", "k": "c2VjcmV0", "kid": "first"}]
    async with trusting(tmp_path, url) as issuer:
        failure = await issuer.failure(f"Bearer {token()}")
        assert failure.message == "the keys of the token's issuer cannot be read now"
        assert server.requests == 1
