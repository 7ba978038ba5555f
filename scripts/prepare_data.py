"""Builds the cache of a data set: `python scripts/prepare_data.py` is `pyrovae prepare`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("prepare")
