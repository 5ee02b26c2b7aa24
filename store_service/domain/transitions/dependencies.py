"""What the end of one proposal means for those that wait for it."""

from store_service.domain.instant import Instant
from store_service.domain.lease import Failure
from store_service.domain.proposal import Notice, OnRefusal, Proposal, ProposalState

_REASONS = {
    ProposalState.FAILED: "DEPENDENCY_FAILED",
    ProposalState.REJECTED: "DEPENDENCY_REJECTED",
    ProposalState.CANCELLED: "DEPENDENCY_CANCELLED",
    ProposalState.EXPIRED: "DEPENDENCY_EXPIRED",
}


def dependency_failure(ended: Proposal) -> Failure:
    """Why the dependents of this proposal are cancelled. It will never be EXECUTED: final, or a deleted draft."""
    name = f"job {ended.job_id}" if ended.job_id else f"proposal {ended.id}"
    reason = _REASONS.get(ended.state)
    if reason is None:
        return Failure("DEPENDENCY_DELETED", f"{name}, which must be executed first, was deleted")
    return Failure(reason, f"{name}, which must be executed first, is {ended.state.value}")


def notice_of(failure: Failure, on_refusal: OnRefusal, now: Instant, *, proposal_id: str, job_id: str) -> Notice:
    """The notice on a dependent that is not cancelled with what it depends on."""
    question = ": run this all the same?" if on_refusal is OnRefusal.ASK else ": this goes on"
    return Notice(failure.reason, failure.message + question, now, proposal_id=proposal_id, job_id=job_id)


def same_effect_notice(other: Proposal, now: Instant) -> Notice:
    """The notice on a proposal about another one with the same effect."""
    what = f"proposal {other.id}, which is {other.state.value}, has the same effect {other.effect_key}"
    return Notice("SAME_EFFECT", what, now, proposal_id=other.id, job_id=other.job_id)


def denied_failure(job_id: str) -> Failure:
    """Why a proposal is born CANCELLED: policy denied a job that it needs."""
    return Failure("DEPENDENCY_DENIED", f"job {job_id}, which must be executed first, was denied by policy")


def unreachable_failure(job_id: str) -> Failure:
    """Why a proposal is born CANCELLED: a job that it needs was born CANCELLED itself."""
    return Failure("DEPENDENCY_CANCELLED", f"job {job_id}, which must be executed first, is CANCELLED")
