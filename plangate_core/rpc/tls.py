"""TLS credentials of a server, from PEM files that are checked before gRPC sees them."""

from __future__ import annotations

import ssl

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
    try:
        pair = (settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes())
        authorities = settings.tls_client_ca_file.read_bytes() if settings.tls_client_ca_file else None
        # gRPC reports unusable files only as a failure to listen.
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.tls_client_ca_file)
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=_no_password)
    except ssl.SSLError as error:
        files = (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
        raise TlsFilesInvalid(
            "the TLS files cannot be used: they must be PEM, the key without a password and the certificate's own: "
            + ", ".join(str(file) for file in files if file is not None)
        ) from error
    except OSError as error:
        raise TlsFilesInvalid(f"a TLS file cannot be read: {error.strerror}: {error.filename}") from error
    return grpc.ssl_server_credentials(
        [pair], root_certificates=authorities, require_client_auth=authorities is not None
    )


def _no_password() -> str:
    # Without a password callback OpenSSL asks for one at the terminal and waits.
    return ""
