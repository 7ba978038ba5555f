"""Scores a run: `python scripts/evaluate.py RUN [--compare RUN ...]`."""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C ends them without traceback.
    import os
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from pyrovae.commands.evaluate import main
from pyrovae.commands.running import run_command

if __name__ == "__main__":
    run_command(main)
