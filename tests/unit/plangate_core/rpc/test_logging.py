"""What libraries say on standard error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WARNING = """
import warnings
from plangate_core.rpc.settings import LoggingSettings
from plangate_core.rpc.telemetry import configure_logging
configure_logging(LoggingSettings(log_level="debug"))
warnings.warn("input_value='what the model said'")
"""


def test_warnings_are_logged_without_their_text() -> None:
    done = subprocess.run([sys.executable, "-c", WARNING], capture_output=True, check=True, text=True)
    [line] = done.stderr.splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["kind"], logged["place"]) == ("python warns", "UserWarning", "<string>:6")
    assert "model said" not in line


FULL_DISK = """
import logging
import structlog
from plangate_core.rpc.settings import LoggingSettings
from plangate_core.rpc.telemetry import configure_logging
configure_logging(LoggingSettings(log_level="debug"))
for number in range(1000):
    structlog.get_logger().warning("lost", number=number)
    logging.getLogger("library").error("lost")
print("went on", flush=True)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_line_that_cannot_be_written_fails_nothing_else() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", FULL_DISK], stdout=subprocess.PIPE, stderr=full, text=True)
    assert done.stdout == "went on\n"
