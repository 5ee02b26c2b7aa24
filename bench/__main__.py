"""`python -m bench [SECONDS]`: the store, watching it, and generation; results to bench/results and docs.

By themselves run `bench.growth` (a store with a million proposals), `bench.plan_quality` (the embedded model's plans)
and `bench.write_path` (the writer without gRPC). SECONDS: how long each scenario is measured.
"""

from __future__ import annotations

import sys

from bench import generation, store, watch

if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    store.main(seconds)
    watch.main(seconds)
    generation.main(seconds)
