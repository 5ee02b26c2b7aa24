"""What every write is: a frozen object that says who asks for what, which rows it needs, and what it does to them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from store_service.commands.working_set import Needs, Transaction
from store_service.domain import limits
from store_service.domain.actor import Actor
from store_service.domain.entity import Entity
from store_service.domain.errors import NotTheCreator


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a repeated call recognizable: the client's UUID, and a SHA-256 over the content of its request."""

    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, kw_only=True)
class Command(ABC):
    """One write. It succeeds or fails as a whole.

    actor: who asks, from credentials.
    request: given when the client sent a request_id; repeating it gives the same answer again.
    validate_only: check, and answer what the result would be, without keeping it.
    only_creator: the caller's roles allow it only for what the caller made.
    size: about how many bytes it holds on to while it waits.
    """

    actor: Actor
    request: RequestKey | None = None
    validate_only: bool = False
    only_creator: bool = False
    size: int = 512

    @property
    def method(self) -> str:
        """The RPC, as request ids are remembered per method."""
        return type(self).__name__

    def check(self) -> None:
        """Every check that needs no rows. Raises InvalidField."""
        if self.request is not None:
            limits.request_id(self.request.request_id)

    def require_creator(self, entity: Entity) -> None:
        """Raises NotTheCreator for what the actor may do to own things only, and this is none."""
        if self.only_creator and self.actor.identity != entity.created_by:
            raise NotTheCreator(self.actor.identity)

    @abstractmethod
    def collect(self, needs: Needs) -> None:
        """Adds what `apply` will look at."""

    @abstractmethod
    def apply(self, transaction: Transaction) -> None:
        """Does it. Raises a Refusal when it cannot be done; what it saved until then does not count."""
