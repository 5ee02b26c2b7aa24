"""What reviewers of a job are to see before they decide, where the catalogue says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from plangate_core.catalogue.policy_effect import Effect
from plangate_core.contract.limits import MAX_FAILURE_MESSAGE_CHARACTERS
from planner_service.governance.governance import Governance
from planner_service.governance.policy import most_severe
from planner_service.plan import Fact, Job
from planner_service.planning.checking.checks import check_args


def with_facts(
    jobs: Iterable[Job], governance: Governance, labels: Mapping[str, str], requester: str, now: datetime
) -> tuple[Job, ...]:
    """The jobs, those that people decide about with what is to be looked up for them."""
    return tuple(
        replace(job, facts=facts_for(job, governance, labels, [requester], now))
        if job.decision is not None and job.decision.effect is Effect.REQUIRE_APPROVAL
        else job
        for job in jobs
    )


def facts_for(
    job: Job, governance: Governance, labels: Mapping[str, str], requesters: Sequence[str], now: datetime
) -> tuple[Fact, ...]:
    """What the catalogue shows of a job. Looking it up must be allowed, by policy, to all who wrote the job."""
    action = governance.catalogue.find(job.action_name)
    if action is None:
        return ()
    facts: list[Fact] = []
    for shown in action.shown:
        args, errors = check_args(shown.action_name, shown.args_of(job.action_args), governance.catalogue)
        if errors:
            message = "; ".join(f"{error.path.removeprefix('action_args.')}: {error.message}" for error in errors)
            failure = ("ARGUMENTS_INVALID", message[:MAX_FAILURE_MESSAGE_CHARACTERS])
            facts.append(Fact(shown.action_name, {}, failure=failure))
            continue
        look_up = Job(id=job.id, action_name=shown.action_name, action_args=args)
        decision = most_severe([governance.decide(look_up, labels, requester, now) for requester in requesters])
        if decision.effect is Effect.ALLOW:
            facts.append(Fact(shown.action_name, args, replace(decision, approval_ttl=action.shown_timeout)))
        else:
            message = f"policy does not allow it without approval (rule {decision.rule})"
            facts.append(Fact(shown.action_name, args, failure=("NOT_ALLOWED", message)))
    return tuple(facts)
