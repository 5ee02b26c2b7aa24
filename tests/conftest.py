"""Fixtures for all tests live in tests/support and are registered here."""

import gc
import os
import signal
import sys

from hypothesis import HealthCheck, settings

# Shells start what runs in the background with SIGINT ignored, and children inherit that: tests could interrupt none.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests start hundreds of processes: each would compile every module anew, three quarters of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A machine that stands still for a moment is no fault of the code: each test has a timeout of its own.
settings.register_profile("plangate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("plangate")

pytest_plugins = [
    "tests.support.databases",
    "tests.support.serverless_store",
    "tests.support.browser",
    "tests.support.support_desk",
]


# What is imported and collected stays: the collector would walk it again and again, a fifth of these tests' CPU.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
