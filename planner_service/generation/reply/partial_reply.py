"""Jobs as soon as they are complete in a reply that is still being written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import pydantic
from instructor import OpenAISchema
from instructor.dsl.iterable import IterableBase

from plangate_core.contract.limits import MAX_JOBS
from planner_service.generation.reply.draft import AS_IT_IS, Amendments, JobDraft, PlanReply, read_draft

MAX_TEXT = 131_072
"""Characters of a reply in which jobs are looked for while it comes; the whole of it is read in the end."""

_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\]')


class JobReader:
    """Finds complete elements of the top-level array `jobs` in JSON that comes in pieces. Linear in its length.

    It only finds where jobs end; what they say is read by the same model that reads the whole reply. Text before the
    first brace is skipped. Broken JSON finds nothing or too little, never raises.
    """

    def __init__(self) -> None:
        self.text = ""
        self._read = 0
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
        self.text += piece[: MAX_TEXT + 1 - len(self.text)]
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
    reader: JobReader, model: type[PlanReply], amendments_to: Callable[[PlanReply], Amendments] = lambda _: AS_IT_IS
) -> tuple[JobDraft, ...]:
    """All jobs that are complete so far, empty when they are not (yet) valid. `amendments_to`: what to change in them.

    Read anew from the beginning each time, because a job's dependencies are positions among the others.
    """
    try:
        reply = model.read_json(reader.plan_so_far)
    except pydantic.ValidationError:
        return ()
    return read_draft(reply, amendments_to(reply)).jobs


class _NoAttributes(type(OpenAISchema)):  # type: ignore[misc]  # pydantic's metaclass, which has no public name
    """Shows nothing to those who ask for `__mro__`; Python itself, and `issubclass`, do not ask."""

    @property
    def __mro__(cls) -> tuple[type, ...]:
        return ()


class PlanForm(OpenAISchema, metaclass=_NoAttributes):
    """What Instructor sees of a reply model: its schema and how to validate, but no fields and no attributes.

    Instructor walks all fields of a response model and all attributes of its base classes four times per call, in
    search of validators that it does not support: 0.2 ms, a twelfth of what a plan costs the planner. And it derives a
    class of its own from a model that is not its own.
    """

    plan_model: ClassVar[type[PlanReply]] = PlanReply

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        return cls.plan_model.model_json_schema()

    @classmethod
    def model_validate_json(cls, json_data: Any, **_: Any) -> Any:
        return cls.plan_model.read_json(json_data)


class _RawStream(IterableBase):
    """Makes Instructor hand over the stream itself instead of reading it.

    Instructor asks response models that are streamed to read the stream. It then has prepared the request as it does
    for a whole reply, so schema, mode and messages are the same on the wire.
    """

    @classmethod
    def from_streaming_response_async(cls, completion: Any, **_: Any) -> Any:  # type: ignore[override]  # not a reader
        return completion


def plan_form(model: type[PlanReply]) -> type[PlanForm]:
    """The form of whole replies."""
    return _form(model, (PlanForm,))


def _form(model: type[PlanReply], bases: tuple[type, ...]) -> type[PlanForm]:
    made: Any = pydantic.create_model(model.__name__, __base__=bases, __doc__=model.__doc__)
    made.plan_model = model
    form: type[PlanForm] = made
    return form


class StreamedForms:
    """Forms of streamed replies, one for each call in flight, used again and again.

    Instructor's Anthropic handler remembers "this model is streamed" by class and forgets it at the first reply, so a
    class shared by concurrent calls makes all but one of them fail.
    """

    def __init__(self, model: type[PlanReply]) -> None:
        self._model = model
        self._idle: list[type[PlanForm]] = []

    def take(self) -> type[PlanForm]:
        """A form that no other call uses now."""
        return self._idle.pop() if self._idle else _form(self._model, (_RawStream, PlanForm))

    def give_back(self, form: type[PlanForm]) -> None:
        """The call is over."""
        self._idle.append(form)
