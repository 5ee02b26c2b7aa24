"""About how many bytes plans and proposals have as messages: rather too many than too few, without encoding them."""

from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal

# Ids, names, times, numbers and what is around them.
_REST = 4096
# A number in a Struct, with its key's and its list's share; JSON may say it with two characters.
_STRUCT_VALUE = 16


def proposal_weight(proposal: Proposal) -> int:
    """In bytes, without a result."""
    comments = sum(256 + 4 * len(approval.comment) for approval in proposal.approvals)
    decision = 0 if proposal.decision is None else len(proposal.decision.reason)
    return (
        _REST
        + _struct_weight(proposal.args_json)
        + 4 * (len(proposal.description) + len(proposal.evidence) + decision)
        + sum(4 * (len(key) + len(value)) for key, value in proposal.labels.items())
        + sum(4 * len(needed) for needed in proposal.depends_on)
        + sum(4 * len(who) for who in proposal.earlier_revisers)
        + sum(_struct_weight(fact.args_json) + _struct_weight(fact.result_json or "") for fact in proposal.facts)
        + comments
    )


def queued_plan_weight(plan: Plan) -> int:
    """In bytes, of a plan that has no jobs yet."""
    return (
        _REST
        + _struct_weight(plan.context_json)
        + len(plan.generation or b"")
        + 4 * (len(plan.prompt) + len(plan.objective) + len(plan.no_action_reason))
        + sum(4 * (len(key) + len(value)) for key, value in plan.labels.items())
        + sum(4 * len(warning) for warning in plan.warnings)
    )


def _struct_weight(canonical_json: str) -> int:
    """In bytes, of JSON as a Struct. What it takes to make one grows likewise."""
    text = len(canonical_json) if canonical_json.isascii() else 4 * len(canonical_json)
    return text + _STRUCT_VALUE * sum(map(canonical_json.count, "[{,:"))
