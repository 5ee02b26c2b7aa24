"""What the demo's catalogue binds: small, harmless, and confined to the directory it runs in. Standard library only."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tarfile
import time
from pathlib import Path

_DAY_SECONDS = 24 * 3600


def measure_disk_use(directory: Path) -> str:
    """Sizes of all files below it, the largest three by name."""
    files = sorted(((path.stat().st_size, path) for path in directory.rglob("*") if path.is_file()), reverse=True)
    total = sum(size for size, _ in files)
    lines = [f"{directory.name}: {len(files)} files, {total:,} bytes"]
    return "\n".join([*lines, *(f"{size:>12,}  {path.relative_to(directory)}" for size, path in files[:3])])


def find_log_errors(path: Path) -> str:
    """Lines that say ERROR or CRITICAL, the last three whole."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.search(r"\b(ERROR|CRITICAL)\b", line)]
    return "\n".join([f"{path.name}: {len(lines)} errors", *lines[-3:]])


def write_incident_note(note: dict[str, str]) -> str:
    """A Markdown file below notes/, named after the title."""
    slug = re.sub(r"[^a-z0-9]+", "-", note["title"].lower()).strip("-") or "note"
    path = Path("notes") / f"{slug[:60]}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"# {note['title']}\n\n{note['text']}\n", encoding="utf-8")
    return f"wrote {path}"


def archive_old_logs(directory: Path, older_than_days: int) -> str:
    """Move old *.log files into archive/DIRECTORY.tar.gz."""
    limit = time.time() - older_than_days * _DAY_SECONDS
    old = sorted(path for path in directory.glob("*.log") if path.stat().st_mtime < limit)
    if not old:
        return f"no log in {directory.name} is older than {older_than_days} days"
    archive = Path("archive") / f"{directory.name}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "x:gz") as tar:
        for path in old:
            tar.add(path, arcname=path.name)
    for path in old:
        path.unlink()
    return f"archived {', '.join(path.name for path in old)} into {archive}"


def delete_file(path: Path) -> str:
    """Delete it. A directory is refused."""
    size = path.stat().st_size
    path.unlink()
    return f"deleted {path.name}, {size:,} bytes"


def main() -> int:
    """The exit status: 0 done, 1 it could not be done."""
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("measure-disk-use").add_argument("directory", type=Path)
    verbs.add_parser("find-log-errors").add_argument("path", type=Path)
    verbs.add_parser("write-incident-note")
    archiving = verbs.add_parser("archive-old-logs")
    archiving.add_argument("--older-than-days", type=int, required=True)
    archiving.add_argument("directory", type=Path)
    verbs.add_parser("delete-file").add_argument("path", type=Path)
    arguments = vars(parser.parse_args())
    verb = arguments.pop("verb")
    try:
        if verb == "write-incident-note":
            print(write_incident_note(json.load(sys.stdin)))
        else:
            print(globals()[verb.replace("-", "_")](**arguments))
    except OSError as error:
        print(f"{error.strerror}: {Path(str(error.filename)).name}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
