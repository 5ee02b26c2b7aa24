"""Credentials for a first deployment: a private authority, the servers' certificate, and one token per identity.

Enough for one machine or one Compose project. Larger houses bring certificates of their own and only need the tokens
file (see plangate_core.rpc.identity.tokens_file): it holds digests, never tokens.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from plangate_core.text.truncation import truncate

VALID_DAYS = 825  # the longest that common TLS stacks accept for a server's certificate

_MAX_NAME_CHARACTERS = 253
_DNS_NAME = re.compile(r"(?:\*\.)?(?:(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\.)*(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")

IDENTITIES: Mapping[str, tuple[str, ...]] = {
    "planner": ("planner",),
    "admin": ("admin", "reviewer", "executor"),
    "requester": (),
    "reviewer": ("reviewer",),
    "executor": ("executor",),
}
"""Identity -> roles of the tokens that are made."""


class CredentialsExist(Exception):
    """The directory holds credentials already; they are never overwritten."""


class ForeignFiles(CredentialsExist):
    """The directory holds some files of these names, but no set of credentials."""


class HostRefused(ValueError):
    """A certificate cannot be good for this name or address; the message says why, on one line."""


def write_credentials(directory: Path, hosts: Sequence[str], *, now: datetime | None = None) -> list[Path]:
    """Write ca.pem, server.pem, server-key.pem, tokens.yaml and one NAME.token per identity; return their paths.

    `hosts` are the DNS names and addresses that the servers' certificate is good for. Secrets are readable by their
    owner alone. Raises CredentialsExist when one of the files is there (ForeignFiles when tokens.yaml is not),
    HostRefused, OSError when the directory cannot be written.
    """
    now = now or datetime.now(UTC)
    authority_key, authority = _authority(now)
    server_key, server = _server(hosts, authority_key, authority, now)
    tokens = {identity: secrets.token_urlsafe(32) for identity in IDENTITIES}
    entries = [
        {"sha256": hashlib.sha256(tokens[identity].encode()).hexdigest(), "identity": identity, "roles": list(roles)}
        for identity, roles in IDENTITIES.items()
    ]
    # The authority's key is not kept: nothing else can ever be signed with it.
    public = {"ca.pem": _pem(authority), "server.pem": _pem(server)}
    private = {"server-key.pem": _key_pem(server_key), **{f"{name}.token": f"{t}\n" for name, t in tokens.items()}}
    private["tokens.yaml"] = yaml.safe_dump({"tokens": entries}, sort_keys=False)
    directory.mkdir(parents=True, exist_ok=True)
    _refuse_to_overwrite(directory, [*public, *private])
    moved: list[Path] = []
    # Inside, where a volume may be mounted. What is cut short leaves nothing but this.
    with TemporaryDirectory(prefix=".unfinished-", dir=directory) as unfinished:
        for name, text in (public | private).items():
            path = Path(unfinished, name)
            path.touch(mode=0o600 if name in private else 0o644)
            path.write_text(text, encoding="utf-8")
        try:
            # tokens.yaml comes last: where it is, all are.
            for name in public | private:
                moved.append(Path(unfinished, name).rename(directory / name))
        except BaseException:
            for path in moved:
                path.unlink(missing_ok=True)
            raise
    return moved


def _refuse_to_overwrite(directory: Path, names: Sequence[str]) -> None:
    if os.path.lexists(directory / "tokens.yaml"):
        raise CredentialsExist(f"{directory} holds credentials already: remove them first to make new ones")
    if there := [name for name in names if os.path.lexists(directory / name)]:
        raise ForeignFiles(f"{directory} holds {', '.join(there)} already, which would be overwritten")


def _authority(now: datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Plangate private authority")])
    certificate = (
        _builder(name, name, key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def _server(
    hosts: Sequence[str], authority_key: ec.EllipticCurvePrivateKey, authority: x509.Certificate, now: datetime
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Plangate server")])
    certificate = (
        _builder(name, authority.subject, key, now)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return key, certificate


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not host.isascii():
        raise HostRefused(f"a certificate holds names in ASCII: write {host!r} as DNS does, xn--...")
    if len(host) > _MAX_NAME_CHARACTERS or not _DNS_NAME.fullmatch(host):
        raise HostRefused(f"{truncate(host, 80)!r} is no DNS name, nor an address without a port")
    return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
