"""Governed jobs from a model's drafts: checked, explained, decided, compared with the request."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from plangate_core.catalogue.finding import Finding
from plangate_core.contract.limits import MAX_DESCRIPTION_CHARACTERS
from plangate_core.text.truncation import truncate
from planner_service.generation.reply.draft import JobDraft, PlanDraft
from planner_service.governance.governance import Governance
from planner_service.plan import Job, PlanRequest, with_decisions
from planner_service.planning.checking.assumptions import assumed_arguments, filled_in
from planner_service.planning.checking.checks import check_args, check_jobs, job_of_draft, jobs_of_draft
from planner_service.planning.checking.completeness import evidence_for
from planner_service.planning.checking.doubts import NO_DOUBTS, Doubts, doubts_about
from planner_service.planning.checking.facts import with_facts
from planner_service.planning.checking.ties import all_tied, tied
from planner_service.wording.describing import description_of


@dataclass(frozen=True, slots=True)
class GovernedDraft:
    """The jobs of a draft, decided, or what is wrong with it."""

    jobs: tuple[Job, ...] = ()
    doubts: Doubts = NO_DOUBTS
    errors: tuple[Finding, ...] = ()


class DraftGovernance:
    """For one request, under the governance that was in force when it came."""

    def __init__(self, request: PlanRequest, governance: Governance, requester: str, now: datetime) -> None:
        self._request = request
        self._governance = governance
        self._requester = requester
        self._now = now
        self._alone: dict[int, Job] = {}

    def check(self, draft: PlanDraft) -> list[Finding]:
        """What is wrong with a draft's jobs."""
        return check_jobs(jobs_of_draft(draft), self._governance.catalogue)[1]

    async def govern(self, draft: PlanDraft) -> GovernedDraft:
        """The jobs of a draft with all that the plan says of them."""
        jobs, errors = check_jobs(jobs_of_draft(draft), self._governance.catalogue)
        if errors:
            return GovernedDraft(errors=tuple(errors))
        explained = [self._explained(job, made_of) for job, made_of in zip(jobs, draft.jobs, strict=True)]
        labels, policy = self._request.labels, self._governance.policy
        decisions = await self._governance.decide_all(explained, labels, self._requester, self._now)
        doubts = doubts_about(self._request.prompt, explained, self._governance.catalogue, draft.corrections)
        governed = [doubts.raised(job, policy) for job in with_decisions(explained, decisions)]
        shown = with_facts(governed, self._governance, labels, self._requester, self._now)
        return GovernedDraft(all_tied(shown, self._governance.catalogue, self._request.options.order), doubts)

    def govern_alone(self, index: int, draft: JobDraft) -> Job | None:
        """A job before the rest of its plan is there; None when it fails the checks."""
        job = job_of_draft(index, draft)
        args, errors = check_args(job.action_name, job.action_args, self._governance.catalogue)
        if errors:
            return None
        complete = replace(job, action_args=args, assumed=filled_in(job.action_args, args))
        explained = self._explained(complete, draft)
        decision = self._governance.decide(explained, self._request.labels, self._requester, self._now)
        earlier = [self._alone[position] for position in sorted(self._alone) if position < index]
        decided = replace(explained, decision=decision)
        governed = tied(decided, earlier, self._governance.catalogue, self._request.options.order)
        self._alone[index] = governed
        return governed

    def _explained(self, job: Job, draft: JobDraft) -> Job:
        catalogue = self._governance.catalogue
        return replace(
            job,
            description=described(job, self._governance),
            evidence=clean_text(evidence_for(job, self._request.prompt)),
            assumed=assumed_arguments(
                job.action_name, draft.action_args, job.action_args, self._requested_text, catalogue
            ),
        )

    @cached_property
    def _requested_text(self) -> str:
        """All that may stand for an argument: the prompt and the context."""
        context = self._request.context
        return f"{self._request.prompt} {json.dumps(context, ensure_ascii=False)}" if context else self._request.prompt


def described(job: Job, governance: Governance) -> str:
    """What a job does, for its reviewer."""
    return clean_text(description_of(job, governance.catalogue))


def clean_text(text: str) -> str:
    """A model's words, fit to be stored: whole characters, no control characters, not too long."""
    kept = text.strip()
    if not kept.isprintable():
        # Halves of surrogate pairs are not printable either.
        kept = "".join(character for character in kept if character.isprintable() or character in "\n\t").strip()
    return truncate(kept, MAX_DESCRIPTION_CHARACTERS)
