"""The lifecycles, each as one table: from a state, by a command, to which states. Everything else asks this table."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from store_service.domain.errors import IllegalTransition
from store_service.domain.plan import PlanState
from store_service.domain.proposal import ProposalState


class ProposalCommand(StrEnum):
    SUBMIT = "submit"
    UPDATE = "update"
    APPROVE = "approve"
    WITHDRAW_APPROVAL = "withdraw_approval"
    REJECT = "reject"
    CANCEL = "cancel"
    CLAIM = "claim"
    RENEW = "renew"
    COMPLETE = "complete"
    FAIL = "fail"
    DELETE = "delete"
    EXPIRE = "expire"
    EXPIRE_LEASE = "expire_lease"
    RESOLVE = "resolve"
    BREAK_GLASS = "break_glass"
    ADD_NOTICE = "add_notice"
    RETURN_TO_REVIEW = "return_to_review"
    RECONSIDER = "reconsider"
    RECORD_FACT = "record_fact"


class PlanCommand(StrEnum):
    CANCEL = "cancel"
    CLAIM = "claim"
    RENEW = "renew"
    COMPLETE = "complete"
    FAIL = "fail"
    DELETE = "delete"
    EXPIRE_LEASE = "expire_lease"


State = TypeVar("State", ProposalState, PlanState)
Command = TypeVar("Command", ProposalCommand, PlanCommand)


@dataclass(frozen=True)
class Lifecycle(Generic[State, Command]):
    """`table[state][command]` names the states the command may lead to; a pair that is not there is illegal.

    Where several are named, the entity decides: approvals, attempts, whether a cancel was requested.
    `internal` are the store's own commands, which no client can request.
    """

    table: Mapping[State, Mapping[Command, frozenset[State]]]
    internal: frozenset[Command]

    def require(self, state: State, command: Command) -> None:
        """Raises IllegalTransition when the command leads nowhere from this state."""
        if command not in self.table[state]:
            raise IllegalTransition(state.value, command.value, self.allowed(state))

    def allowed(self, state: State) -> list[str]:
        """The commands that a client could send in this state."""
        return [command.value for command in self.table[state] if command not in self.internal]


def _to(*states: State) -> frozenset[State]:
    return frozenset(states)


_P = ProposalState
_C = ProposalCommand

PROPOSAL_LIFECYCLE: Lifecycle[ProposalState, ProposalCommand] = Lifecycle(
    table={
        _P.DRAFT: {
            _C.SUBMIT: _to(_P.PENDING),
            _C.UPDATE: _to(_P.DRAFT),
            _C.CANCEL: _to(_P.CANCELLED),
            _C.DELETE: _to(_P.DRAFT),
            _C.ADD_NOTICE: _to(_P.DRAFT),
            _C.RECORD_FACT: _to(_P.DRAFT),
            _C.RECONSIDER: _to(_P.DRAFT),
            _C.EXPIRE: _to(_P.EXPIRED),
        },
        _P.PENDING: {
            _C.UPDATE: _to(_P.PENDING),
            _C.APPROVE: _to(_P.PENDING, _P.APPROVED),
            _C.BREAK_GLASS: _to(_P.PENDING, _P.APPROVED),
            _C.WITHDRAW_APPROVAL: _to(_P.PENDING),
            _C.REJECT: _to(_P.REJECTED),
            _C.ADD_NOTICE: _to(_P.PENDING),
            _C.RECORD_FACT: _to(_P.PENDING),
            _C.RECONSIDER: _to(_P.PENDING),
            _C.CANCEL: _to(_P.CANCELLED),
            _C.EXPIRE: _to(_P.EXPIRED),
        },
        _P.APPROVED: {
            _C.CLAIM: _to(_P.EXECUTING),
            _C.ADD_NOTICE: _to(_P.APPROVED),
            _C.RECONSIDER: _to(_P.APPROVED, _P.PENDING),
            _C.RETURN_TO_REVIEW: _to(_P.PENDING),
            _C.CANCEL: _to(_P.CANCELLED),
            _C.EXPIRE: _to(_P.EXPIRED),
        },
        _P.EXECUTING: {
            _C.RENEW: _to(_P.EXECUTING),
            _C.COMPLETE: _to(_P.EXECUTED),
            _C.FAIL: _to(_P.APPROVED, _P.FAILED, _P.CANCELLED),
            _C.CANCEL: _to(_P.EXECUTING),
            _C.EXPIRE_LEASE: _to(_P.APPROVED, _P.FAILED, _P.CANCELLED, _P.UNRESOLVED),
        },
        _P.UNRESOLVED: {
            _C.RESOLVE: _to(_P.EXECUTED, _P.APPROVED, _P.FAILED, _P.CANCELLED),
            # The executor that held the lease knows best, however late it reports.
            _C.COMPLETE: _to(_P.EXECUTED),
            _C.FAIL: _to(_P.APPROVED, _P.FAILED, _P.CANCELLED),
            _C.CANCEL: _to(_P.UNRESOLVED),
        },
        _P.EXECUTED: {_C.DELETE: _to(_P.EXECUTED)},
        _P.FAILED: {_C.DELETE: _to(_P.FAILED)},
        _P.REJECTED: {_C.DELETE: _to(_P.REJECTED)},
        _P.CANCELLED: {_C.DELETE: _to(_P.CANCELLED)},
        _P.EXPIRED: {_C.DELETE: _to(_P.EXPIRED)},
    },
    internal=frozenset({_C.EXPIRE, _C.EXPIRE_LEASE, _C.ADD_NOTICE, _C.RETURN_TO_REVIEW, _C.RECONSIDER, _C.RECORD_FACT}),
)

_L = PlanState
_D = PlanCommand

PLAN_LIFECYCLE: Lifecycle[PlanState, PlanCommand] = Lifecycle(
    table={
        _L.QUEUED: {_D.CLAIM: _to(_L.PLANNING), _D.CANCEL: _to(_L.CANCELLED)},
        _L.PLANNING: {
            _D.RENEW: _to(_L.PLANNING),
            _D.COMPLETE: _to(_L.PLANNED),
            _D.FAIL: _to(_L.QUEUED, _L.FAILED),
            _D.CANCEL: _to(_L.CANCELLED),
            _D.EXPIRE_LEASE: _to(_L.QUEUED, _L.FAILED),
        },
        _L.PLANNED: {_D.CANCEL: _to(_L.CANCELLED), _D.DELETE: _to(_L.PLANNED)},
        _L.FAILED: {_D.DELETE: _to(_L.FAILED)},
        _L.CANCELLED: {_D.DELETE: _to(_L.CANCELLED)},
    },
    internal=frozenset({_D.EXPIRE_LEASE}),
)
