"""Draws the trace of one CreatePlan as docs/pictures/trace.svg.

    python -m bench.trace_picture

Planner and store are real, in one process; the model server's first reply is not valid.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "trace.svg"
WIDTH, NAMES, ROW, TOP = 960, 370, 26, 40
COLOURS = {"client": "#6e7781", "plangate.planner": "#0969da", "chat": "#bc4c00", "plangate.store": "#1a7f37"}
Span = dict[str, Any]


def recorded() -> list[Span]:
    """The spans of the program, in the order in which they ended."""
    with tempfile.TemporaryDirectory() as directory:
        printed = subprocess.run(
            [sys.executable, "-m", "tests.support.recorded_spans", directory],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    return [json.loads(line) for line in printed.stdout.splitlines()]


def tree(spans: list[Span], root: Span, depth: int = 0) -> Iterator[tuple[int, Span]]:
    """The span and those below it, each with its depth."""
    yield depth, root
    for span in sorted(spans, key=lambda span: int(span["begin"])):
        if span["parent"] == root["id"]:
            yield from tree(spans, span, depth + 1)


def svg(rows: list[tuple[int, Span]]) -> str:
    """One row a span: name, bar, milliseconds."""
    root = rows[0][1]
    scale = (WIDTH - NAMES - 90) / (root["end"] - root["begin"])
    height = TOP + ROW * len(rows) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="10" y="22" font-weight="bold">One CreatePlan, from the client to the commit</text>',
    ]
    for number, (depth, span) in enumerate(rows):
        y = TOP + ROW * number
        left = NAMES + (span["begin"] - root["begin"]) * scale
        wide = max(2.0, (span["end"] - span["begin"]) * scale)
        colour = next((colour for start, colour in COLOURS.items() if span["name"].startswith(start)), "#116329")
        name = span["name"].removeprefix("plangate.") + (f" ({span['status']})" if span["status"] else "")
        milliseconds = f"{(span['end'] - span['begin']) / 1e6:.1f} ms"
        lines += [
            f'<text x="{10 + 16 * depth}" y="{y + 16}" fill="#1f2328">{escape(name)}</text>',
            f'<rect x="{left:.1f}" y="{y + 4}" width="{wide:.1f}" height="16" rx="2" fill="{colour}"/>',
            f'<text x="{left + wide + 6:.1f}" y="{y + 16}" fill="#59636e">{milliseconds}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    spans = recorded()
    [client] = (span for span in spans if span["name"] == "client")
    PICTURE.write_text(svg(list(tree(spans, client))), encoding="utf-8")
