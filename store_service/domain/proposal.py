"""What a proposal is. How it changes is in `lifecycle`, `review` and `execution`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

from store_service.domain.instant import Instant, Micros
from store_service.domain.lease import Failure, Leased


class ProposalState(StrEnum):
    DRAFT = "DRAFT"
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    EXECUTING = "EXECUTING"
    EXECUTED = "EXECUTED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    UNRESOLVED = "UNRESOLVED"


FINAL_STATES = frozenset(
    {
        ProposalState.EXECUTED,
        ProposalState.FAILED,
        ProposalState.REJECTED,
        ProposalState.CANCELLED,
        ProposalState.EXPIRED,
    }
)


class Effect(StrEnum):
    ALLOW = "ALLOW"
    REQUIRE_APPROVAL = "REQUIRE_APPROVAL"
    DENY = "DENY"


# States of proposals that may have, or have had, their effect in the world.
EFFECTIVE_STATES = frozenset(set(ProposalState) - FINAL_STATES | {ProposalState.EXECUTED})


class OnRefusal(StrEnum):
    """What becomes of a proposal when one that it depends on ends without success. UNSPECIFIED is CANCEL."""

    UNSPECIFIED = ""
    ASK = "ASK"
    CONTINUE = "CONTINUE"
    CANCEL = "CANCEL"


# States in which an executor has, or had, the work in hand.
IN_WORK_STATES = frozenset({ProposalState.EXECUTING, ProposalState.UNRESOLVED})


# States in which it may still be edited, and waits for a decision.
IN_REVIEW_STATES = frozenset({ProposalState.DRAFT, ProposalState.PENDING})


@dataclass(frozen=True, slots=True)
class ApprovalRequirement:
    """So many distinct reviewers of a role; of any role when it is empty."""

    role: str
    count: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one job, and why. `approval_ttl` None means the store's default.

    decided_by: the planner that decided for policy; empty when none did.
    """

    effect: Effect
    reason: str = ""
    rule: str = ""
    required_approvals: int = 0
    reviewer_role: str = ""
    approval_ttl: Micros | None = None
    approval_requirements: tuple[ApprovalRequirement, ...] = ()
    governance_digest: str = ""
    time_dependent: bool = False
    decided_by: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """One reviewer's yes to one version of one proposal.

    roles: those of the proposal's requirements that the reviewer had.
    break_glass: an admin's part in overriding the review.
    """

    reviewer: str
    version: int
    args_digest: str
    comment: str
    create_time: Instant
    roles: tuple[str, ...] = ()
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a reviewer should know before they decide. `reason` is UPPER_SNAKE_CASE, for programs."""

    reason: str
    message: str
    create_time: Instant
    proposal_id: str = ""
    job_id: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """What is looked up for reviewers before they decide. Canonical JSON; ended with `end_time`: a result or a failure.

    decision: what policy decided about looking it up; None once the proposal that fetches it was made.
    """

    action_name: str
    args_json: str = "{}"
    decision: Decision | None = None
    proposal_id: str = ""
    result_json: str | None = None
    failure: Failure | None = None
    end_time: Instant | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a job of a plan says, and a proposal too."""

    action_name: str = ""
    # RFC 8785 canonical JSON of the arguments: what args_digest is the SHA-256 of, and what approvals are bound to.
    args_json: str = "{}"
    description: str = ""
    evidence: str = ""
    priority: int = 0
    # Of jobs their ids, else those of proposals.
    depends_on: tuple[str, ...] = ()
    decision: Decision | None = None
    # 0 means 1.
    max_attempts: int = 0
    # Arguments that the request does not name and a default filled.
    assumed: tuple[str, ...] = ()
    on_refusal: OnRefusal = OnRefusal.UNSPECIFIED
    # Doing it twice has the same effect as doing it once.
    idempotent: bool = False
    # Names the effect in the world: proposals of the same one are never executed at the same time. Empty: none.
    effect_key: str = ""
    # To be looked up for its reviewers. Its proposal has them: a stored plan's jobs have none.
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProposalDraft(Step):
    """All that a client writes of a proposal."""

    labels: Mapping[str, str] = field(default_factory=dict)
    # 0 means 1.
    required_approvals: int = 0
    reviewer_role: str = ""
    expire_time: Instant | None = None


@dataclass(frozen=True, kw_only=True)
class Proposal(Leased, ProposalDraft):
    """What was proposed, on its way to being executed. Times are None until they happened."""

    plan_id: str = ""
    job_id: str = ""
    args_digest: str = ""
    state: ProposalState = ProposalState.DRAFT
    # 0 when policy itself approved.
    required_approvals: int = 1
    approvals: tuple[Approval, ...] = ()
    # How many of depends_on are not EXECUTED yet. The store's own bookkeeping: not on the wire, no new version.
    waiting_for: int = 0
    cancel_requested: bool = False
    # RFC 8785 canonical JSON of what the executor reported.
    result_json: str | None = None
    submit_time: Instant | None = None
    review_time: Instant | None = None
    execute_time: Instant | None = None
    end_time: Instant | None = None
    # Who last edited what it says, and who did so before, each once: no writer approves their own words.
    revised_by: str = ""
    earlier_revisers: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    # Approvals that do not count any more, because it went back to review.
    earlier_approvals: tuple[Approval, ...] = ()
    # Of a proposal that fetches a fact: the one that it is fetched for.
    fact_for: str = ""

    @property
    def facts_outstanding(self) -> tuple[Fact, ...]:
        """Those that are still being fetched."""
        return tuple(fact for fact in self.facts if fact.end_time is None)

    @property
    def awaited(self) -> tuple[str, ...]:
        """Ids of the proposals whose end concerns it: those that it depends on, and those that fetch facts for it."""
        outstanding = self.facts_outstanding if self.facts else ()
        return (*self.depends_on, *(fact.proposal_id for fact in outstanding)) if outstanding else self.depends_on

    @property
    def approval_requirements(self) -> tuple[ApprovalRequirement, ...]:
        """Who must approve, when several roles are required."""
        return () if self.decision is None else self.decision.approval_requirements

    @property
    def writers(self) -> tuple[str, ...]:
        """Everybody who wrote what it says; none of them can approve it."""
        return tuple(who for who in (self.created_by, *self.earlier_revisers, self.revised_by) if who)

    @property
    def has_ended(self) -> bool:
        """Whether it will not change its state any more: final, or a draft that was deleted."""
        return self.state in FINAL_STATES or self.delete_time is not None

    def has_expired(self, now: Instant) -> bool:
        """Whether it waited longer than it may and still waits."""
        return (
            self.expire_time is not None
            and self.expire_time <= now
            and not self.has_ended
            and self.state not in IN_WORK_STATES
        )

    def is_claimable(self, now: Instant) -> bool:
        """APPROVED, everything it depends on EXECUTED, not hidden, and its time has come and is not over."""
        return (
            self.state is ProposalState.APPROVED
            and self.waiting_for == 0
            and self.delete_time is None
            and self.is_due(now)
            and not self.has_expired(now)
        )


# What an update may change, by the names of the update mask.
UPDATABLE_FIELDS = frozenset(
    {field.name for field in fields(ProposalDraft)} - {"action_name", "args_json"} | {"action_args"}
)
