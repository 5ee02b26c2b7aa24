"""Fixtures for all tests live in tests/support and are registered here."""

import signal

# Shells start what runs in the background with SIGINT ignored, and children inherit that: tests could interrupt none.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.databases", "tests.support.serverless_store"]
