"""Jobs as soon as they are complete in a reply that is still being written."""

from __future__ import annotations

import re
from collections.abc import Callable

import pydantic

from plangate_core.contract.limits import MAX_JOBS
from planner_service.generation.reply.draft import NO_CORRECTIONS, Corrections, JobDraft, PlanReply, read_draft
from planner_service.generation.reply.plan_text import reply_start

MAX_TEXT = 131_072
"""Characters of a reply in which jobs are looked for while it comes; the whole of it is read in the end."""

_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\]')


class JobReader:
    """Finds complete elements of the top-level array `jobs` in JSON that comes in pieces. Linear in its length.

    It only finds where jobs end; what they say is read by the same model that reads the whole reply. Text before the
    first brace is skipped, and so are the thoughts that a reply begins with. Broken JSON finds nothing or too little,
    never raises.
    """

    def __init__(self) -> None:
        self.text = ""
        self._read = 0
        self._begun = False
        self._depth = 0
        self._root = 0
        self._in_string = False
        self._string_start = 0
        self._key = ""
        self._jobs_start: int | None = None
        self._job_end = 0
        self._done = False
        self.complete = 0

    def feed(self, piece: str) -> bool:
        """Takes the next piece; tells whether another job became complete."""
        if self._done:
            return False
        searched = len(self.text)
        self.text += piece[: MAX_TEXT + 1 - searched]
        if not self._begun:
            if (start := reply_start(self.text, searched)) is None:
                return False
            self._begun, self._read = True, start
        before = self.complete
        while not self._done and self._step():
            pass
        # A plan has no more jobs than that: what goes on is not worth reading again and again.
        self._done = self._done or self.complete >= MAX_JOBS or len(self.text) > MAX_TEXT
        return self.complete > before

    @property
    def plan_so_far(self) -> str:
        """The reply as if it ended with the last complete job."""
        return self.text[self._root : self._job_end] + "]}"

    def _step(self) -> bool:
        found = (_INSIDE if self._in_string else _OUTSIDE).search(self.text, self._read)
        if found is None:
            self._read = max(self._read, len(self.text))
            return False
        at, mark = found.start(), found.group()
        if mark == "\\":
            # The escaped character is skipped even when it has not come yet: the position is then beyond the text.
            self._read = at + 2
            return True
        self._read = at + 1
        if mark == '"':
            self._in_string = not self._in_string
            if self._in_string:
                self._string_start = at + 1
            elif self._depth == 1:
                self._key = self.text[self._string_start : at]
        elif mark in "{[":
            self._open(at, mark)
        else:
            self._close(at, mark)
        return True

    def _open(self, at: int, mark: str) -> None:
        if self._depth == 0:
            self._root = at
        elif self._depth == 1 and mark == "[" and self._key == "jobs":
            self._jobs_start = at
        self._depth += 1

    def _close(self, at: int, mark: str) -> None:
        self._depth -= 1
        if self._jobs_start is None:
            self._done = self._depth <= 0
        elif self._depth == 2 and mark == "}":
            self.complete += 1
            self._job_end = at + 1
        elif self._depth <= 1:
            self._done = True


def read_jobs(
    reader: JobReader, model: type[PlanReply], review: Callable[[PlanReply], Corrections] = lambda _: NO_CORRECTIONS
) -> tuple[JobDraft, ...]:
    """All jobs that are complete so far, empty when they are not (yet) valid. `review`: what to change in them.

    Read anew from the beginning each time, because a job's dependencies are positions among the others.
    """
    try:
        reply = model.model_validate_json(reader.plan_so_far)
    except pydantic.ValidationError:
        return ()
    return read_draft(reply, review(reply)).jobs
