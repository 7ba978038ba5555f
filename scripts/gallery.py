"""Draws what each part makes of the same short run: `python scripts/gallery.py --out F.png`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("gallery")
