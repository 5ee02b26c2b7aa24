"""Runs a Python module that must not outlive its parent: `python -m plangate_client.servers.bound_process MODULE`.

The parent holds the other end of standard input and never writes to it. A process that ends, however it ends, closes
what it held, so the end of standard input is the end of the parent, on every system. Then the module is ended
as by a service manager, with SIGTERM, and ended if it does not.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time


def main(arguments: list[str]) -> None:
    """Run a module as `python -m` does.

    :param arguments: seconds that the module may take to end once the parent has, the module, its arguments
    """
    seconds, module, *rest = arguments
    threading.Thread(target=_end_with_parent, args=(float(seconds),), daemon=True).start()
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_parent(seconds: float) -> None:
    # Not through sys.stdin: a thread that waits within it blocks the interpreter's orderly end.
    while os.read(0, 1024):
        pass
    # Output went to the parent as well: a log line into its closed pipe would fail the work that is drained.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
