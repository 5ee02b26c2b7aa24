"""Runs a program to which the kernel refuses some system calls, as a file system does that lacks what they do.

subprocess.run([*without("link"), sys.executable, "-m", "store_service", ...])
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

import pytest

# By the machine: the numbers of the calls that C libraries use for it (linux/unistd.h).
_NUMBERS: dict[str, dict[str, tuple[int, ...]]] = {
    "x86_64": {"link": (86, 265), "chmod": (90, 268, 452), "renameat2": (316,)},
    "aarch64": {"link": (37,), "chmod": (53, 452), "renameat2": (276,)},
}
_ERRORS = {"link": errno.EPERM, "chmod": errno.EPERM, "renameat2": errno.EINVAL}
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERROR, _ALLOW = 0x00050000, 0x7FFF0000


def without(*calls: str) -> list[str]:
    """What to put before a command so that these calls fail in it."""
    if platform.machine() not in _NUMBERS:
        pytest.skip(f"the numbers of system calls are not known for {platform.machine()}")
    return [sys.executable, __file__, ",".join(calls)]


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _refuse(calls: list[str]) -> None:
    steps = [(_LOAD, 0, 0, 0)]
    for call in calls:
        for number in _NUMBERS[platform.machine()][call]:
            steps += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | _ERRORS[call])]
    steps.append((_RETURN, 0, 0, _ALLOW))
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = _Program(len(steps), ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, *arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(option, *arguments):
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    _refuse(sys.argv[1].split(","))
    os.execv(sys.argv[2], sys.argv[2:])
