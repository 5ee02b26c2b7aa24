"""What an executor does, one line for each event."""

from __future__ import annotations

from plangate.store.v1 import proposal_pb2
from rich.text import Text

from plangate_client.command.output.text import short_id, struct_text
from plangate_client.executor.execution import Ending, Execution
from plangate_core.contract.struct_codec import JsonValue
from plangate_core.text.printable import visible
from plangate_core.text.truncation import truncate

_STYLES = {
    Ending.EXECUTED: "green",
    Ending.FAILED: "red",
    Ending.RETURNED: "yellow",
    Ending.CANCELLED: "yellow",
    Ending.LEASE_LOST: "yellow",
    Ending.NOT_REPORTED: "red",
}
_OUTPUT_LINES = 6
_LINE_CHARACTERS = 200


def claimed_line(proposal: proposal_pb2.Proposal) -> Text:
    """It begins."""
    return Text.assemble(
        (f"{short_id(proposal.id)}  ", "dim"),
        (visible(proposal.action_name), "bold"),
        f" {truncate(struct_text(proposal.action_args), _LINE_CHARACTERS)}",
    )


def execution_view(execution: Execution) -> Text:
    """How it ended, and the last lines of what it printed."""
    outcome = execution.outcome
    text = Text.assemble(
        (f"{short_id(execution.proposal.id)}  ", "dim"),
        (execution.ending.value.replace("_", " "), _STYLES[execution.ending]),
    )
    if isinstance(seconds := outcome.result.get("duration_seconds"), int | float):
        text.append(f" in {seconds:.2f} s", style="dim")
    if outcome.message:
        text.append(f": {visible(outcome.message)}")
    for name in ("stdout", "body"):
        for line in _last_lines(outcome.result.get(name)):
            text.append(f"\n    {line}", style="dim")
    return text


def _last_lines(output: JsonValue) -> list[str]:
    if not isinstance(output, str):
        return []
    lines = [line for line in output.splitlines() if line.strip()][-_OUTPUT_LINES:]
    return [truncate(visible(line), _LINE_CHARACTERS) for line in lines]
