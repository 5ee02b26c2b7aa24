"""Results as a file, a table and a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from bench.processes import ROOT


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


def write_report(
    name: str, title: str, machine: str, how: str, rows: Sequence[Row], legend: str, *, ceiling: str, ours: str
) -> None:
    """Write bench/results/NAME.json, docs/benchmarks-NAME.md and docs/benchmarks-NAME.svg.

    `how`: of what the rows were made, as a clause: "medians of 3 rounds of 1.5 s". `legend`: what the scenarios are.
    `ceiling` and `ours`: systems.
    """
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    document = {"date": date, "machine": machine, "how": how, "rows": [asdict(row) for row in rows]}
    (results / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    ceilings = {row.clients: row.per_second for row in rows if row.system == ceiling}
    lines = [
        f"# {title}",
        "",
        f"Measured on {date} by `python -m bench.{name}` on {machine}: {how}.",
        "Numbers of different runs or machines do not compare; ratios within this one do.",
        f'"Of ceiling" is the rate as a part of what the {ceiling} does with as many clients.',
        "",
        f"![{title}](benchmarks-{name}.svg)",
        "",
        "| scenario | system | clients | per second | p50 ms | p99 ms | of ceiling | remark |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        ratio = f"{row.per_second / ceilings[row.clients]:.2f}" if row.clients in ceilings else ""
        cells = [row.scenario, row.system, str(row.clients), f"{row.per_second:,.0f}"]
        cells += [f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}", ratio, row.remark]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *legend.splitlines()]
    page = ROOT / "docs" / "laboratory" / f"benchmarks-{name}.md"
    page.write_text("\n".join(lines) + "\n" + written_by_hand(page))
    (ROOT / "docs" / "laboratory" / f"benchmarks-{name}.svg").write_text(picture(rows, ours))


def written_by_hand(page: Path) -> str:
    """What people added below the table: from the first heading of second rank on."""
    _, heading, text = page.read_text().partition("\n## ") if page.exists() else ("", "", "")
    return heading + text


def picture(rows: Sequence[Row], ours: str) -> str:
    """Horizontal bars of the rates at the most telling number of clients per scenario and system."""
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
        parts.append(f'<text x="{left - 8}" y="{top + 15}" text-anchor="end" fill="#6b7280">{label}</text>')
        parts.append(
            f'<rect x="{left}" y="{top + 3}" width="{length:.1f}" height="{height - 7}" rx="2" fill="{colour}"/>'
        )
        parts.append(f'<text x="{left + length + 6:.1f}" y="{top + 15}" fill="#6b7280">{row.per_second:,.0f}/s</text>')
    return "\n".join([*parts, "</svg>", ""])
