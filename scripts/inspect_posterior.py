"""Reports on a posterior: `python scripts/inspect_posterior.py` is `pyrovae inspect`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("inspect")
