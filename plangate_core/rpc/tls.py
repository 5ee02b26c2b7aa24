"""TLS credentials of a server, from PEM files that are checked before gRPC sees them."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from plangate_core.rpc.settings import ServerSettings


class TlsFilesInvalid(Exception):
    """The TLS files cannot be used; the message says why, on one line."""


def server_credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    """Credentials of the certificate and key in the settings. With a client CA, clients must show a certificate.

    Raises TlsFilesInvalid.
    """
    assert settings.tls_cert_file is not None
    assert settings.tls_key_file is not None
    # gRPC reports unusable files only as a failure to listen.
    certificate, key, authorities = read_tls_files(
        settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file
    )
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authorities, require_client_auth=authorities is not None
    )


def read_tls_files(certificate: Path, key: Path, authorities: Path | None = None) -> tuple[bytes, bytes, bytes | None]:
    """What is in a server's files. Raises TlsFilesInvalid when it is of no use."""
    try:
        contents = certificate.read_bytes(), key.read_bytes(), authorities.read_bytes() if authorities else None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authorities)
        # Without a password OpenSSL asks for one at the terminal and waits.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        files = (certificate, key, authorities)
        raise TlsFilesInvalid(
            "the TLS files cannot be used: they must be PEM, the key without a password and the certificate's own: "
            + ", ".join(str(file) for file in files if file is not None)
        ) from error
    except OSError as error:
        raise TlsFilesInvalid(f"a TLS file cannot be read: {error.strerror}: {error.filename}") from error
    return contents
