"""A recording on a disk that is full for a while."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FULL_FOR_A_WHILE = """
import resource, sys
from pathlib import Path
from planner_service.generation.providers.recording import RecordingFile
file = RecordingFile(Path(sys.argv[1]))
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
for name in ("cut", "lost"):
    file.append("exchange", {"id": name * 50})
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
file.append("exchange", {"id": "whole"})
"""


def test_an_entry_that_was_cut_off_spoils_no_other_and_is_said(tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL_FOR_A_WHILE, str(recording)], capture_output=True, text=True, check=True
    )
    assert (done.stdout + done.stderr).count("the recording lacks an entry") == 2
    header, cut, whole = recording.read_text().splitlines()
    assert json.loads(header)["format"] == "plangate-recording"
    assert cut.startswith('{"kind": "exchange", "id": "cutcut')
    assert json.loads(whole) == {"kind": "exchange", "id": "whole"}
