"""One call to one model, through Instructor: what came back is a reply of the plan's form, or a typed failure.

All that is used of Instructor is its public interface: `patch` puts the response model's schema into the request in the
provider's mode and dialect and reads the reply into the response model, `from_provider` opens providers that have no
row of their own, `Hooks` tell what these answer. It makes exactly one call; what its own retry loop would do about a
bad reply, the run does (docs/decisions/0010-one-retry-layer.md).

Between Instructor and the provider's SDK stands `_complete`: it calls the SDK, whole or streamed, and judges and reads
what came back, so that Instructor is only ever given the one plan object that a reply holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import json
from collections.abc import Callable
from typing import Any

import instructor
import pydantic
from instructor.core import HookName, Hooks, IncompleteOutputException

from planner_service.generation.attempts import Finding
from planner_service.generation.embedded.correction.corrector import ReplyCorrector
from planner_service.generation.errors import (
    ConnectionLost,
    ExtraToolCalls,
    GenerationFailed,
    MeaningViolated,
    ModelRefused,
    PlanInvalid,
    RejectedByServer,
    ReplyAmbiguous,
    ReplyEmpty,
    ReplyNotJson,
    ReplyTruncated,
    SchemaViolated,
    ServerFailed,
    WrongToolCalled,
)
from planner_service.generation.providers.complaint import body_of, complaint_of, failure_of
from planner_service.generation.providers.model_client import ModelClient
from planner_service.generation.reply.diagnosis import causes, is_unreadable, provider_failure, schema_errors
from planner_service.generation.reply.draft import NO_CORRECTIONS, PlanDraft, PlanReply, ReplyForm, read_draft
from planner_service.generation.reply.plan_text import NoPlanObject, SeveralPlanObjects, plan_object
from planner_service.generation.reply.protocols import PROTOCOLS
from planner_service.generation.reply.reply import Reply

Message = dict[str, str]
Listener = Callable[[str], None]
"""Called with each piece of a streamed reply's text."""

_NOT_OF_ITS_PROTOCOL = "the provider's answer is not of its protocol"
_BROKE_OFF = "the provider's answer broke off"
_SECOND_LOOK_SECONDS = 10.0
_UNREADABLE = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


class ObserverFailed(Exception):
    """The stream's listener raised; does not count against the provider."""


