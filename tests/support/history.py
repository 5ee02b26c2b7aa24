"""A checker of concurrent histories: could one correct store have given all these answers?

Clients record each call on a proposal with its start, its end and what it was told. Per proposal the versions must
form one line, and every answer must have been true at some moment between the call's start and its end:

- a write that was acknowledged as version v was the only one to make v, from v - 1;
- a write whose answer was lost may or may not have happened, at any time after its start;
- a read of version v (a get, or a conflict that names v as the current version) happened after v was made and before
  v + 1 was;
- whoever reads v sees the content that the maker of v wrote.

With c(v) the moment at which v was made, each of these is a lower or an upper bound on one c(v); a history is possible
exactly when c can be chosen within the bounds and increasing, which one pass decides (the same reduction of reads and
writes to intervals as in Gibbons & Korach, "Testing Shared Memories", 1997, made easy by the versions).
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Write:
    """One attempt to change a proposal from version `expected` by writing `content`.

    `version` is what the store acknowledged; None when the answer was lost.
    """

    proposal_id: str
    expected: int
    content: str
    version: int | None
    start: float
    end: float = math.inf


@dataclass(frozen=True, slots=True)
class Read:
    """A moment at which the store said that `version` was current; `content` None when it did not say."""

    proposal_id: str
    version: int
    content: str | None
    start: float
    end: float


def violations(history: Iterable[Write | Read]) -> list[str]:
    """What no correct store could have answered; empty when the history is possible."""
    by_proposal: dict[str, list[Write | Read]] = defaultdict(list)
    for entry in history:
        by_proposal[entry.proposal_id].append(entry)
    return [problem for entries in by_proposal.values() for problem in _check(entries)]


def _check(entries: list[Write | Read]) -> list[str]:
    writes = [entry for entry in entries if isinstance(entry, Write)]
    reads = [entry for entry in entries if isinstance(entry, Read)]
    problems: list[str] = []
    acknowledged: dict[int, Write] = {}
    for write in writes:
        if write.version is None:
            continue
        if write.version != write.expected + 1:
            problems.append(f"{write} was acknowledged as {write.version}, not {write.expected + 1}")
        if write.version in acknowledged:
            problems.append(f"two writes made version {write.version}: {acknowledged[write.version]} and {write}")
        acknowledged[write.version] = write
    lost = defaultdict(list)
    for write in writes:
        if write.version is None:
            lost[write.expected + 1].append(write)
    newest = max([1, *acknowledged, *(read.version for read in reads)])
    contents: dict[int, str] = {}
    for read in reads:
        if read.content is not None and contents.setdefault(read.version, read.content) != read.content:
            problems.append(f"version {read.version} was read as {contents[read.version]!r} and as {read.content!r}")

    latest = -math.inf
    for version in range(2, newest + 1):
        maker = acknowledged.get(version)
        if maker is None:
            seen = contents.get(version)
            possible = [write for write in lost[version] if seen is None or write.content == seen]
            if not possible:
                problems.append(f"nobody made version {version}, yet it was there")
                continue
            maker = min(possible, key=lambda write: write.start)
        elif contents.get(version, maker.content) != maker.content:
            problems.append(f"version {version} was read as {contents[version]!r}, but {maker} made it")
        earliest = max([maker.start, *(read.start for read in reads if read.version == version - 1)])
        last = min([maker.end, *(read.end for read in reads if read.version == version)])
        latest = max(latest, earliest)
        if latest > last:
            problems.append(f"version {version} must have been made by {last:.6f}, and not before {latest:.6f}")
    return problems


def numbered(prefix: str) -> Iterable[str]:
    """Contents that nobody else writes."""
    return (f"{prefix}-{number}" for number in itertools.count())
