"""Results as a file, a page with tables, and a picture."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from bench.processes import ROOT

MACHINE = (
    f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
    f"SQLite {sqlite3.sqlite_version}"
)
TODAY = datetime.now(UTC).strftime("%Y-%m-%d")
_LABORATORY = ROOT / "docs" / "laboratory"


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. Latencies in milliseconds."""

    scenario: str
    system: str
    clients: int
    per_second: float
    p50_ms: float
    p99_ms: float
    remark: str = ""


def table(columns: str, rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table. Columns are written "name | name:"; those with a colon hold numbers."""
    names = columns.split(" | ")
    rules = ["---:" if name.endswith(":") else "---" for name in names]
    return [f"| {' | '.join(cells)} |" for cells in ([name.removesuffix(":") for name in names], rules, *rows)]


def write_report(name: str, lines: Sequence[str], measured: Mapping[str, Any]) -> str:
    """Write bench/results/NAME.json and docs/laboratory/benchmarks-NAME.md; returns the page.

    What people added to the page below the tables is kept: from the first heading of second rank on.
    """
    page = _LABORATORY / f"benchmarks-{name}.md"
    _, heading, by_hand = page.read_text().partition("\n## ") if page.exists() else ("", "", "")
    text = "\n".join(lines) + "\n" + heading + by_hand
    page.write_text(text)
    document = {"date": TODAY, "machine": MACHINE, **measured}
    (ROOT / "bench" / "results" / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    return text


def write_picture(name: str, rows: Sequence[Row], ours: str) -> None:
    """Write docs/laboratory/benchmarks-NAME.svg: horizontal bars of the rates, each scenario and system at the most
    telling number of clients."""
    chosen: dict[tuple[str, str], Row] = {}
    for row in rows:
        best = chosen.get((row.scenario, row.system))
        if best is None or row.clients == 64 or (best.clients != 64 and row.per_second > best.per_second):
            chosen[row.scenario, row.system] = row
    bars = list(chosen.values())
    rates = sorted(row.per_second for row in bars)
    # One that leaves all others far behind would make them invisible: its bar is as long as the next one's.
    most = rates[-1] if len(rates) < 2 or rates[-1] < 4 * rates[-2] else rates[-2]
    height, left, width = 24, 330, 420
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{height * len(bars) + 16}" '
        'font-family="system-ui, sans-serif" font-size="12">'
    ]
    for index, row in enumerate(bars):
        top = 8 + index * height
        length = min(width, max(1.0, row.per_second / most * width))
        colour = "#2563eb" if row.system == ours else "#9ca3af"
        label = escape(f"{row.scenario}: {row.system} ({row.clients} clients)")
        parts += [
            f'<text x="{left - 8}" y="{top + 15}" text-anchor="end" fill="#6b7280">{label}</text>',
            f'<rect x="{left}" y="{top + 3}" width="{length:.1f}" height="{height - 7}" rx="2" fill="{colour}"/>',
            f'<text x="{left + length + 6:.1f}" y="{top + 15}" fill="#6b7280">{row.per_second:,.0f}/s</text>',
        ]
    (_LABORATORY / f"benchmarks-{name}.svg").write_text("\n".join([*parts, "</svg>", ""]))
