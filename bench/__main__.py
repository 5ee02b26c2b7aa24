"""`python -m bench [SECONDS]`: every benchmark, results to bench/results and docs."""

from __future__ import annotations

import sys

from bench import generation, store, watch

if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    store.main(seconds)
    watch.main(seconds)
    generation.main(seconds)
