"""Writes a run as a folder for a hub: `python scripts/share.py` is `pyrovae share`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("share")
