"""Scores a run: `python scripts/evaluate.py` is `pyrovae evaluate`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("evaluate")