@dataclasses.dataclass(slots=True)
class ModelCall:
    """One call and what is known of it, also when it fails.

    review: corrects the reply; None: it is taken as it is. reply: what came back; None before that.
    answers: to the review's questions. repaired: the plan had to be looked for in the reply, or its JSON to be mended.
    """

    client: ModelClient
    form: ReplyForm
    review: ReplyCorrector | None = None
    listener: Listener | None = None
    reply: Reply | None = None
    answers: list[Reply] = dataclasses.field(default_factory=list)
    repaired: bool = False

    @property
    def tokens(self) -> tuple[int, int]:
        """Input and output tokens of all that has to be paid for."""
        replies = [*self.answers, *([self.reply] if self.reply else [])]
        return sum(reply.input_tokens for reply in replies), sum(reply.output_tokens for reply in replies)

    async def make(self, messages: list[Message], options: dict[str, Any]) -> PlanDraft:
        """The draft that came back. With a listener the reply is streamed. The caller bounds the time.

        :raises GenerationFailed: a subclass per cause
        """
        reply = await self._plan_reply(messages, options)
        corrections = NO_CORRECTIONS
        if self.review is not None and self.reply is not None and (tokens := self.reply.token_logprobs):
            corrections = self.review.of_tokens(reply, tokens)
            with contextlib.suppress(GenerationFailed, TimeoutError):  # the plan is there without it
                async with asyncio.timeout(_SECOND_LOOK_SECONDS):
                    corrections = await self.review.second_look(corrections, reply, tokens, self._ask_back)
        return read_draft(reply, corrections)

    async def _ask_back(self, messages: list[Message]) -> list[Any]:
        """The tokens of a reply of one token."""
        options = self.client.call_options(output_limit=1, temperature=0.0, seed=0)
        answer = await exchange(self.client, {**options, "messages": messages})
        self.answers.append(answer)
        return answer.token_logprobs

    async def _plan_reply(self, messages: list[Message], options: dict[str, Any]) -> PlanReply:
        try:
            if self.client.row.wire == "instructor":
                return await self._left_to_instructor(messages, options)
            create: Any = instructor.patch(
                create=self._complete, mode=self.client.mode, provider=PROTOCOLS[self.client.row.wire].provider
            )
            # No `context=`: Instructor would render every message as a Jinja template, the user's words included.
            reply: PlanReply = await create(
                response_model=self.form.model, messages=messages, max_retries=0, strict=True, **options
            )
            return reply
        except IncompleteOutputException:
            raise ReplyTruncated(self.client.model) from None
        except Exception as error:
            failure = self._failure(error)
            if failure is None:
                raise
            raise failure from None

    async def _left_to_instructor(self, messages: list[Message], options: dict[str, Any]) -> PlanReply:
        hooks = Hooks()
        hooks.on(HookName.COMPLETION_RESPONSE, self._note_response)
        reply: PlanReply = await self.client.create(
            response_model=self.form.model, messages=messages, max_retries=0, strict=True, hooks=hooks, **options
        )
        if self.reply is None or not self.reply.text:
            self.reply = Reply(text=reply.model_dump_json(), finish="stop")
        return reply

    def _note_response(self, response: Any) -> None:
        """Keeps what can be read of a reply in a protocol that is not ours, at least its usage."""
        self.reply = Reply()
        body = response.model_dump() if isinstance(response, pydantic.BaseModel) else {}
        self.reply.count(body.get("usage"))
        for protocol in PROTOCOLS.values():
            try:
                self.reply = protocol.read(body)
                return
            except _UNREADABLE:
                continue

    async def _complete(self, **request: Any) -> Any:
        """The provider's answer to what Instructor prepared, as its SDK's type."""
        reply = self.reply = await exchange(self.client, request, self.listener)
        self._judge(reply)
        try:
            plan, self.repaired = await plan_object(reply.text)
        except SeveralPlanObjects:
            raise ReplyAmbiguous(self.client.model) from None
        except NoPlanObject:
            raise self._not_json(reply) from None
        if self.repaired and not reply.finish and self.listener is not None:
            raise ConnectionLost(self.client.model, _BROKE_OFF)
        if not plan.keys() & self.form.model.model_fields.keys() and self.repaired:
            raise self._not_json(reply)
        # Came as text where a tool call was due.
        self.repaired = self.repaired or (self.client.uses_tools and not reply.tool_names)
        tool = self.form.model.__name__ if self.client.uses_tools else ""
        return PROTOCOLS[self.client.row.wire].as_sdk_type(json.dumps(plan), tool)

    def _judge(self, reply: Reply) -> None:
        """Raises for a refusal, a truncated, kept back or empty reply, and calls of other tools."""
        model = self.client.model
        if reply.refused:
            raise ModelRefused(model)
        if reply.finish == "length":
            raise ReplyTruncated(model)
        if reply.finish == "malformed":
            raise RejectedByServer(model)
        if reply.finish == "failed":
            raise ServerFailed(model)
        if self.client.uses_tools and reply.tool_names:
            # A call without a name can only be of the one tool that there is.
            if reply.tool_names[0] not in ("", self.form.model.__name__):
                raise WrongToolCalled(model)
            if len(reply.tool_names) > 1:
                raise ExtraToolCalls(model)
        if not reply.text.strip():
            raise ReplyEmpty(model) if reply.finish or self.listener is None else ConnectionLost(model, _BROKE_OFF)

    def _not_json(self, reply: Reply) -> GenerationFailed:
        if not reply.finish and self.listener is not None:
            return ConnectionLost(self.client.model, _BROKE_OFF)
        try:
            json.loads(reply.text)
            complaint = "no plan in it"
        except (ValueError, RecursionError) as invalid:
            complaint = f"Invalid JSON: {invalid}"
        return ReplyNotJson(self.client.model, errors=(Finding("", "json_invalid", complaint),))

    def _failure(self, error: BaseException) -> GenerationFailed | None:
        """The typed failure behind what Instructor raised; None for a fault of ours. Raises ObserverFailed."""
        for cause in causes(error):
            if isinstance(cause, ObserverFailed):
                raise cause
            if isinstance(cause, GenerationFailed):
                return cause
            if isinstance(cause, pydantic.ValidationError):
                return self._violation(cause)
        return provider_failure(self.client.model, error, key=self.client.key)

    def _violation(self, invalid: pydantic.ValidationError) -> PlanInvalid:
        errors = tuple(schema_errors(invalid, self.form.action_names))
        if errors[0].type == "json_invalid":
            # Halves of surrogate pairs: Python's JSON has them, Unicode does not.
            return ReplyNotJson(self.client.model, errors=errors)
        # The form is right when all that is wrong is which actions there are.
        kind = MeaningViolated if all(error.type == "unknown_action" for error in errors) else SchemaViolated
        return kind(self.client.model, errors=errors)


