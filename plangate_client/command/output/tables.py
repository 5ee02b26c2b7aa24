"""Lists as tables: one line for each thing, as narrow as a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import action_pb2
from plangate.planner.v1 import planner_service_pb2 as planner_pb2
from plangate.store.v1 import event_pb2, proposal_pb2
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from plangate_client.command.output.text import AGO, Times, short_id, struct_text
from plangate_client.outlook.facts import fact_line
from plangate_client.outlook.waiting import approvals_text
from plangate_core.contract.enum_names import enum_name
from plangate_core.contract.struct_codec import struct_to_json
from plangate_core.text.printable import visible
from plangate_core.text.truncation import truncate

STATE_STYLES = {
    "DRAFT": "dim",
    "PENDING": "yellow",
    "APPROVED": "cyan",
    "EXECUTING": "blue",
    "EXECUTED": "green",
    "FAILED": "red",
    "REJECTED": "red",
    "CANCELLED": "dim",
    "EXPIRED": "dim",
    "UNRESOLVED": "bold red",
    "QUEUED": "dim",
    "PLANNING": "blue",
    "PLANNED": "green",
}
CLAIMED_NOTE = "* claimed, not proved: the servers run without authentication"
# A column of texts is at least so wide.
LEAST_TEXT = 24
_RISK_STYLES = {"LOW": "green", "MEDIUM": "yellow", "HIGH": "red", "UNSPECIFIED": "red"}
_REASON_CHARACTERS = 200
_NAME_CHARACTERS = 14
_ARGUMENT_CHARACTERS = 120


def styled_state(thing: plan_pb2.Plan | proposal_pb2.Proposal) -> Text:
    """The name of its state in its colour."""
    state = enum_name(thing, "state")
    return Text(state, style=STATE_STYLES.get(state, ""))


def action_text(proposal: proposal_pb2.Proposal) -> Text:
    """An action with its arguments."""
    arguments = truncate(struct_text(proposal.action_args), _ARGUMENT_CHARACTERS)
    return Text.assemble((visible(proposal.action_name), "bold"), " ", (arguments, "dim"))


def proposals_table(proposals: Iterable[proposal_pb2.Proposal], *, times: Times = AGO) -> Table:
    """One line for each, and one with the reason for what will not run."""
    table = WholeTable("id", "state", "approvals", "by", "created", text="action")
    for proposal in proposals:
        action = action_text(proposal)
        if proposal.failure.message:
            action.append(f"\n{truncate(visible(proposal.failure.message), _REASON_CHARACTERS)}", style="dim")
        table.add_row(
            short_id(proposal.id),
            styled_state(proposal),
            f"{len(proposal.approvals)} of {proposal.required_approvals}" if proposal.required_approvals else "policy",
            truncate(visible(proposal.created_by), _NAME_CHARACTERS),
            times.text(proposal.create_time),
            action,
        )
    return table


def inbox_table(proposals: Iterable[proposal_pb2.Proposal], *, times: Times = AGO) -> Table:
    """What waits for one person."""
    table = WholeTable("id", "by", "created", "expires", text="action")
    for proposal in proposals:
        action = action_text(proposal)
        if proposal.description:
            action.append(f"\n{visible(proposal.description)}")
        for fact in proposal.facts:
            action.append(f"\n{truncate(visible(fact_line(fact)), _ARGUMENT_CHARACTERS)}", style="dim")
        action.append("".join(f"\n! {visible(notice.message)}" for notice in proposal.notices), style="yellow")
        table.add_row(
            short_id(proposal.id),
            truncate(visible(proposal.created_by), _NAME_CHARACTERS),
            times.text(proposal.create_time),
            times.text(proposal.expire_time),
            action,
        )
    return table


def _steps(plan: plan_pb2.Plan) -> str:
    stopped = sum(bool(job.will_not_run.reason) for job in plan.jobs)
    return f"{len(plan.jobs)}, {stopped} will not run" if stopped else str(len(plan.jobs))


def plans_table(plans: Iterable[plan_pb2.Plan], *, times: Times = AGO) -> Table:
    """One line for each."""
    table = WholeTable("id", "state", "steps", "by", "created", text="objective")
    for plan in plans:
        table.add_row(
            short_id(plan.id),
            styled_state(plan),
            _steps(plan),
            truncate(visible(plan.created_by), _NAME_CHARACTERS),
            times.text(plan.create_time),
            truncate(visible(plan.objective or plan.prompt), _ARGUMENT_CHARACTERS),
        )
    return table


def events_table(events: Sequence[event_pb2.Event], *, times: Times = AGO) -> Table:
    """The log, one line for each event. A star marks identities that were claimed, not proved."""
    table = WholeTable()
    table.add_column("rev", justify="right", no_wrap=True)
    table.add_column("time" if times.utc else "ago", no_wrap=True)
    table.add_column("event", overflow="fold", min_width=16)
    table.add_column("of", no_wrap=True)
    table.add_column("v", justify="right", no_wrap=True)
    table.add_column("by", overflow="fold", min_width=10)
    table.add_column("comment", overflow="fold", min_width=10)
    for event in events:
        actor = Text(visible(event.actor))
        if event.via:
            actor.append(f" via {visible(event.via)}", style="dim")
        if is_claimed(event):
            actor.append("*", style="dim")
        table.add_row(
            str(event.revision),
            times.age(event.time),
            Text(visible(event.kind), style="bold"),
            short_id(event.entity_id),
            str(event.version),
            actor,
            visible(event.comment),
        )
    return table


def is_claimed(event: event_pb2.Event) -> bool:
    """Whether a star marks who acted."""
    return not event.authenticated and not event.actor.startswith("system:")


def actions_table(actions: Iterable[action_pb2.Action]) -> Table:
    """The catalogue."""
    table = WholeTable("action", "risk", "done by", text="arguments and what it does")
    for action in actions:
        risk, binding = enum_name(action, "risk"), enum_name(action, "binding").lower()
        schema = struct_to_json(action.parameters, "parameters", byte_limit=1 << 20, depth_limit=100)
        properties, required = schema.get("properties"), schema.get("required")
        names = sorted(properties) if isinstance(properties, dict) else []
        needed = required if isinstance(required, list) else []
        arguments = ", ".join(name if name in needed else f"[{name}]" for name in names)
        table.add_row(
            Text(visible(action.name), style="bold"),
            Text(risk.lower(), style=_RISK_STYLES.get(risk, "")),
            "any worker" if binding == "unspecified" else binding,
            Text.assemble((visible(arguments), "dim"), "\n" if arguments else "", visible(action.description)),
        )
    return table


def differences_table(differences: Iterable[planner_pb2.DecisionDifference]) -> Table:
    """What another policy would have decided differently."""
    table = WholeTable("plan", "job")
    for name in ("action", "decided", "would be"):
        table.add_column(name, overflow="fold", min_width=12)
    for difference in differences:
        table.add_row(
            short_id(difference.plan_id),
            visible(difference.job_id),
            Text(visible(difference.action_name), style="bold"),
            _with_rule(difference.actual),
            _with_rule(difference.candidate),
        )
    return table


def decision_text(decision: plan_pb2.Decision) -> Text:
    """What policy decided, in three words."""
    match decision.effect:
        case plan_pb2.EFFECT_ALLOW:
            return Text("allowed", style="green")
        case plan_pb2.EFFECT_REQUIRE_APPROVAL:
            wanted = decision.approval_requirements or [
                plan_pb2.ApprovalRequirement(count=decision.required_approvals, role=decision.reviewer_role)
            ]
            return Text(f"needs {visible(approvals_text(wanted))}", style="yellow")
        case plan_pb2.EFFECT_DENY:
            return Text("denied", style="bold red")
        case _:
            return Text("not decided", style="dim")


def _with_rule(decision: plan_pb2.Decision) -> Text:
    text = decision_text(decision)
    if decision.rule:
        text.append(f"\nrule {visible(decision.rule)}", style="dim")
    return text


class WholeTable(Table):
    """Leaves out nothing where the terminal is too narrow: print it without cropping, the terminal breaks its lines."""

    _GAP = 2

    def __init__(self, *columns: str, text: str = "") -> None:
        """:param columns: are never broken. :param text: a last column that is, where it is too long."""
        super().__init__(box=None, pad_edge=False, show_edge=False, header_style="dim", padding=(0, self._GAP, 0, 0))
        for name in columns:
            self.add_column(name, no_wrap=True)
        if text:
            self.add_column(text, overflow="fold", min_width=LEAST_TEXT)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        least = 0
        for column in self.columns:
            if column.no_wrap:
                texts = [cell if isinstance(cell, Text) else Text(str(cell)) for cell in (column.header, *column.cells)]
                column.min_width = max(text.cell_len for text in texts)
            least += (column.min_width or 0) + self._GAP
        yield from super().__rich_console__(console, options.update_width(max(options.max_width, least)))


def fields_table() -> Table:
    """Names and values, one a line."""
    table = Table(box=None, show_header=False, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def failure_text(failure: plan_pb2.Failure) -> Text:
    """Why it ended."""
    return Text.assemble((visible(failure.reason), "red"), f" {visible(failure.message, newlines=True)}")
