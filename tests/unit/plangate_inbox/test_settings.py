"""Where the review page may listen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plangate_core.process.settings import SettingsRefused, read_settings
from plangate_inbox.settings import InboxSettings

CERTIFICATE: dict[str, Any] = {"tls_cert_file": Path("cert.pem"), "tls_key_file": Path("key.pem")}


@pytest.mark.parametrize(
    ("given", "secure"),
    [
        ({}, False),
        ({"inbox_listen": "[::1]:0"}, False),
        ({"inbox_listen": "0.0.0.0:8443", **CERTIFICATE}, True),
        ({"inbox_listen": "0.0.0.0:8080", "inbox_url": "https://plangate.example.org"}, True),
        ({"inbox_url": "http://localhost:8080"}, False),
    ],
)
def test_it_listens_on_loopback_or_behind_tls(given: dict[str, Any], secure: bool) -> None:
    assert read_settings(InboxSettings, **given).is_secure is secure


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"inbox_listen": "0.0.0.0:8080"}, "only loopback without TLS"),
        ({"inbox_listen": "0.0.0.0:8080", "inbox_url": "http://plangate.example.org"}, "only loopback without TLS"),
        ({"inbox_listen": "here"}, "PLANGATE_INBOX_LISTEN: 'here' is not an address"),
        ({"tls_cert_file": Path("cert.pem")}, "go together"),
        ({"inbox_url": "ftp://x"}, "PLANGATE_INBOX_URL: must be"),
        ({"inbox_url": "https://x/path"}, "PLANGATE_INBOX_URL: must be"),
        ({"inbox_oidc_issuer": "https://login.example.org"}, "go together"),
        ({"inbox_oidc_issuer": "http://login.example.org", "inbox_oidc_client_id": "page"}, "must be https://"),
        (
            {
                "inbox_listen": "0.0.0.0:8443",
                **CERTIFICATE,
                "inbox_oidc_issuer": "https://x",
                "inbox_oidc_client_id": "p",
            },
            "needs PLANGATE_INBOX_URL",
        ),
    ],
)
def test_what_would_be_open_to_listeners_is_refused(given: dict[str, Any], fault: str) -> None:
    with pytest.raises(SettingsRefused, match=fault):
        read_settings(InboxSettings, **given)
