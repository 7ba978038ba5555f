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

from pathlib import Path

import torch

from pyrovae import cli
from pyrovae.data import SPLITS
from pyrovae.distributed import processes
from pyrovae.reports import describe, final_report

CONFIGS = Path(__file__).parent / "configs"


def main(arguments: list[str]) -> None:
    """Trains, and says how good the result is on the test split."""
    parser = cli.train_parser()
    config, run, resume = cli.parse_run(parser, arguments, CONFIGS / "default.yaml")
    torch.manual_seed(config.trainer.seed % 2**63)  # The trainer refuses what is out of range.
    objects = cli.instantiate(parser, config)
    vae, engine, group = cli.build_vae(objects), objects.engine, processes()
    if group.main:
        print(describe(run, vae, engine), flush=True)
    with group.first_on_machine():
        for name in SPLITS:
            objects.data.split(name)  # Whatever cannot be read stops the run here, not at its end.
    objects.trainer.fit(
        vae,
        objects.data,
        cli.recipe(objects),
        engine,
        run=run,
        resume=resume,
        progress=True,
    )
    if group.main:
        print(final_report(run, vae, objects.data, engine))


if __name__ == "__main__":
    cli.run_command(main)
