"""A planner's spans, as a tracer of OpenTelemetry's API hears of them. Run as a program it makes plans and prints them.

A process of its own, because a process has one tracer for good. What is printed: one JSON object a span.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry import trace

from plangate_client.errors import PlangateError
from plangate_core.rpc.settings import LoggingSettings
from plangate_core.rpc.telemetry import configure_logging
from tests.support.model_server import fails, says
from tests.support.planner_house import asking, draft, open_house


class _Span(trace.NonRecordingSpan):
    def __init__(self, name: str, number: int, parent: int, attributes: dict[str, Any]) -> None:
        super().__init__(trace.SpanContext(1, number, is_remote=False, trace_flags=trace.TraceFlags(1)))
        self.told: dict[str, Any] = {"name": name, "id": number, "parent": parent, **attributes}

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        self.told[key] = value

    def set_status(self, status: Any, description: str | None = None) -> None:
        self.told["status"] = status.description

    def end(self, end_time: int | None = None) -> None:
        print(json.dumps(self.told), flush=True)


class _Tracer(trace.NoOpTracer):
    def __init__(self) -> None:
        self.spans = 0

    def start_span(self, name: str, context: Any = None, *_: Any, attributes: Any = None, **__: Any) -> trace.Span:
        self.spans += 1
        parent = trace.get_current_span(context).get_span_context().span_id
        return _Span(name, self.spans, parent, dict(attributes or {}))

    @contextlib.contextmanager
    def start_as_current_span(self, name: str, *_: Any, attributes: Any = None, **__: Any) -> Iterator[trace.Span]:
        with trace.use_span(
            self.start_span(name, attributes=attributes),
            end_on_exit=True,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span


class _Provider(trace.TracerProvider):
    def __init__(self) -> None:
        self._tracer = _Tracer()

    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
        return self._tracer


async def _plans(directory: Path) -> None:
    async with open_house(directory) as house:
        house.model.script(says("sk-said-by-the-model"), says(draft(("read_status", {"service": "web"}))))
        await house.planner().create_plan(asking("look at the secret-prompt"))
        house.model.script(fails(401, body="not-a-secret"))
        with contextlib.suppress(PlangateError):
            await house.planner().create_plan(asking("look again"))


if __name__ == "__main__":
    configure_logging(LoggingSettings(log_level="debug"))
    trace.set_tracer_provider(_Provider())
    asyncio.run(_plans(Path(sys.argv[1])))
