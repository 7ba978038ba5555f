"""Times training steps of this package and of others: see `scripts/benchmark.py`."""
