"""A plan's steps as a drawing: rows from top to bottom, each step below all that come before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plangate_core.text.printable import visible
from plangate_core.text.truncation import truncate
from plangate_inbox.views.steps import Step

NODE_WIDTH = 216
NODE_HEIGHT = 62
_GAP_X = 26
_GAP_Y = 44
_MARGIN = 8
_NAME_CHARACTERS = 26


@dataclass(frozen=True, slots=True)
class Node:
    """A step's box. `x` and `y` are its upper left corner in pixels; texts are short enough for it."""

    step: Step
    x: int
    y: int
    name: str
    action: str


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow, as the data of an SVG path and of its tip."""

    path: str
    tip: str


@dataclass(frozen=True, slots=True)
class Graph:
    """All of it, and its size in pixels."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    width: int
    height: int


def graph(steps: Sequence[Step]) -> Graph:
    """Place the steps. Dependencies that are not in the plan, or go round in circles, are left out."""
    rows = _rows(steps)
    left: dict[str, float] = {}
    for row in rows:
        _place(row, left)
    first = min(left.values(), default=0.0)
    placed: dict[str, Node] = {}
    for number, row in enumerate(rows):
        for step in row:
            x = _MARGIN + round(left[step.job_id] - first)
            y = _MARGIN + number * (NODE_HEIGHT + _GAP_Y)
            name, action = (truncate(visible(text), _NAME_CHARACTERS) for text in (step.job_id, step.action_name))
            placed[step.job_id] = Node(step, x, y, name, action)
    width = max((node.x for node in placed.values()), default=0) + NODE_WIDTH + _MARGIN
    edges = [
        _edge(placed[before], placed[step.job_id])
        for step in steps
        for before in step.after
        if before in placed and placed[before].y < placed[step.job_id].y
    ]
    height = 2 * _MARGIN + len(rows) * NODE_HEIGHT + max(0, len(rows) - 1) * _GAP_Y
    return Graph(tuple(placed.values()), tuple(edges), width, height)


def _rows(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps by the length of the longest way to them."""
    depth = dict.fromkeys((step.job_id for step in steps), 0)
    for _ in steps:
        deeper = {
            step.job_id: max((depth[before] + 1 for before in step.after if before in depth), default=0)
            for step in steps
        }
        if deeper == depth:
            break
        depth = deeper
    levels = sorted(set(depth.values()))
    return [[step for step in steps if depth[step.job_id] == level] for level in levels]


def _place(row: Sequence[Step], left: dict[str, float]) -> None:
    """Give the steps of one row their left edges: each below the middle of those it comes after, none over another."""
    wanted = {
        step.job_id: sum(above) / len(above) if (above := [left[name] for name in step.after if name in left]) else 0.0
        for step in row
    }
    next_free = float("-inf")
    for step in sorted(row, key=lambda step: wanted[step.job_id]):
        left[step.job_id] = max(wanted[step.job_id], next_free)
        next_free = left[step.job_id] + NODE_WIDTH + _GAP_X


def _edge(before: Node, after: Node) -> Edge:
    x1, y1 = before.x + NODE_WIDTH // 2, before.y + NODE_HEIGHT
    x2, y2 = after.x + NODE_WIDTH // 2, after.y
    bend = (y2 - y1) // 2
    return Edge(
        path=f"M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2 - 7}",
        tip=f"M{x2 - 5} {y2 - 9}L{x2 + 5} {y2 - 9}L{x2} {y2}Z",
    )
