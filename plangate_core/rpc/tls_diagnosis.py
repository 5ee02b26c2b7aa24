"""Why a server that is there cannot be talked to: looked up by a TLS handshake of our own, after a call failed."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING

from plangate_core.rpc.address import AddressInvalid, split_host_port

if TYPE_CHECKING:
    from plangate_core.rpc.settings import ChannelSettings

_TIMEOUT_SECONDS = 2.0


def diagnose(target: str, settings: ChannelSettings) -> str:
    """What keeps client and server apart, as a clause; empty when nothing listens there or nothing was found."""
    try:
        host, port = split_host_port(target)
    except AddressInvalid:
        return ""
    secure = settings.tls or settings.tls_ca_file is not None
    try:
        if not secure:
            return "it speaks TLS: give --tls-ca FILE (PLANGATE_TLS_CA_FILE)" if _certificate(host, port) else ""
        return _why_not_trusted(host, port, settings)
    except OSError:
        # Nothing listens there, or it takes no time for us.
        return ""


def _certificate(host: str, port: int) -> bytes:
    """The server's certificate (DER), not verified; empty when it does not speak TLS. Raises OSError."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as secured:
                return secured.getpeercert(binary_form=True) or b""
        except (ssl.SSLError, TimeoutError, ConnectionError):
            return b""


def _why_not_trusted(host: str, port: int, settings: ChannelSettings) -> str:
    certificate = _certificate(host, port)
    if not certificate:
        return "it does not speak TLS"
    context = ssl.create_default_context(cafile=None if settings.tls_ca_file is None else str(settings.tls_ca_file))
    context.set_alpn_protocols(["h2"])
    with contextlib.suppress(ssl.SSLError):
        if settings.tls_client_cert_file and settings.tls_client_key_file:
            context.load_cert_chain(settings.tls_client_cert_file, settings.tls_client_key_file)
    with socket.create_connection((host, port), timeout=_TIMEOUT_SECONDS) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as secured:
                # Under TLS 1.3 a server that misses the client's certificate says so only now.
                secured.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    secured.recv(1)
        except ssl.SSLCertVerificationError as error:
            return _words(error, host, certificate)
        except (ssl.SSLError, ConnectionError):
            return "it asks for a certificate of yours (PLANGATE_TLS_CLIENT_CERT_FILE)"
    return ""


def _words(error: ssl.SSLCertVerificationError, host: str, certificate: bytes) -> str:
    if error.verify_message.startswith(("Hostname mismatch", "IP address mismatch")):
        names = certificate_names(ssl.DER_cert_to_PEM_cert(certificate).encode())
        return f"its certificate is for {' and '.join(names) or 'no name'}, and {host} was dialled"
    if "expired" in error.verify_message:
        return "its certificate has expired"
    if "not yet valid" in error.verify_message:
        return "its certificate is not valid yet: is a clock wrong?"
    return "no authority that is trusted here has signed its certificate (--tls-ca)"


def certificate_names(pem: bytes) -> list[str]:
    """DNS names and addresses that the first certificate is good for. Raises ValueError for what is none."""
    # Most commands never need it.
    from cryptography import x509

    certificate = x509.load_pem_x509_certificates(pem)[0]
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = alternatives.get_values_for_type(x509.IPAddress)
    return [
        *alternatives.get_values_for_type(x509.DNSName),
        *(str(address) for address in addresses if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)),
    ]
