"""Fixtures for all tests live in tests/support and are registered here."""

pytest_plugins = ["tests.support.databases", "tests.support.serverless_store"]
