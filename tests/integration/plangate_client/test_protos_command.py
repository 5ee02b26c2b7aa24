"""`plangate protos` gives everything that a client in another language is made from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from grpc_tools import protoc

LANGUAGE_OPTIONS = ("go_package", "java_package", "java_multiple_files", "csharp_namespace", "php_namespace")


def test_the_files_compile_from_where_they_were_written(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "plangate_client", "protos", str(tmp_path)], capture_output=True, text=True, check=True
    )
    files = sorted(tmp_path.rglob("*.proto"))
    own = sorted((tmp_path / "plangate").rglob("*.proto"))
    assert len(own) == len(sorted(Path("protos/plangate").rglob("*.proto")))
    assert {file.name for file in set(files) - set(own)} == {"status.proto", "error_details.proto"}
    assert (tmp_path / "plangate" / "service_config.json").exists()
    assert len(said.stdout.splitlines()) == len(files) + 1
    out = tmp_path / "out"
    out.mkdir()
    google = Path(protoc.__file__).parent / "_proto"
    assert (
        protoc.main(["", f"-I{tmp_path}", f"-I{google}", f"--descriptor_set_out={out / 'all'}", *map(str, files)]) == 0
    )
    for file in own:
        text = file.read_text(encoding="utf-8")
        assert [option for option in LANGUAGE_OPTIONS if f"option {option} = " not in text] == []
