"""One call to one model, through Instructor: what came back is a draft, or a typed failure.

Instructor builds the request, enforces the mode and reads the reply; it makes exactly one call. What its own retry
loop would do about a bad reply, the generator does: docs/decisions/0010-one-retry-layer.md says why.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pydantic
from instructor.core.exceptions import IncompleteOutputException
from instructor.core.hooks import Hooks
from pydantic_core import from_json
from tenacity import AsyncRetrying

from plangate_core.catalogue.catalogue import Catalogue
from planner_service.generation.attempts import Finding
from planner_service.generation.embedded.review.amendments import amendments_to
from planner_service.generation.embedded.review.second_look import unasked_jobs
from planner_service.generation.errors import (
    ConnectionLost,
    ExtraToolCalls,
    MeaningViolated,
    ModelRefused,
    PlanInvalid,
    ReplyEmpty,
    ReplyNotJson,
    ReplyTruncated,
    SchemaViolated,
    ServerFailed,
    WrongToolCalled,
)
from planner_service.generation.providers.providers import ModelClient
from planner_service.generation.reply.diagnosis import is_unreadable, provider_failure, schema_errors
from planner_service.generation.reply.draft import AS_IT_IS, Amendments, PlanDraft, PlanReply, draft_model, read_draft
from planner_service.generation.reply.partial_reply import StreamedForms, plan_form
from planner_service.generation.reply.repair import repaired_object
from planner_service.generation.reply.reply import Reply, hear_event, read_reply

# The second: halves of surrogate pairs, which a reply may hold and UTF-8 does not.
_UNREADABLE = frozenset({"json_invalid", "string_unicode"})
_QUESTIONS_SECONDS = 10.0
_NOT_OF_ITS_PROTOCOL = "the provider's answer is not of its protocol"


def let_go(retrying: AsyncRetrying) -> None:
    """Break the circle in which tenacity's objects refer to each other, when they have done their work.

    Else all that a plan was made of stays until the garbage collector comes, which with many plans in flight then took
    0.2 s at once.
    """
    vars(retrying).clear()


class ObserverFailed(Exception):
    """Whoever hears of the reply failed: a fault of ours, which must not count against the provider."""


def _tell(hear: Callable[[str], None], piece: str) -> None:
    try:
        hear(piece)
    except Exception as error:
        raise ObserverFailed from error


class ResponseModel:
    """A catalogue's reply model as Instructor wants it. Made once per catalogue; Instructor would make it per call.

    schema_size: characters of the schema that goes with every call.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.model = draft_model(catalogue)
        self.whole = plan_form(self.model)
        self.streamed = StreamedForms(self.model)
        self.action_names = tuple(action.name for action in catalogue.actions)
        self.schema_size = len(json.dumps(self.model.model_json_schema()))


