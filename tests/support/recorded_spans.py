"""The spans of a planner and its store in one process. Run as a program it makes plans and prints them.

A process of its own, because a process has one tracer for good. What is printed: one JSON object a span, with times in
nanoseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from plangate_client.errors import PlangateError
from plangate_core.rpc.settings import LoggingSettings
from plangate_core.rpc.telemetry import configure_logging
from tests.support.model_server import fails, says
from tests.support.planner_house import asking, draft, open_house


def _as_json(span: ReadableSpan) -> str:
    return json.dumps(
        {
            "name": span.name,
            "id": span.context.span_id,
            "parent": span.parent.span_id if span.parent else 0,
            "begin": span.start_time,
            "end": span.end_time,
            "status": span.status.description,
            "events": [event.name for event in span.events],
            **(span.attributes or {}),
        }
    )


async def _plans(directory: Path) -> None:
    async with open_house(directory) as house:
        house.model.script(fails(401, body="not-a-secret"))
        with contextlib.suppress(PlangateError):
            await house.planner().create_plan(asking("look"))
        house.model.script(says("sk-said-by-the-model"), says(draft(("read_status", {"service": "web"}))))
        with trace.get_tracer("client").start_as_current_span("client"):
            await house.planner().create_plan(asking("look at the secret-prompt"))


if __name__ == "__main__":
    configure_logging(LoggingSettings(log_level="debug"))
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    asyncio.run(_plans(Path(sys.argv[1])))
    for finished in exporter.get_finished_spans():
        print(_as_json(finished))
