"""examples/agents: deferred tools of pydantic-ai and interrupts of LangGraph, through both servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

import pytest
import pytest_asyncio

from plangate_client import Connection, connect, json_to_struct
from tests.support.pair import running_pair

EXAMPLES = Path(__file__).parents[3] / "examples"
CATALOGUE = """
version: 1
actions:
  - name: read_status
    description: Read the status of a service.
    policy: allow
    parameters: {properties: {service: {type: string}}, required: [service]}
  - name: refund_order
    description: Pay an order's price back.
    policy: require_approval
    parameters: {properties: {order: {type: string}}, required: [order]}
  - name: drop_database
    description: Drop a database.
    policy: {effect: deny, reason: never by machine}
"""


@pytest_asyncio.fixture
async def plangate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connection]:
    """An agent's connection; a reviewer who agrees to everything and an executor are at work."""
    monkeypatch.syspath_prepend(EXAMPLES / "agents")
    async with running_pair(tmp_path, CATALOGUE) as pair, pair.store("bob") as reviewer, pair.store("worker") as worker:

        async def review_and_work() -> None:
            while True:
                async for proposal in reviewer.proposals.list_all(filter="state = PENDING"):
                    await reviewer.proposals.approve(proposal.id, expected_version=proposal.version)
                for claimed in await worker.proposals.claim(wait_seconds=0.1):
                    result = json_to_struct({"did": claimed.action_name}, "result")
                    await worker.proposals.complete(claimed.id, attempt=claimed.lease.attempt, result=result)

        async with connect(planner=pair.planner_address, store=pair.store_address, actor="agent") as connection:
            working = asyncio.create_task(review_and_work())
            try:
                yield connection
            finally:
                working.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await working


async def proposals(plangate: Connection) -> list[tuple[str, str]]:
    return [(proposal.action_name, proposal.created_by) async for proposal in plangate.store.proposals.list_all()]


@pytest.mark.skipif(find_spec("pydantic_ai") is None, reason="needs pydantic-ai-slim")
@pytest.mark.asyncio
async def test_deferred_tools_of_pydantic_ai(plangate: Connection) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel
    from pydantic_ai_tools import run  # type: ignore[import-not-found]

    seen: list[Any] = []

    def model(messages: list[Any], info: Any) -> ModelResponse:
        if len(messages) == 1:
            assert {tool.name for tool in info.function_tools} == {"read_status", "refund_order", "drop_database"}
            calls = (("read_status", {"service": "web"}), ("refund_order", {"order": "A1"}), ("drop_database", {}))
            return ModelResponse([ToolCallPart(name, args) for name, args in calls])
        seen.extend(part.content for part in messages[-1].parts if part.part_kind.startswith(("tool", "retry")))
        return ModelResponse([TextPart("done")])

    assert await run(Agent(FunctionModel(model)), plangate, "Refund A1") == "done"
    assert seen[:2] == [{"did": "read_status"}, {"did": "refund_order"}]
    assert "never by machine" in str(seen[2])
    assert sorted(await proposals(plangate)) == [("read_status", "agent"), ("refund_order", "agent")]


@pytest.mark.skipif(find_spec("langgraph") is None, reason="needs langgraph")
@pytest.mark.asyncio
async def test_interrupts_of_langgraph(plangate: Connection) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph
    from langgraph_interrupts import act, invoke  # type: ignore[import-not-found]

    class State(TypedDict, total=False):
        status: Any
        refund: Any
        dropped: Any

    def look(_: State) -> State:
        return {"status": act("read_status", service="web"), "refund": act("refund_order", order="A1")}

    builder = StateGraph(State)
    builder.add_node("look", look)
    builder.add_node("drop", lambda _: {"dropped": act("drop_database")})
    builder.add_edge(START, "look")
    builder.add_edge("look", "drop")
    builder.add_edge("drop", END)
    ended = await invoke(builder.compile(checkpointer=InMemorySaver()), {}, "thread-1", plangate)
    assert ended["status"] == {"result": {"did": "read_status"}, "refusal": ""}
    assert ended["refund"] == {"result": {"did": "refund_order"}, "refusal": ""}
    assert "never by machine" in ended["dropped"]["refusal"]
    assert sorted(await proposals(plangate)) == [("read_status", "agent"), ("refund_order", "agent")]


@pytest.mark.asyncio
async def test_the_same_call_again_is_the_same_request(plangate: Connection) -> None:
    from gate import carry_out  # type: ignore[import-not-found]

    answers = [await carry_out(plangate, "call-1", "read_status", {"service": "web"}) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].result == {"did": "read_status"}
    assert "service" in (await carry_out(plangate, "call-2", "read_status", {})).refusal
    assert await proposals(plangate) == [("read_status", "agent")]
