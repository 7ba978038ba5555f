"""Opens the explorer of a run: `python scripts/explore.py` is `pyrovae explore`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("explore")
