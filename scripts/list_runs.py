"""Lists the runs of a folder: `python scripts/list_runs.py` is `pyrovae list`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("list")
