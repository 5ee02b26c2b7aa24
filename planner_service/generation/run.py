"""One generation: its attempts, what they cost, what the observer hears, and which step follows a failed one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import structlog
from tenacity import RetryCallState

from planner_service.generation.attempts import (
    Attempt,
    AttemptOutcome,
    GenerationReport,
    bounded_errors,
    recorded_text,
)
from planner_service.generation.context import GenerationContext
from planner_service.generation.errors import (
    BudgetExhausted,
    CircuitOpen,
    EngineTimedOut,
    GenerationFailed,
    MeaningViolated,
    ProviderFailed,
    ProviderNotUsable,
    ProviderRejected,
    ProviderTimedOut,
    ProviderUnavailable,
    RequestRejected,
)
from planner_service.generation.model_call import ModelCall
from planner_service.generation.prompt.prompts import (
    TEMPLATE_VERSION,
    Messages,
    build_messages,
    reask,
    request_text,
    size,
)
from planner_service.generation.prompt.selection import CatalogueBudget, catalogue_room, shown_actions
from planner_service.generation.providers.circuit import Permit
from planner_service.generation.providers.model_client import ModelClient
from planner_service.generation.providers.provider_table import EMBEDDED
from planner_service.generation.reply.draft import PlanDraft, reply_form
from planner_service.generation.request import GenerationObserver, GenerationRequest, GenerationResult
from planner_service.generation.retry_policy import NextAttempt, RetryPolicy
from planner_service.generation.stream_reconciler import StreamReconciler
from planner_service.generation.tracing import attempt_span, tell_outcome

_log = structlog.get_logger(__name__)

MIN_OUTPUT_TOKENS = 32
"""Skips the call if fewer output tokens are affordable."""
_VARIED_TEMPERATURE = 0.6


class GenerationRun:
    """Makes one plan. `attempt` is called again as long as `worth_another` approves of the last failure."""

    def __init__(
        self, context: GenerationContext, request: GenerationRequest, observer: GenerationObserver | None
    ) -> None:
        self._context = context
        self._settings = context.settings
        self._request = request
        self._observer = observer
        self._models = (request.model, *request.fallback_models)
        self._request_text = request_text(request.prompt, request.context)
        self._room: CatalogueBudget | None = None
        self._asks_for_ties = False
        self._show_catalogue_to(request.model)
        self._retry_policy = RetryPolicy(context.settings, len(self._models), context.jitter)
        self._step = NextAttempt(0)
        self._attempts: list[Attempt] = []
        self._tokens_used = 0
        self._last_reply = ""
        self._last_failure: GenerationFailed | None = None
        self._model = request.model
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()

    def report(self) -> GenerationReport:
        """All attempts so far."""
        return GenerationReport(
            model=self._model,
            prompt_template_version=TEMPLATE_VERSION,
            catalogue_digest=self._request.catalogue.digest,
            actions_shown=len(self._shown.actions),
            actions_in_catalogue=len(self._request.catalogue.actions),
            actions_shortened=self._shortened(),
            attempts=tuple(self._attempts),
            duration_seconds=self._loop.time() - self._started,
        )

    def delay_seconds(self, _: RetryCallState) -> float:
        """How long to wait before the next attempt."""
        return self._step.delay_seconds

    def worth_another(self, failure: BaseException) -> bool:
        """Decides what follows a failed attempt. Called once for each."""
        if not isinstance(failure, GenerationFailed):
            return False
        deadline = self._request.deadline
        step = self._retry_policy.after(failure, None if deadline is None else deadline - self._loop.time())
        if step is None:
            return False
        self._step = step
        return True

    async def attempt(self) -> GenerationResult:
        """One call to one model.

        :raises GenerationFailed: what was wrong; the attempt is in the report
        """
        client, permit = self._admitted()
        try:
            self._show_catalogue_to(client.model)
            messages = self._messages()
            options = self._options(client, messages)
            review = self._context.review(client, self._shown, self._request_text)
            call = ModelCall(client, self._form, review)
            stream: StreamReconciler | None = None
            if self._observer is not None:
                self._observer.attempt_started(len(self._attempts) + 1, client.model)
                stream = StreamReconciler(self._observer, self._form.model)
                call.listener = stream.feed if client.streams else None
            try:
                draft = await self._outcome(call, messages, options, permit)
            except GenerationFailed as failure:
                if stream is not None:
                    stream.retract(failure.message)
                raise
            if stream is not None:
                stream.settle(draft)
            return GenerationResult(self._with_note(draft), self.report())
        finally:
            permit.settle(None)  # does nothing once the call was settled

    async def _outcome(self, call: ModelCall, messages: Messages, options: dict[str, Any], permit: Permit) -> PlanDraft:
        """Makes the call and checks its draft; whatever comes of it is entered into the report."""
        start_time, started = self._context.now(), self._loop.time()
        failure: GenerationFailed | None = None
        draft: PlanDraft | None = None
        with attempt_span(call.client, len(self._attempts) + 1) as span:
            try:
                draft = await self._ask(call, messages, options)
                if errors := self._request.check(draft):
                    failure = MeaningViolated(call.client.model, errors=bounded_errors(errors))
            except GenerationFailed as raised:
                failure = raised
            tell_outcome(span, call.reply, failure)
        self._settle(permit, failure)
        errors = failure.errors if failure is not None else draft.corrections if draft is not None else ()
        input_tokens, output_tokens = call.tokens
        attempt = Attempt(
            number=len(self._attempts) + 1,
            model=call.client.model,
            outcome=AttemptOutcome.VALID if failure is None else failure.outcome,
            errors=bounded_errors(errors),
            raw_text=recorded_text(call.reply.text if call.reply else "", self._settings.raw_text),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            duration_seconds=self._loop.time() - started,
            repaired=call.repaired,
            start_time=start_time,
        )
        self._enter(attempt, call, messages)
        if failure is not None:
            if isinstance(failure, RequestRejected):
                failure.adapted = call.client.adapt(failure.parameters)
            self._last_failure = failure
            raise failure
        assert draft is not None
        return draft

    def _admitted(self) -> tuple[ModelClient, Permit]:
        """The model of the current step, or the next one whose provider is not known to be down."""
        first = self._step.model_index
        unusable: GenerationFailed | None = None
        wait: float | None = None
        for index in (*range(first, len(self._models)), *range(first)):
            model = self._models[index]
            try:
                client = self._context.clients.client(model)
            except ProviderNotUsable as error:
                unusable = ProviderUnavailable(model, str(error))
                continue
            circuit = self._context.circuit(client.prefix)
            permit = circuit.admit()
            if permit is not None:
                if index != first:
                    self._step = NextAttempt(index)
                self._retry_policy.begin_attempt(index)
                self._model = model
                return client, permit
            seconds = circuit.seconds_until_admission
            wait = seconds if wait is None else min(wait, seconds)
        raise CircuitOpen(self._model, retry_after_seconds=wait) if unusable is None else unusable

    def _show_catalogue_to(self, model: str) -> None:
        """Chooses what of the catalogue the model is shown."""
        request = self._request
        room = catalogue_room(model, self._settings)
        # A small model gets jobs wrong when it has more to say about each.
        asks_for_ties = model.partition("/")[0] != EMBEDDED
        if (room, asks_for_ties) == (self._room, self._asks_for_ties):
            return
        self._room, self._asks_for_ties = room, asks_for_ties
        self._shown = shown_actions(request.catalogue, request.prompt, request.context, room)
        self._form = reply_form(request.catalogue, self._shown, asks_for_ties=asks_for_ties)
        self._opening: Messages = build_messages(
            request.prompt, request.context, self._shown, asks_for_ties=asks_for_ties
        )

    def _shortened(self) -> int:
        """How many of the actions that the model was shown are not shown whole."""
        find = self._request.catalogue.find
        return sum(action is not find(action.name) for action in self._shown.actions)

    def _with_note(self, draft: PlanDraft) -> PlanDraft:
        """The draft, whose refusal says how much of the catalogue the model saw, if not all of it."""
        shown, known = len(self._shown.actions), len(self._request.catalogue.actions)
        if not draft.no_action_reason or self._shown is self._request.catalogue:
            return draft
        note = f"{shown} of {known} actions were shown to the model, {self._shortened()} of them shortened"
        return replace(draft, no_action_reason=f"{draft.no_action_reason} ({note})")

    def _messages(self) -> Messages:
        step, failure = self._step, self._last_failure
        if not step.reask or failure is None:
            return self._opening
        return reask(self._opening, self._last_reply, failure.errors, show_reply=not step.vary)

    def _options(self, client: ModelClient, messages: Messages) -> dict[str, Any]:
        return client.call_options(
            output_limit=self._affordable_output(client, messages),
            temperature=_VARIED_TEMPERATURE if self._step.vary else self._settings.temperature,
            seed=self._settings.seed + (len(self._attempts) if self._step.vary else 0),
        )

    def _affordable_output(self, client: ModelClient, messages: Messages) -> int:
        """Tokens that the reply may have."""
        budget, limit = self._request.token_budget, self._settings.max_output_tokens
        if not budget:
            return limit
        prompt = self._context.estimates[client.model].of(self._prompt_size(client, messages))
        affordable = min(limit, budget - self._tokens_used - prompt)
        if affordable >= MIN_OUTPUT_TOKENS:
            return affordable
        errors = self._last_failure.errors if self._last_failure is not None else ()
        message = BudgetExhausted.default_message
        if not self._attempts:
            message = f"a token budget of {budget} does not pay for a prompt of about {prompt} tokens"
        raise BudgetExhausted(client.model, message, token_budget=budget, errors=errors)

    def _prompt_size(self, client: ModelClient, messages: Messages) -> int:
        return size(messages) + (self._form.schema_size if client.uses_tools else 0)

    async def _ask(self, call: ModelCall, messages: Messages, options: dict[str, Any]) -> PlanDraft:
        """The call within its time: an attempt's, or of the embedded engine that of all attempts together.

        What the engine has computed of a reply is lost with a time-out, and the next attempt would begin anew on the
        same busy machine.
        """
        embedded = call.client.prefix == EMBEDDED
        seconds = self._settings.attempt_timeout_seconds * (self._request.max_attempts if embedded else 1)
        limit = self._loop.time() + seconds
        deadline = self._request.deadline
        failure: ProviderTimedOut
        try:
            async with asyncio.timeout_at(limit if deadline is None else min(limit, deadline)):
                return await call.make(messages, options)
        except TimeoutError:
            failure = (EngineTimedOut if embedded else ProviderTimedOut)(call.client.model)
        except ProviderTimedOut as timed_out:
            failure = timed_out
        failure.deadline = deadline is not None and self._loop.time() >= deadline
        raise failure

    def _settle(self, permit: Permit, failure: GenerationFailed | None) -> None:
        if isinstance(failure, ProviderUnavailable) or (isinstance(failure, ProviderTimedOut) and not failure.deadline):
            permit.settle(False)
        elif not isinstance(failure, ProviderTimedOut):
            permit.settle(True)
        if isinstance(failure, ProviderFailed) and (failure.problem or isinstance(failure, ProviderRejected)):
            # Logged here: another model may answer in its place, and then no status says it.
            _log.warning("a provider failed", model=failure.model, what=failure.message, problem=failure.problem)

    def _enter(self, attempt: Attempt, call: ModelCall, messages: Messages) -> None:
        """Takes an attempt into the report and its cost into the budget."""
        self._attempts.append(attempt)
        self._last_reply = call.reply.text if call.reply is not None else ""
        estimate = self._context.estimates[attempt.model]
        prompt_size = self._prompt_size(call.client, messages)
        estimate.learn(prompt_size, call.reply.input_tokens if call.reply is not None else 0)
        # A provider that does not count must not make the budget endless.
        if call.reply is not None:
            self._tokens_used += attempt.input_tokens or estimate.of(prompt_size)
            self._tokens_used += attempt.output_tokens or estimate.of(len(self._last_reply))
        if self._observer is not None:
            self._observer.attempt_finished(attempt)
