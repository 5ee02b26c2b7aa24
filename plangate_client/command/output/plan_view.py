"""A plan as people like to read it: the request, each step, what policy decided, and where each step is now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plangate.plan.v1 import plan_pb2
from plangate.store.v1 import proposal_pb2
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from plangate_client.command.output.tables import (
    LEAST_TEXT,
    WholeTable,
    decision_text,
    failure_text,
    fields_table,
    styled_state,
)
from plangate_client.command.output.text import AGO, Times, short_id, struct_text
from plangate_client.outlook.dependencies import next_step
from plangate_core.text.printable import visible


def plan_view(
    plan: plan_pb2.Plan,
    proposals: Iterable[proposal_pb2.Proposal] = (),
    *,
    times: Times = AGO,
) -> RenderableType:
    """A plan with its jobs, what policy decided about each, and, of those that are stored, what became of each.

    :param proposals: those of the plan, as they are now; without them no states are shown.
    """
    parts: list[RenderableType] = [_head(plan, times)]
    if plan.jobs:
        parts.append(_jobs_table(plan.jobs, {proposal.id: proposal for proposal in proposals}))
    elif plan.no_action_reason or plan.state == plan_pb2.PLAN_STATE_PLANNED:
        reason = visible(plan.no_action_reason) or "the model gave no reason"
        parts.append(Text.assemble(("No action of the catalogue fits this request: ", "bold yellow"), reason))
    parts.extend(Text.assemble(("! ", "bold yellow"), visible(warning)) for warning in plan.warnings)
    if plan.failure.reason:
        parts.append(failure_text(plan.failure))
    return Group(*parts)


def _head(plan: plan_pb2.Plan, times: Times) -> Table:
    head = fields_table()
    if plan.id:
        head.add_row("plan", Text(plan.id))
    head.add_row("objective", visible(plan.objective or plan.prompt))
    if plan.created_by:
        head.add_row("requested by", f"{visible(plan.created_by)}  {times.text(plan.create_time)}")
    if plan.state:
        head.add_row("state", styled_state(plan))
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
        head.add_row("labels", labels_text(plan.labels))
    return head


def labels_text(labels: Mapping[str, str]) -> str:
    """team=shop, ticket=7."""
    return visible(", ".join(f"{key}={value}" for key, value in sorted(labels.items())))


def _jobs_table(jobs: Iterable[plan_pb2.Job], proposals: Mapping[str, proposal_pb2.Proposal]) -> Table:
    table = WholeTable()
    table.add_column("job", overflow="fold", min_width=4)
    table.add_column("action", overflow="fold", min_width=LEAST_TEXT)
    table.add_column("state" if proposals else "decision", overflow="fold", min_width=12)
    table.add_column("proposal", no_wrap=True)
    for job in jobs:
        action = Text.assemble((visible(job.action_name), "bold"), "\n", (struct_text(job.action_args), "dim"))
        if job.description:
            action.append(f"\n{visible(job.description)}")
        if job.assumed:
            action.append(f"\nassumed, not in the request: {visible(', '.join(job.assumed))}", style="yellow")
        name = Text(visible(job.id))
        if job.depends_on:
            name.append(f"\nafter {visible(', '.join(job.depends_on))}", style="dim")
        proposal = proposals.get(job.proposal_id)
        table.add_row(
            name,
            action,
            _decision(job) if proposal is None else _now(proposal, proposals),
            short_id(job.proposal_id) or Text("none", style="dim"),
        )
    return table


def _decision(job: plan_pb2.Job) -> Text:
    if job.will_not_run.reason:
        text = Text("will not run", style="red")
        text.append(f"\n{visible(job.will_not_run.message)}", style="dim")
        return text
    text = decision_text(job.decision)
    if job.decision.rule:
        text.append(f"\nrule {visible(job.decision.rule)}", style="default")
    if job.decision.reason:
        text.append(f"\n{visible(job.decision.reason)}", style="dim")
    return text


def _now(proposal: proposal_pb2.Proposal, proposals: Mapping[str, proposal_pb2.Proposal]) -> Text:
    text = styled_state(proposal)
    text.append(f"\n{visible(next_step(proposal, [*proposals.values()]))}", style="dim")
    return text
