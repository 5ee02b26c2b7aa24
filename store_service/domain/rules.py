"""The numbers and names that the store's owner may choose."""

from dataclasses import dataclass

from store_service.domain.actor import Actor
from store_service.domain.instant import SECOND, Instant, Micros
from store_service.domain.proposal import Decision


@dataclass(frozen=True, kw_only=True)
class Rules:
    """planner_identity: the identity that models act under; it can never approve."""

    planner_identity: str = "planner"
    lease_duration: Micros = 60 * SECOND
    # How long a proposal may wait when its decision does not say. None: for ever.
    approval_ttl: Micros | None = None
    plan_max_attempts: int = 3

    def acts_for_a_model(self, actor: Actor) -> bool:
        """Whether a model may stand behind this actor: the planner itself, or the planner in somebody's name."""
        return actor.identity == self.planner_identity or "planner" in actor.roles or bool(actor.via)

    def decides_for_policy(self, actor: Actor) -> str:
        """The planner whose word counts as policy's in what this actor writes; empty when there is none."""
        if actor.via:
            return actor.via
        is_planner = actor.identity == self.planner_identity or "planner" in actor.roles
        return actor.identity if is_planner else ""

    def expire_time(self, decision: Decision | None, now: Instant) -> Instant | None:
        """When a proposal that is decided on now has waited as long as it may; None: never."""
        ttl = None if decision is None else decision.approval_ttl
        ttl = self.approval_ttl if ttl is None else ttl
        return None if ttl is None else now + ttl

    def planning_pause(self, attempt: int) -> Micros:
        """How long to wait after this planning attempt failed: 5 s, doubled with every further one, up to 5 min."""
        return min(5 * SECOND << min(attempt - 1, 30), 300 * SECOND)
