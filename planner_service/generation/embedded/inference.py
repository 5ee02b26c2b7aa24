"""The process that holds the model: llama.cpp's server on a loopback port, for its parent alone.

Started by `engine.EmbeddedEngine`. One line of JSON comes in on standard input (the key must not show in the process
list), one goes out on standard output when the model is loaded. The end of standard input is the end of this process:
it cannot outlive its parent, however that dies.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    """Load, say where, and stay until standard input ends."""
    # Ctrl-C and a service manager's SIGTERM reach the whole group. The parent decides when this process may go:
    # plans in flight are finished first.
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    configuration = json.loads(sys.stdin.readline())
    server = _open_server(configuration)
    sys.stdout.write(json.dumps({"address": server.listening_address}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    # Not by way of destructors: they wait for a generation that is no longer read.
    os._exit(0)


def _open_server(configuration: dict[str, Any]) -> Any:
    import xllamacpp  # here, not above: loading it takes a moment and starts OpenMP

    parameters = xllamacpp.CommonParams()
    parameters.model.path = configuration["path"]
    parameters.api_keys = [configuration["api_key"]]
    parameters.port = configuration["port"]
    parameters.n_parallel = configuration["parallel"]
    parameters.n_ctx = configuration["context_tokens"] * configuration["parallel"]
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = configuration["threads"]
    parameters.cache_ram_mib = configuration["prompt_cache_mib"]
    parameters.n_gpu_layers = 0
    # llama.cpp would otherwise shrink the context when memory is short; the parent has looked at memory already.
    parameters.fit_params = False
    parameters.ui = False
    parameters.endpoint_slots = True
    # Without the separator at the end llama.cpp would take it for the beginning of a file's name.
    parameters.slot_save_path = configuration["states"] + "/"
    parameters.verbosity = 1
    return xllamacpp.Server(parameters)


if __name__ == "__main__":
    main()
