"""What libraries say on standard error."""

from __future__ import annotations

import json
import subprocess
import sys

WARNING = """
import warnings
from rpckit.settings import LoggingSettings
from rpckit.telemetry import configure_logging
configure_logging(LoggingSettings(log_level="debug"))
warnings.warn("input_value='what the model said'")
"""


def test_warnings_are_logged_without_their_text() -> None:
    done = subprocess.run([sys.executable, "-c", WARNING], capture_output=True, check=True, text=True)
    [line] = done.stderr.splitlines()
    logged = json.loads(line)
    assert (logged["event"], logged["kind"], logged["place"]) == ("python warns", "UserWarning", "<string>:6")
    assert "model said" not in line
