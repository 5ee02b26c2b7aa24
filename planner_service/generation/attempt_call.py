"""One attempt's call: the model is called, its reply reviewed where that is due, and the observer hears of its jobs."""

from __future__ import annotations

import asyncio
from typing import Any

from planner_service.generation.embedded.correction.corrector import ReplyCorrector
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.instructor_client import Message, ModelCall, exchange
from planner_service.generation.providers.model_client import ModelClient
from planner_service.generation.reply.draft import NO_CORRECTIONS, Corrections, PlanDraft, PlanReply, read_draft
from planner_service.generation.reply.reply import Reply
from planner_service.generation.reply.reply_form import ReplyForm
from planner_service.generation.request import GenerationObserver
from planner_service.generation.stream_reconciler import StreamReconciler

_SECOND_LOOK_SECONDS = 10.0


class AttemptCall:
    """One call to one model, and what is known of it, also when it fails.

    :param review: corrects the reply; None: it is taken as it is
    :param observer: hears of jobs while they come, where the provider streams
    """

    def __init__(
        self,
        client: ModelClient,
        form: ReplyForm,
        review: ReplyCorrector | None,
        observer: GenerationObserver | None,
    ) -> None:
        self.client = client
        self._review = review
        self._reconciler = None if observer is None else StreamReconciler(observer, form.model, self._corrections)
        listener = self._reconciler.feed if self._reconciler is not None and client.streams else None
        self._call = ModelCall(client, form, listener)
        self._answers: list[Reply] = []

    @property
    def reply(self) -> Reply | None:
        """What came back; None before that."""
        return self._call.reply

    @property
    def replies(self) -> list[Reply]:
        """All that came back and has to be paid for, the answers to the review's questions among them."""
        return self._answers if self.reply is None else [self.reply, *self._answers]

    @property
    def repaired(self) -> bool:
        """Whether the plan had to be looked for in the reply, or its JSON to be mended."""
        return self._call.repaired

    async def draft(self, messages: list[Message], options: dict[str, Any]) -> PlanDraft:
        """The draft that came back. The caller bounds the time.

        :raises GenerationFailed: a subclass per cause
        """
        reply = await self._call.make(messages, options)
        corrections = self._corrections(reply)
        if self._review is not None and self.reply is not None and self.reply.token_logprobs:
            try:
                async with asyncio.timeout(_SECOND_LOOK_SECONDS):
                    corrections = await self._review.of_whole(reply, self.reply.token_logprobs, self._ask_back)
            except (GenerationFailed, TimeoutError):
                pass  # the plan is there without it
        return read_draft(reply, corrections)

    def settle(self, draft: PlanDraft) -> None:
        """The attempt succeeded with this draft."""
        if self._reconciler is not None:
            self._reconciler.settle(draft)

    def retract(self, reason: str) -> None:
        """The attempt failed."""
        if self._reconciler is not None:
            self._reconciler.retract(reason)

    def _corrections(self, reply: PlanReply) -> Corrections:
        if self._review is None or self.reply is None:
            return NO_CORRECTIONS
        return self._review.of_tokens(reply, self.reply.token_logprobs)

    async def _ask_back(self, messages: list[Message]) -> list[Any]:
        """The tokens of a reply of one token."""
        options = self.client.call_options(output_limit=1, temperature=0.0, seed=0)
        answer = await exchange(self.client, {**options, "messages": messages})
        self._answers.append(answer)
        return answer.token_logprobs