async def exchange(client: ModelClient, request: dict[str, Any], listener: Listener | None = None) -> Reply:
    """What the provider answers to a request of its SDK. With a listener the reply is streamed.

    :raises GenerationFailed: the provider, or its filter, refused or failed; ReplyTruncated and the like are not judged
    """
    if listener is not None:
        request = {**request, **client.stream_options}
    try:
        raw = await client.create(**request)
        # A server may answer whole where a stream was due.
        if listener is not None and "json" not in raw.http_response.headers.get("content-type", ""):
            return await _streamed(client, raw, listener)
        reply = _whole(client, body_of(await raw.http_response.aread()))
    except (GenerationFailed, ObserverFailed):
        raise
    except Exception as error:
        failure = provider_failure(client.model, error, key=client.key)
        if failure is None and is_unreadable(error):
            failure = ServerFailed(client.model, _NOT_OF_ITS_PROTOCOL)
        if failure is None:
            raise
        raise failure from None
    if listener is not None:
        _tell(listener, reply.text)
    return reply


def _whole(client: ModelClient, body: Any) -> Reply:
    if (complaint := complaint_of(200, body, key=client.key)) is not None:
        raise failure_of(complaint, client.model)
    try:
        return PROTOCOLS[client.row.wire].read(body)
    except _UNREADABLE:
        raise ServerFailed(client.model, _NOT_OF_ITS_PROTOCOL) from None


async def _streamed(client: ModelClient, raw: Any, listener: Listener) -> Reply:
    reader = PROTOCOLS[client.row.wire].stream_reader()
    parsed = raw.parse(to=client.stream_type)
    # OpenAI's SDK gives the stream, Anthropic's has it awaited.
    stream: Any = await parsed if inspect.isawaitable(parsed) else parsed
    try:
        async for event in stream:
            if (complaint := complaint_of(200, event, key=client.key)) is not None:
                raise failure_of(complaint, client.model)
            try:
                piece = reader.hear(event)
            except _UNREADABLE:
                raise ServerFailed(client.model, _NOT_OF_ITS_PROTOCOL) from None
            if piece:
                _tell(listener, piece)
    finally:
        await stream.close()
    if not reader.begun:
        raise ServerFailed(client.model, _NOT_OF_ITS_PROTOCOL)
    return reader.reply()


def _tell(listener: Listener, piece: str) -> None:
    try:
        listener(piece)
    except Exception as error:
        raise ObserverFailed from error
