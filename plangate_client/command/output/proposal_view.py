"""A proposal as a reviewer needs it: exactly what would be done, for whom, by which rule, and what depends on it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from plangate.store.v1 import proposal_pb2
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from plangate_client.command.output.plan_view import labels_text
from plangate_client.command.output.tables import (
    action_text,
    decision_text,
    failure_text,
    fields_table,
    styled_state,
)
from plangate_client.command.output.text import AGO, Times, short_id, struct_text
from plangate_client.command.review.lookup import ProposalContext
from plangate_client.outlook.dependencies import falls_with, listed, step_name
from plangate_client.outlook.difference import Change, changes
from plangate_client.outlook.facts import fact_values, why_no_fact
from plangate_client.outlook.waiting import approvals_missing, approvals_text
from plangate_core.contract.enum_names import enum_name
from plangate_core.contract.struct_codec import JsonValue
from plangate_core.text.printable import visible

_LINE_CHARACTERS = 60
_PROMPT_CHARACTERS = 400


def proposal_view(
    proposal: proposal_pb2.Proposal, around: ProposalContext | None = None, *, times: Times = AGO
) -> RenderableType:
    """All that a reviewer must know.

    :param around: the plan and its other steps, where they were looked up.
    """
    around = around or ProposalContext()
    fields = fields_table()
    fields.add_row("proposal", Text(proposal.id))
    if proposal.plan_id:
        fields.add_row("plan", Text(f"{proposal.plan_id} {visible(proposal.job_id)}"))
    cancel = ("  cancel requested", "bold red") if proposal.cancel_requested else ""
    fields.add_row("state", Text.assemble(styled_state(proposal), f"  version {proposal.version}", cancel))
    if proposal.break_glass:
        fields.add_row("", Text("executed by two admins without the approvals that policy asks for", "bold red"))
    _add_warnings(fields, proposal, around)
    _add_action(fields, proposal, around)
    _add_facts(fields, proposal, times)
    _add_request(fields, proposal, around, times)
    _add_review(fields, proposal, times)
    _add_steps(fields, proposal, around)
    _add_execution(fields, proposal, times)
    return fields


def _add_warnings(fields: Table, proposal: proposal_pb2.Proposal, around: ProposalContext) -> None:
    warnings = [*(around.plan.warnings if around.plan else ()), *(notice.message for notice in proposal.notices)]
    for warning in warnings:
        fields.add_row(Text("warning", style="bold yellow"), Text(visible(warning), style="yellow"))


def _add_action(fields: Table, proposal: proposal_pb2.Proposal, around: ProposalContext) -> None:
    fields.add_row("action", Text(visible(proposal.action_name), style="bold"))
    arguments = struct_text(proposal.action_args)
    if len(arguments) > _LINE_CHARACTERS:
        arguments = struct_text(proposal.action_args, indent=2)
    fields.add_row("arguments", Text(arguments, style="bold"))
    if proposal.assumed:
        names = visible(", ".join(proposal.assumed))
        fields.add_row("assumed", Text(f"{names}: not in the request, filled by a default", style="yellow"))
    if around.before is not None:
        for change in changes(around.before, proposal):
            fields.add_row("was", _change_text(change))
    fields.add_row("digest", Text(proposal.args_digest, style="dim"))
    if proposal.description:
        fields.add_row("what", visible(proposal.description, newlines=True))
    if proposal.effect_key:
        fields.add_row("effect", visible(proposal.effect_key))


def _add_facts(fields: Table, proposal: proposal_pb2.Proposal, times: Times) -> None:
    """What was looked up for the decision, or why it was not."""
    if proposal.fact_for:
        fields.add_row("fetched for", Text(proposal.fact_for))
    for fact in proposal.facts:
        look_up = Text.assemble((visible(fact.action_name), "bold"), f" {struct_text(fact.action_args)}")
        if problem := why_no_fact(fact):
            fields.add_row("fact", Text.assemble(look_up, "  ", (visible(problem), "yellow")))
            continue
        look_up.append(f"  {times.text(fact.end_time)}", style="dim")
        fields.add_row("fact", look_up)
        fields.add_row(
            "", visible(json.dumps(fact_values(fact), ensure_ascii=False, sort_keys=True, indent=2), newlines=True)
        )


def _add_request(fields: Table, proposal: proposal_pb2.Proposal, around: ProposalContext, times: Times) -> None:
    if proposal.evidence:
        fields.add_row("why", visible(proposal.evidence, newlines=True))
    plan = around.plan
    if plan is not None and plan.prompt and plan.prompt != proposal.evidence:
        shown = plan.prompt[:_PROMPT_CHARACTERS]
        fields.add_row("request", visible(shown + ("…" if shown != plan.prompt else ""), newlines=True))
    if plan is not None and plan.context.fields:
        fields.add_row("context", struct_text(plan.context))
    if proposal.labels:
        fields.add_row("labels", labels_text(proposal.labels))
    fields.add_row("requested by", f"{visible(proposal.created_by)}  {times.text(proposal.create_time)}")
    if proposal.revised_by:
        # These arguments are not, or not all, in the request.
        editors = ", ".join((*proposal.earlier_revisers, proposal.revised_by))
        fields.add_row("changed by", Text(visible(editors), style="bold yellow"))


def _add_review(fields: Table, proposal: proposal_pb2.Proposal, times: Times) -> None:
    if proposal.decision.effect:
        decision = decision_text(proposal.decision)
        reason = f": {visible(proposal.decision.reason)}" if proposal.decision.reason else ""
        decision.append(f"  rule {visible(proposal.decision.rule)}{reason}", style="default")
        fields.add_row("policy", decision)
    for approval in proposal.approvals:
        comment = f": {visible(approval.comment)}" if approval.comment else ""
        when = times.text(approval.create_time)
        fields.add_row("approved by", f"{visible(approval.reviewer)}  {when}  version {approval.version}{comment}")
    if enum_name(proposal, "state") == "PENDING" and (missing := approvals_missing(proposal)):
        fields.add_row("still needs", Text(visible(approvals_text(missing)), style="yellow"))
    for approval in proposal.earlier_approvals:
        when = times.text(approval.create_time)
        fields.add_row("not counted", Text(f"{visible(approval.reviewer)} approved it {when}", style="dim"))
    if proposal.expire_time.seconds and enum_name(proposal, "state") in ("DRAFT", "PENDING", "APPROVED"):
        fields.add_row("expires", times.text(proposal.expire_time))


def _add_steps(fields: Table, proposal: proposal_pb2.Proposal, around: ProposalContext) -> None:
    others = {sibling.id: sibling for sibling in around.siblings if sibling.id != proposal.id}
    for identifier in proposal.depends_on:
        fields.add_row("after", _step(others[identifier]) if identifier in others else short_id(identifier))
    fallen = falls_with(proposal, around.siblings)
    if fallen:
        names = listed([step_name(sibling) for sibling in fallen])
        fields.add_row("if it fails", visible(f"{names} will not run"))
    for sibling in others.values():
        if sibling.id not in proposal.depends_on and not sibling.fact_for:
            fields.add_row("beside it", _step(sibling))


def _step(proposal: proposal_pb2.Proposal) -> Text:
    return Text.assemble((f"{short_id(proposal.id)} ", "dim"), action_text(proposal), " ", styled_state(proposal))


def _add_execution(fields: Table, proposal: proposal_pb2.Proposal, times: Times) -> None:
    if proposal.lease.worker:
        until = times.text(proposal.lease.expire_time)
        fields.add_row("running at", f"{visible(proposal.lease.worker)}, lease until {until}")
    if proposal.attempt:
        fields.add_row("attempt", f"{proposal.attempt} of {proposal.max_attempts}")
    if proposal.failure.reason:
        fields.add_row("failure", failure_text(proposal.failure))
    if proposal.result.fields:
        fields.add_row("result", struct_text(proposal.result, indent=2))


def changes_view(differences: Sequence[Change]) -> Table:
    """Old beside new, one line for each field that differs."""
    fields = fields_table()
    for change in differences:
        fields.add_row(visible(change.path), _change_text(change, with_path=False))
    if not differences:
        fields.add_row("no change", "")
    return fields


def _change_text(change: Change, *, with_path: bool = True) -> Text:
    path = f"{visible(change.path.removeprefix('action_args.'))}: " if with_path else ""
    return Text.assemble(path, (_value(change.old), "red"), " → ", (_value(change.new), "green"))


def _value(value: JsonValue) -> str:
    return "nothing" if value is None else visible(json.dumps(value, ensure_ascii=False, sort_keys=True))
