"""How the command ends. docs/reference/command.md has the table."""

from __future__ import annotations

from enum import IntEnum

from plangate_core.process.exit_status import NOT_CONFIRMED


class ExitStatus(IntEnum):
    """How the command ends. 130 is the shell's for SIGINT."""

    OK = 0
    OTHER = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DENIED = 5
    UNAVAILABLE = 6
    DEADLINE = 7
    NOT_CONFIRMED = NOT_CONFIRMED
    INTERRUPTED = 130


class CommandFailed(Exception):
    """The command ends with this sentence and status."""

    def __init__(self, message: str, status: ExitStatus = ExitStatus.OTHER) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
