"""What a write answers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """The resources after the write, as the very bytes that the log keeps and hashes; none when nothing was claimed.

    revisions: where the log has them; empty for validate_only.
    replayed: this answer was given before, to the same request_id.
    consequences: of validate_only, the other proposals that would change, as they would be, without arguments.
    """

    snapshots: tuple[bytes, ...]
    revisions: tuple[int, ...] = ()
    replayed: bool = False
    consequences: tuple[bytes, ...] = ()
