"""What an event carries of the plan or proposal it changed."""

from collections.abc import Callable
from typing import TypeAlias

from store_service.domain.plan import Plan
from store_service.domain.proposal import Proposal

EncodeSnapshot: TypeAlias = Callable[[Plan | Proposal], bytes]
"""An entity as the bytes of its message: what clients are sent, and what the log hashes and keeps."""
