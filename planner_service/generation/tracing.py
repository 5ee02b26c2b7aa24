"""A span for each call to a model, in the words of OpenTelemetry's conventions for generative AI. No texts, no keys."""

from __future__ import annotations

from contextlib import AbstractContextManager

from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from plangate_core.rpc.telemetry import child_span
from planner_service.generation.errors import GenerationFailed
from planner_service.generation.providers.model_client import ModelClient
from planner_service.generation.reply.reply import Reply


def attempt_span(client: ModelClient, number: int) -> AbstractContextManager[Span]:
    """The span of one attempt, a child of the call's. `number` counts from 1."""
    return child_span(
        f"chat {client.model}",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": client.prefix,
            "gen_ai.request.model": client.model.partition("/")[2] or client.model,
            "plangate.attempt": number,
        },
        SpanKind.CLIENT,
    )


def tell_outcome(span: Span, reply: Reply | None, failure: GenerationFailed | None) -> None:
    """What came of the attempt: tokens, and what kind of failure it was."""
    if not span.is_recording():
        return
    if reply is not None:
        span.set_attribute("gen_ai.usage.input_tokens", reply.input_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", reply.output_tokens)
    if failure is not None:
        span.set_attribute("error.type", failure.kind)
        span.set_status(Status(StatusCode.ERROR, failure.kind))