@dataclasses.dataclass(slots=True)
class ModelCall:
    """One call and what is known of it, also when it fails. `said`: all that the requester says.

    answers: replies to what the model was asked about its own jobs.
    """

    client: ModelClient
    form: ResponseModel
    said: str
    reply: Reply | None = None
    repaired: bool = False
    answers: list[Reply] = dataclasses.field(default_factory=list)

    @property
    def replies(self) -> list[Reply]:
        """All that came back and has to be paid for."""
        return self.answers if self.reply is None else [self.reply, *self.answers]

    async def ask(
        self, messages: list[dict[str, str]], options: dict[str, Any], hear: Callable[[str], None] | None
    ) -> PlanDraft:
        """The draft that came back. With `hear` the reply is streamed and its text told piece by piece.

        The caller bounds the time.

        :raises GenerationFailed: a subclass per cause
        """
        model = self.client.model
        instance: PlanReply | None = None
        try:
            if hear is None:
                instance = await self._whole(messages, options)
            else:
                await self._streamed(messages, options, hear)
        except pydantic.ValidationError:
            pass  # read again below, where it can be repaired
        except IncompleteOutputException:
            raise ReplyTruncated(model) from None
        except ObserverFailed:
            raise
        except Exception as error:
            failure = provider_failure(model, error)
            if failure is not None:
                raise failure from None
            if self.reply is None:
                if self.client.row.wire != "openai" and is_unreadable(error):
                    raise ServerFailed(model, _NOT_OF_ITS_PROTOCOL) from None
                raise
            # Instructor could not read the reply. Why, and whether it can be read after all, is found out here.
        assert self.reply is not None
        self._judge(self.reply)
        if instance is None:
            instance = await self._read(self.reply)
        amendments = self.amendments_to(instance)
        if self._tokens:
            refused = amendments.refused_jobs | await self._unasked_jobs(instance, amendments)
            amendments = dataclasses.replace(amendments, refused_jobs=refused)
        return read_draft(instance, amendments)

    def amendments_to(self, told: PlanReply) -> Amendments:
        """What to change in the jobs that have come."""
        return amendments_to(told, self._tokens, self.form.catalogue, self.said) if self._tokens else AS_IT_IS

    @property
    def _tokens(self) -> list[Any]:
        """The reply's, with their probabilities; empty where these say nothing."""
        # Some servers tell them unasked; what is read from them was measured for the models that are asked.
        return self.reply.token_logprobs if self.reply is not None and self.client.row.tells_logprobs else []

    async def _unasked_jobs(self, told: PlanReply, amendments: Amendments) -> frozenset[int]:
        """What second_look.py says. A call that fails says nothing: the plan is there without it."""
        try:
            async with asyncio.timeout(_QUESTIONS_SECONDS):
                return await unasked_jobs(
                    told, self._tokens, self.form.catalogue, self.said, amendments.refused_jobs, self._ask_back
                )
        except Exception as error:
            if provider_failure(self.client.model, error) is None:
                raise
            return frozenset()

    async def _ask_back(self, messages: list[dict[str, str]]) -> list[Any]:
        """The tokens of a reply of one token."""
        instructor = self.client.instructor
        options = self.client.call_options(output_limit=1, temperature=0.0, seed=0, stream=False)
        # Without a response model Instructor only makes the call.
        reply = read_reply(
            await instructor.create_fn(response_model=None, messages=messages, **{**instructor.kwargs, **options})
        )
        self.answers.append(reply)
        return reply.token_logprobs

    async def _whole(self, messages: list[dict[str, str]], options: dict[str, Any]) -> PlanReply:
        hooks = Hooks()
        hooks.on("completion:response", self._hear_response)
        instructor = self.client.instructor
        # Not `instructor.create`: it only walks the response model, as `create_fn` does again, and adds its defaults.
        # No `context=`: Instructor would render every message as a Jinja template, the user's words included.
        once = AsyncRetrying(enabled=False)
        try:
            instance: PlanReply = await instructor.create_fn(
                response_model=self.form.whole,
                messages=messages,
                max_retries=once,
                strict=True,
                hooks=instructor.hooks + hooks,
                **{**instructor.kwargs, **options},
            )
        finally:
            let_go(once)
        if self.client.row.wire == "instructor" and self.reply is not None and not self.reply.recognised:
            self.reply = Reply(text=instance.model_dump_json(), finish="stop")
        return instance

    def _hear_response(self, response: Any) -> None:
        # Read now: afterwards Instructor writes running totals into `usage`, and loses the response of a refusal.
        try:
            self.reply = read_reply(response)
        except (AttributeError, TypeError, LookupError):
            self.reply = Reply(recognised=False)

    async def _streamed(
        self, messages: list[dict[str, str]], options: dict[str, Any], hear: Callable[[str], None]
    ) -> None:
        instructor = self.client.instructor
        response_model = self.form.streamed.take()
        try:
            stream: Any = await instructor.create_fn(
                response_model=response_model,
                messages=messages,
                max_retries=0,
                strict=True,
                hooks=instructor.hooks,
                **{**instructor.kwargs, **options},
            )
            reply = self.reply = Reply(recognised=False)
            try:
                async for event in stream:
                    if piece := hear_event(reply, event):
                        _tell(hear, piece)
            except (TypeError, AttributeError, LookupError, ValueError):
                # Events that are no JSON, or of another form than the protocol says.
                reply.recognised = False
            finally:
                reply.joined()
                await stream.close()
        finally:
            self.form.streamed.give_back(response_model)

    def _judge(self, reply: Reply) -> None:
        """Raises what the reply as a whole is guilty of, before its content is read."""
        model = self.client.model
        if reply.refused:
            raise ModelRefused(model)
        if reply.finish == "length":
            raise ReplyTruncated(model)
        if not reply.recognised:
            raise ServerFailed(model, _NOT_OF_ITS_PROTOCOL)
        if not reply.finish:
            raise ConnectionLost(model, "the provider's answer broke off")
        if self.client.uses_tools and reply.tool_names:
            if reply.tool_names[0] != self.form.model.__name__:
                raise WrongToolCalled(model)
            if len(reply.tool_names) > 1:
                raise ExtraToolCalls(model)
        if not reply.text.strip():
            raise ReplyEmpty(model)

    async def _read(self, reply: Reply) -> PlanReply:
        form = self.form
        try:
            instance = form.model.read_json(reply.text)
        except pydantic.ValidationError as invalid:
            first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
            if first["type"] not in _UNREADABLE:
                raise self._violation(invalid, from_json(reply.text)) from None
            return await self._repair(reply.text, first["msg"])
        # Whole and valid: it was streamed. Else it came as text where a tool call was asked for.
        self.repaired = self.client.uses_tools and not reply.tool_names
        return instance

    async def _repair(self, text: str, complaint: str) -> PlanReply:
        form = self.form
        meant = await repaired_object(text)
        if meant is None or not meant.keys() & form.model.model_fields.keys():
            raise ReplyNotJson(self.client.model, errors=(Finding("", "json_invalid", complaint),))
        try:
            instance = form.model.read_json(json.dumps(meant))
        except pydantic.ValidationError as invalid:
            raise self._violation(invalid, meant) from None
        self.repaired = True
        return instance

    def _violation(self, invalid: pydantic.ValidationError, parsed: Any) -> PlanInvalid:
        errors = tuple(schema_errors(invalid, parsed, self.form.action_names))
        # The form is right when all that is wrong is which actions there are.
        kind = MeaningViolated if all(error.type == "unknown_action" for error in errors) else SchemaViolated
        return kind(self.client.model, errors=errors)
