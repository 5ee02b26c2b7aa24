"""LangGraph: a node's interrupt is an action that Plangate carries out; the graph goes on with what came of it.

pip install langgraph
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from gate import carry_out
from langgraph.types import Command, Interrupt, interrupt

from plangate_client import Connection


def act(action: str, **args: Any) -> dict[str, Any]:
    """For nodes: pause the graph until the action was carried out. Returns `result` and `refusal`."""
    answer: dict[str, Any] = interrupt({"action": action, "args": args})
    return answer


async def invoke(graph: Any, state: Any, thread_id: str, plangate: Connection) -> Any:
    """Run a graph with a checkpointer to its end. After a restart, call it again with `state` None."""
    config = {"configurable": {"thread_id": thread_id}}

    async def answer(paused: Interrupt) -> dict[str, Any]:
        # Interrupts of one node have one id: what is wanted tells them apart.
        call_id = f"{thread_id} {paused.id} {paused.value}"
        return asdict(await carry_out(plangate, call_id, paused.value["action"], paused.value["args"]))

    reached = await graph.ainvoke(state, config)
    while interrupts := reached.get("__interrupt__"):
        answers = await asyncio.gather(*map(answer, interrupts))
        resume = {paused.id: answered for paused, answered in zip(interrupts, answers, strict=True)}
        reached = await graph.ainvoke(Command(resume=resume), config)
    return reached
