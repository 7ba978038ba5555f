"""Completes images with missing pixels: `python scripts/inpaint.py` is `pyrovae inpaint`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("inpaint")
