"""Trains a VAE with Pyro's SVI: `python scripts/train.py` is `pyrovae train`.

On several GPUs or machines: `torchrun --nproc-per-node N -- scripts/train.py ...`.
"""

from __future__ import annotations

from pyrovae.commands.app import run

if __name__ == "__main__":
    run("train")
