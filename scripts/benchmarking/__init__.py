"""Times training steps of this package beside those of others: see `scripts/benchmark.py`."""
