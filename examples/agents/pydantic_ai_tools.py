"""pydantic-ai: the catalogue's actions as deferred tools, which Plangate carries out.

pip install pydantic-ai-slim
"""

from __future__ import annotations

import asyncio
from typing import Any

from gate import carry_out
from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import ExternalToolset

from plangate_client import Connection, struct_to_json


async def catalogue(plangate: Connection) -> ExternalToolset[Any]:
    """One tool for each action."""
    return ExternalToolset(
        [
            ToolDefinition(
                name=action.name,
                description=action.description,
                parameters_json_schema=struct_to_json(action.parameters),
            )
            for action in await plangate.planner.list_actions()
        ]
    )


async def answers(plangate: Connection, requests: DeferredToolRequests) -> DeferredToolResults:
    """The results of an agent's deferred calls, when all have ended. They wait for their approvals side by side."""

    async def answer(call: ToolCallPart) -> Any:
        answered = await carry_out(plangate, call.tool_call_id, call.tool_name, call.args_as_dict())
        return ToolFailed(answered.refusal) if answered.refusal else answered.result

    results = await asyncio.gather(*map(answer, requests.calls))
    return DeferredToolResults(
        calls={call.tool_call_id: result for call, result in zip(requests.calls, results, strict=True)}
    )


async def run(agent: Agent[None, str], plangate: Connection, prompt: str) -> str:
    """Run the agent to its end. A program that must outlive restarts keeps `messages` and `requests` in between."""
    toolsets = [await catalogue(plangate)]
    output_type = [str, DeferredToolRequests]
    answered = await agent.run(prompt, output_type=output_type, toolsets=toolsets)
    while isinstance(requests := answered.output, DeferredToolRequests):
        results, messages = await answers(plangate, requests), answered.all_messages()
        answered = await agent.run(
            message_history=messages, deferred_tool_results=results, output_type=output_type, toolsets=toolsets
        )
    return answered.output
