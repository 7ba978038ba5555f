"""Exports encoder and decoder: `python scripts/export.py` is `pyrovae export`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("export")
