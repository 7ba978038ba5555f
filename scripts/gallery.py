"""Draws the results of one short run per part: `python scripts/gallery.py --out F.png`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("gallery")
