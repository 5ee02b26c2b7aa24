"""Every way the store can refuse or fail, as types that carry the facts. Their translation to gRPC is elsewhere."""

from collections.abc import Sequence
from typing import ClassVar


class StoreError(Exception):
    """The root. `index` is the position in a batch request, when the failing part was one of several."""

    index: int | None = None


class Refusal(StoreError):
    """The call is wrong, or what it wants is not so (any more)."""


class InvalidField(Refusal):
    """A field is missing or wrong. `path` is as on the wire: `proposal.labels["team"]`, `plan.jobs[2].id`."""

    def __init__(self, path: str, description: str) -> None:
        super().__init__(f"{path}: {description}")
        self.path = path
        self.description = description


class NumberNotExact(Refusal):
    """A whole number of 2^53 or more, which a double may have rounded."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: a whole number of 2^53 or more cannot be kept exactly: send it as a string")
        self.path = path


class PlanNotFound(Refusal):
    def __init__(self, plan_id: str) -> None:
        super().__init__(f"there is no plan {plan_id}")
        self.plan_id = plan_id


class ProposalNotFound(Refusal):
    def __init__(self, proposal_id: str) -> None:
        super().__init__(f"there is no proposal {proposal_id}")
        self.proposal_id = proposal_id


class RequestIdReused(Refusal):
    """The same caller sent this request_id to this method before, with other content."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request_id {request_id} was used before for another request")
        self.request_id = request_id


class VersionConflict(Refusal):
    """The resource changed since the caller read it."""

    def __init__(self, expected_version: int, current_version: int) -> None:
        super().__init__(f"version {expected_version} was expected, but it is {current_version} by now")
        self.expected_version = expected_version
        self.current_version = current_version


class LeaseLost(Refusal):
    """The lease with this fencing token is not (any more) the current one, or is another worker's."""

    def __init__(self, attempt: int, current_attempt: int) -> None:
        super().__init__(
            f"the lease of attempt {attempt} is not held by the caller; the current attempt is {current_attempt}"
        )
        self.attempt = attempt
        self.current_attempt = current_attempt


class IllegalTransition(Refusal):
    """The lifecycle has no such step."""

    def __init__(self, state: str, command: str, allowed_commands: Sequence[str]) -> None:
        allowed = ", ".join(allowed_commands) or "nothing"
        super().__init__(f"{command} is not possible in state {state}; possible: {allowed}")
        self.state = state
        self.command = command
        self.allowed_commands = tuple(allowed_commands)


class ActorRefused(Refusal):
    """The actor may not do this, for what they did or are."""

    sentence: ClassVar[str]

    def __init__(self, actor: str) -> None:
        super().__init__(self.sentence.format(actor))
        self.actor = actor


class SelfApproval(ActorRefused):
    sentence = "{} wrote what this proposal says and cannot approve it"


class ModelApproval(ActorRefused):
    sentence = "models act under {}, which cannot approve"


class AlreadyApproved(ActorRefused):
    sentence = "{} approved this proposal already"


class NotApprovedByCaller(ActorRefused):
    sentence = "{} has no approval of this proposal to withdraw"


class ArgsDigestMismatch(Refusal):
    def __init__(self, current_args_digest: str) -> None:
        super().__init__(f"the proposal's arguments have the digest {current_args_digest}, not the one that was sent")
        self.current_args_digest = current_args_digest


class ReviewerRoleMissing(Refusal):
    def __init__(self, role: str) -> None:
        super().__init__(f"this proposal asks for reviewers of the role {role}")
        self.role = role


class FactsOutstanding(Refusal):
    """What reviewers are to see before they decide is not there yet."""

    def __init__(self, action_names: Sequence[str]) -> None:
        self.actions = ", ".join(dict.fromkeys(action_names))
        super().__init__(f"what {self.actions} says is to be seen first, and is being fetched")


class RequirementLowered(Refusal):
    """The review would ask for less than before. `role` is empty when it is fewer people altogether."""

    def __init__(self, role: str) -> None:
        of = f" of the role {role}" if role else ""
        super().__init__(f"only the planner, for policy, may ask for fewer reviewers{of} than now")
        self.role = role


class PolicyDenied(Refusal):
    """Policy denies what the proposal says now, though it did not when the proposal was made."""

    def __init__(self, rule: str) -> None:
        super().__init__(f"policy denies this now{f', by the rule {rule}' if rule else ''}")
        self.rule = rule


class NotTheCreator(Refusal):
    """The caller's roles allow this only for what the caller made."""

    def __init__(self, actor: str) -> None:
        super().__init__(f"{actor} did not make it and has no role that allows this")


class LogMismatch(StoreError):
    """The stored proposal is not what the log says of it, or was never agreed to: somebody changed the database."""

    def __init__(self, proposal_id: str) -> None:
        super().__init__(f"the stored proposal {proposal_id} is not what the log says of it: it is left as it is")
        self.proposal_id = proposal_id


class Unavailable(StoreError):
    """Nothing of the call was stored, and it may be repeated."""


class Overloaded(Unavailable):
    """More is waiting than the store accepts, in number or in bytes."""

    def __init__(self, waiting: int, limit: int, retry_after_seconds: float) -> None:
        super().__init__(f"the queue of writes is full: {waiting} are waiting already")
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds


class Draining(Unavailable):
    def __init__(self) -> None:
        super().__init__("the store is shutting down")


class DeadlinePassed(Unavailable):
    def __init__(self) -> None:
        super().__init__("the deadline passed before the write began")


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or written now. `problem` is for the log, never for the wire."""

    def __init__(self, problem: str) -> None:
        super().__init__("the database cannot be reached or written now")
        self.problem = problem


class CommitUnknown(StoreError):
    """The connection broke or the disk failed while the commit was under way."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            "the commit may or may not have happened: repeat the call with the same request_id to find out"
        )
        self.problem = problem


class StartRefused(StoreError):
    """The database cannot be served from. The message is one sentence for the person who starts the server."""


class DatabaseInUse(StartRefused):
    def __init__(self, path: str) -> None:
        super().__init__(f"another store process serves {path}: stop it first, or use PostgreSQL for several processes")


class WalImpossible(StartRefused):
    def __init__(self, path: str, journal_mode: str) -> None:
        super().__init__(
            f"SQLite keeps {path} in journal mode '{journal_mode}' and cannot use WAL there (network file systems "
            "cannot): put the file on a local disk"
        )


class DatabaseReadOnly(StartRefused):
    def __init__(self, path: str) -> None:
        super().__init__(f"{path} or its directory cannot be written by this user: mend the permissions")


class DatabaseDamaged(StartRefused):
    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} is not a sound SQLite database ({problem}): restore a backup")


class SchemaTooNew(StartRefused):
    def __init__(self, found_revision: str, known_revision: str) -> None:
        super().__init__(
            f"the database has schema {found_revision}, which this version does not know (it knows up to "
            f"{known_revision}): run the newer version that wrote it"
        )
        self.found_revision = found_revision
