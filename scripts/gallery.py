"""Draws what each part makes of the same short run: `python scripts/gallery.py --out F.png`."""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C ends them without traceback.
    import os
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from pyrovae.commands.gallery import main
from pyrovae.commands.running import run_command

if __name__ == "__main__":
    run_command(main)
