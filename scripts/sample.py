"""Draws pictures from a run: `python scripts/sample.py` is `pyrovae sample`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("sample")
