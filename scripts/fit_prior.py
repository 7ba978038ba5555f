"""Trains another prior for a run: `python scripts/fit_prior.py` is `pyrovae fit-prior`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("fit-prior")
