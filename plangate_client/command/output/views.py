"""Plans, proposals, actions and events as people like to read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from plangate.plan.v1 import plan_pb2
from plangate.planner.v1 import action_pb2
from plangate.store.v1 import event_pb2, proposal_pb2
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from plangate_client.command.output.text import name_of, short_id, struct_text, time_text
from plangate_core.contract.struct_codec import struct_to_json
from plangate_core.text.printable import visible
from plangate_core.text.truncation import truncate

_STATE_STYLES = {
    "DRAFT": "dim",
    "PENDING": "yellow",
    "APPROVED": "cyan",
    "EXECUTING": "blue",
    "EXECUTED": "green",
    "FAILED": "red",
    "REJECTED": "red",
    "CANCELLED": "dim",
    "EXPIRED": "dim",
    "QUEUED": "dim",
    "PLANNING": "blue",
    "PLANNED": "green",
}
_CLAIMED = "*"
_LINE_CHARACTERS = 60
# A column of texts is at least so wide.
_LEAST_TEXT = 24
_RISK_STYLES = {"LOW": "green", "MEDIUM": "yellow", "HIGH": "red", "UNSPECIFIED": "red"}


def proposal_state(proposal: proposal_pb2.Proposal) -> str:
    """The state's name without prefix."""
    return name_of(proposal_pb2.ProposalState.Name(proposal.state), "PROPOSAL_STATE_")


def plan_state(plan: plan_pb2.Plan) -> str:
    """The state's name without prefix."""
    return name_of(plan_pb2.PlanState.Name(plan.state), "PLAN_STATE_")


def decision_text(decision: plan_pb2.Decision) -> Text:
    """What policy decided, in three words."""
    match decision.effect:
        case plan_pb2.EFFECT_ALLOW:
            return Text("allowed", style="green")
        case plan_pb2.EFFECT_REQUIRE_APPROVAL:
            count = decision.required_approvals
            role = f" by {visible(decision.reviewer_role)}" if decision.reviewer_role else ""
            return Text(f"needs {count} approval{'s' if count != 1 else ''}{role}", style="yellow")
        case plan_pb2.EFFECT_DENY:
            return Text("denied", style="bold red")
        case _:
            return Text("not decided", style="dim")


def plan_view(plan: plan_pb2.Plan) -> RenderableType:
    """A plan with its jobs and what policy decided about each."""
    parts: list[RenderableType] = [_plan_head(plan)]
    if plan.jobs:
        parts.append(_jobs_table(plan.jobs))
    elif plan.no_action_reason or plan.state == plan_pb2.PLAN_STATE_PLANNED:
        reason = visible(plan.no_action_reason) or "the model gave no reason"
        parts.append(Text.assemble(("No action of the catalogue fits this request: ", "bold yellow"), reason))
    parts.extend(Text.assemble(("! ", "bold yellow"), visible(warning)) for warning in plan.warnings)
    if plan.failure.reason:
        parts.append(_failure(plan.failure))
    return Group(*parts)


def _plan_head(plan: plan_pb2.Plan) -> Table:
    head = _fields()
    if plan.id:
        head.add_row("plan", Text(plan.id))
    head.add_row("objective", visible(plan.objective or plan.prompt))
    state = plan_state(plan)
    if plan.state:
        head.add_row("state", Text(state, style=_STATE_STYLES.get(state, "")))
    report = plan.generation
    if report.model:
        attempts = f"{len(report.attempts)} attempt{'s' if len(report.attempts) != 1 else ''}"
        tokens = report.input_tokens + report.output_tokens
        seconds = report.duration.ToTimedelta().total_seconds()
        facts = "from the cache" if report.cached else f"{attempts}, {tokens} tokens, {seconds:.1f} s"
        head.add_row("model", f"{visible(report.model)} ({facts})")
        for attempt in report.attempts:
            for fault in attempt.errors:
                text = f"attempt {attempt.number}: {visible(fault.path) or 'reply'}: {visible(fault.message)}"
                head.add_row("", Text(text, style="dim"))
    if plan.labels:
        head.add_row("labels", visible(", ".join(f"{key}={value}" for key, value in sorted(plan.labels.items()))))
    return head


