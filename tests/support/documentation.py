"""Shell blocks of the pages for users."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("tutorial.md", "concepts.md")),
    *sorted(ROOT.glob("docs/how-to/*.md")),
    *sorted(ROOT.glob("docs/reference/*.md")),
]
_BLOCK = re.compile(r"(?:^<!-- not run: (.+?) -->\n)?^```(console|sh)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ShellBlock:
    """`not_run` says why nobody runs it; empty: a test does."""

    not_run: str
    commands: tuple[str, ...]


def shell_blocks(page: Path) -> list[ShellBlock]:
    """The blocks of a page. In a ```console block a command begins with `$ ` and goes on after a backslash."""
    found = []
    for not_run, language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        joined = text.replace("\\\n", " ")
        lines = joined.splitlines()
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        found.append(ShellBlock(not_run, tuple(lines)))
    return found
