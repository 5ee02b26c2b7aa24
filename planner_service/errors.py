"""What can be wrong with a request to the planner, apart from what the model and the store do."""

from __future__ import annotations

from collections.abc import Sequence

from plangate_core.catalogue.finding import Finding
from planner_service.governance.decision import Decision


class PlanningRefused(Exception):
    """The planner refuses a request. The message is fit for the caller; `metadata` is what programs may want to know.

    retry_after_seconds: when it may be worth trying again, where that is known.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, **metadata: str) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.metadata = metadata


class InvalidField(PlanningRefused):
    """`path` names the field; `description` is a clause: "is required". `reason` is the contract's."""

    def __init__(self, path: str, description: str, reason: str = "INVALID_FIELD") -> None:
        super().__init__(f"{path} {description}")
        self.path = path
        self.description = description
        self.reason = reason


class JobsInvalid(PlanningRefused):
    """What the catalogue's checks found, by path: "jobs.0.action_args.path", "action_args" when one proposal is
    revised."""

    def __init__(self, errors: Sequence[Finding]) -> None:
        super().__init__(f"{len(errors)} things are wrong with the jobs")
        self.errors = tuple(errors)


class ActionNotFound(PlanningRefused):
    """`name` is not in the catalogue."""

    def __init__(self, name: str) -> None:
        super().__init__("the catalogue has no such action")
        self.name = name


class ProposalNotFound(PlanningRefused):
    """There is no such proposal that the caller may read."""

    def __init__(self, proposal_id: str) -> None:
        super().__init__(f"there is no proposal {proposal_id}", id=proposal_id)


class InvalidPageToken(PlanningRefused):
    """Begin again with the first page."""

    def __init__(self) -> None:
        super().__init__("the page token is not one of ours, or the catalogue changed between pages")


class ModelNotAllowed(PlanningRefused):
    """`model` is not among those that PLANGATE_ALLOWED_MODELS names."""

    def __init__(self, model: str) -> None:
        super().__init__("this planner may not use that model", model=model)


class PolicyDenied(PlanningRefused):
    """Policy denies what a revised proposal says."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"denied by the rule {decision.rule}: {decision.reason}", rule=decision.rule)


class RoleMissing(PlanningRefused):
    """The caller needs one of `roles`."""

    def __init__(self, roles: Sequence[str]) -> None:
        super().__init__(f"the role {' or '.join(roles)} is needed", role=roles[0])


class RequestIdReused(PlanningRefused):
    """The first call with `request_id` had other content, or was somebody else's."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request_id {request_id} was used before for another request", request_id=request_id)


class TooMany(PlanningRefused):
    """As many plans are in the making, or policies are tried on history, as may be at once."""

    def __init__(self, what: str, limit: int, retry_after_seconds: float) -> None:
        message = f"the planner is at its limit of {limit} {what} at once"
        super().__init__(message, retry_after_seconds=retry_after_seconds, limit=str(limit))


class PlanningTimedOut(PlanningRefused):
    """The call's own time ran out before there was a plan."""

    def __init__(self, model: str) -> None:
        super().__init__("the time of the call ran out before there was a plan", model=model)


class StreamNotRead(PlanningRefused):
    """The plan may be stored or not: the same call with the same request_id finds out."""

    def __init__(self) -> None:
        super().__init__("the stream was not read: repeat with the same request_id to find out whether there is a plan")


class StoreUnavailable(PlanningRefused):
    """The same call with the same request_id may be repeated.

    `cause` is what keeps planner and store apart until somebody mends it; empty: it may pass.
    """

    def __init__(self, retry_after_seconds: float | None = None, cause: str = "") -> None:
        why = f": {cause}" if cause else " now"
        message = f"the store cannot be reached{why}; nothing was stored"
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.cause = cause


class StoreTimedOut(PlanningRefused):
    """What was to be written may or may not be there: the same call with the same request_id finds out."""

    def __init__(self) -> None:
        super().__init__("the time ran out during a call to the store: repeat with the same request_id to find out")


class LeaseLost(Exception):
    """Another planner has the queued plan, or somebody cancelled or deleted it."""