def _jobs_table(jobs: Iterable[plan_pb2.Job]) -> Table:
    table = _WholeTable()
    table.add_column("job", overflow="fold", min_width=4)
    table.add_column("action", overflow="fold", min_width=_LEAST_TEXT)
    table.add_column("decision", min_width=12)
    table.add_column("proposal", no_wrap=True)
    for job in jobs:
        action = Text.assemble((visible(job.action_name), "bold"), "\n", (struct_text(job.action_args), "dim"))
        if job.description:
            action.append(f"\n{visible(job.description)}")
        decision = decision_text(job.decision)
        if job.decision.rule:
            decision.append(f"\nrule {visible(job.decision.rule)}", style="default")
        if job.decision.reason:
            decision.append(f"\n{visible(job.decision.reason)}", style="dim")
        name = Text(visible(job.id))
        if job.depends_on:
            name.append(f"\nafter {visible(', '.join(job.depends_on))}", style="dim")
        table.add_row(name, action, decision, short_id(job.proposal_id) or Text("none", style="dim"))
    return table


def proposals_table(proposals: Iterable[proposal_pb2.Proposal]) -> Table:
    """One line for each."""
    table = _WholeTable()
    table.add_column("id", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("v", justify="right", no_wrap=True)
    table.add_column("action", overflow="fold", min_width=_LEAST_TEXT)
    table.add_column("approvals", no_wrap=True)
    table.add_column("by", no_wrap=True)
    table.add_column("created", no_wrap=True)
    for proposal in proposals:
        state = proposal_state(proposal)
        arguments = truncate(struct_text(proposal.action_args), 120)
        table.add_row(
            short_id(proposal.id),
            Text(state, style=_STATE_STYLES.get(state, "")),
            str(proposal.version),
            Text.assemble((visible(proposal.action_name), "bold"), " ", (arguments, "dim")),
            f"{len(proposal.approvals)} of {proposal.required_approvals}" if proposal.required_approvals else "policy",
            truncate(visible(proposal.created_by), 16),
            time_text(proposal.create_time),
        )
    return table


def proposal_view(proposal: proposal_pb2.Proposal) -> RenderableType:
    """All that a reviewer must know: exactly what would be done, by whose wish, and what policy said."""
    fields = _fields()
    fields.add_row("proposal", Text(proposal.id))
    if proposal.plan_id:
        fields.add_row("plan", Text(f"{proposal.plan_id} {visible(proposal.job_id)}"))
    state = proposal_state(proposal)
    cancel = ("  cancel requested", "bold red") if proposal.cancel_requested else ""
    fields.add_row(
        "state", Text.assemble((state, _STATE_STYLES.get(state, "")), f"  version {proposal.version}", cancel)
    )
    fields.add_row("action", Text(visible(proposal.action_name), style="bold"))
    arguments = struct_text(proposal.action_args)
    if len(arguments) > _LINE_CHARACTERS:
        arguments = struct_text(proposal.action_args, indent=2)
    fields.add_row("arguments", Text(arguments, style="bold"))
    fields.add_row("digest", Text(proposal.args_digest, style="dim"))
    for name, text in (("what", proposal.description), ("why", proposal.evidence)):
        if text:
            fields.add_row(name, visible(text, newlines=True))
    fields.add_row("asked by", f"{visible(proposal.created_by)}  {time_text(proposal.create_time)}")
    if proposal.revised_by:
        # These arguments are not, or not all, what the requester asked for.
        editors = ", ".join((*proposal.earlier_revisers, proposal.revised_by))
        fields.add_row("changed by", Text(visible(editors), style="bold yellow"))
    if proposal.decision.effect:
        decision = decision_text(proposal.decision)
        decision.append(
            f"  rule {visible(proposal.decision.rule)}: {visible(proposal.decision.reason)}", style="default"
        )
        fields.add_row("policy", decision)
    for approval in proposal.approvals:
        comment = f": {visible(approval.comment)}" if approval.comment else ""
        when = time_text(approval.create_time)
        fields.add_row("approved by", f"{visible(approval.reviewer)}  {when}  version {approval.version}{comment}")
    if proposal.expire_time.seconds and state in ("DRAFT", "PENDING", "APPROVED"):
        fields.add_row("expires", time_text(proposal.expire_time))
    if proposal.depends_on:
        fields.add_row("after", ", ".join(short_id(identifier) for identifier in proposal.depends_on))
    if proposal.lease.worker:
        until = time_text(proposal.lease.expire_time)
        fields.add_row("running at", f"{visible(proposal.lease.worker)}, lease until {until}")
    if proposal.attempt:
        fields.add_row("attempt", f"{proposal.attempt} of {proposal.max_attempts}")
    if proposal.failure.reason:
        fields.add_row("failure", _failure(proposal.failure))
    if proposal.result.fields:
        fields.add_row("result", struct_text(proposal.result, indent=2))
    return fields


def events_table(events: Sequence[event_pb2.Event]) -> Table:
    """The log, one line for each event. A star marks identities that were claimed, not proved."""
    table = _WholeTable()
    table.add_column("rev", justify="right", no_wrap=True)
    table.add_column("time", no_wrap=True)
    table.add_column("event", no_wrap=True)
    table.add_column("of", no_wrap=True)
    table.add_column("v", justify="right", no_wrap=True)
    table.add_column("by", overflow="fold", min_width=12)
    table.add_column("comment", overflow="fold", min_width=12)
    for event in events:
        table.add_row(*event_cells(event))
    return table


def event_cells(event: event_pb2.Event) -> tuple[str | Text, ...]:
    """The cells of one event."""
    actor = Text(visible(event.actor))
    if event.via:
        actor.append(f" via {visible(event.via)}", style="dim")
    if not event.authenticated and not event.actor.startswith("system:"):
        actor.append(_CLAIMED, style="dim")
    return (
        str(event.revision),
        time_text(event.time, with_date=False),
        Text(visible(event.kind), style="bold"),
        short_id(event.entity_id),
        str(event.version),
        actor,
        visible(event.comment),
    )


def actions_table(actions: Iterable[action_pb2.Action]) -> Table:
    """The catalogue."""
    table = _WholeTable()
    table.add_column("action", no_wrap=True)
    table.add_column("risk", no_wrap=True)
    table.add_column("done by", no_wrap=True)
    table.add_column("arguments", overflow="fold", min_width=12)
    table.add_column("description", overflow="fold", min_width=_LEAST_TEXT)
    for action in actions:
        risk = name_of(action_pb2.Risk.Name(action.risk), "RISK_")
        binding = name_of(action_pb2.Binding.Name(action.binding), "BINDING_").lower()
        schema = struct_to_json(action.parameters, "parameters", byte_limit=1 << 20, depth_limit=100)
        properties, required = schema.get("properties"), schema.get("required")
        names = sorted(properties) if isinstance(properties, dict) else []
        needed = required if isinstance(required, list) else []
        arguments = ", ".join(name if name in needed else f"[{name}]" for name in names)
        table.add_row(
            Text(visible(action.name), style="bold"),
            Text(risk.lower(), style=_RISK_STYLES.get(risk, "")),
            "any worker" if binding == "unspecified" else binding,
            visible(arguments),
            visible(action.description),
        )
    return table


class _WholeTable(Table):
    """Leaves out nothing where the terminal is too narrow: print it without cropping, the terminal breaks its lines."""

    _GAP = 2

    def __init__(self) -> None:
        super().__init__(box=None, pad_edge=False, show_edge=False, header_style="dim", padding=(0, self._GAP, 0, 0))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        least = 0
        for column in self.columns:
            if column.no_wrap:
                texts = [cell if isinstance(cell, Text) else Text(str(cell)) for cell in (column.header, *column.cells)]
                column.min_width = max(text.cell_len for text in texts)
            least += (column.min_width or 0) + self._GAP
        yield from super().__rich_console__(console, options.update_width(max(options.max_width, least)))


def _failure(failure: plan_pb2.Failure) -> Text:
    return Text.assemble((visible(failure.reason), "red"), f" {visible(failure.message, newlines=True)}")


def _fields() -> Table:
    table = Table(box=None, show_header=False, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table
