"""Trains a VAE with Pyro's SVI: `python scripts/train.py [--config F] [options]`.

On several GPUs, or machines: `torchrun --nproc-per-node N scripts/train.py ...`. A job that may be
restarted: `--run_dir RUN --resume auto`, which starts the run or goes on with it.
"""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C ends them without traceback.
    import os
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from pyrovae.commands.running import run_command
from pyrovae.commands.train import main

if __name__ == "__main__":
    run_command(main)
