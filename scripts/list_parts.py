"""Lists all parts: `python scripts/list_parts.py` is `pyrovae parts`."""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("parts")
