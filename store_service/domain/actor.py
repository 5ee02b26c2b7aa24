"""Who acts. Always taken from credentials, never from a field."""

from dataclasses import dataclass

from plangate_core.contract.scopes import EVERYTHING, Scope


@dataclass(frozen=True, slots=True)
class Actor:
    """The one in whose name a command runs.

    identity: a person's, an executor's or a planner's name.
    roles: what the credentials allow.
    authenticated: False when the identity was only claimed (servers without authentication).
    via: the service identity that carries the act for `identity`, for example the planner. Empty: acts itself.
    scope: what they may read and execute.
    """

    identity: str
    roles: frozenset[str] = frozenset()
    authenticated: bool = False
    via: str = ""
    scope: Scope = EVERYTHING


SWEEPER = Actor("system:sweeper", authenticated=True)
