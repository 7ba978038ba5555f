"""Draws what each part makes of the same short run: `python scripts/gallery.py --out F.png`."""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C ends them without traceback.
    import os
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
from pathlib import Path

import torch

from pyrovae import cli
from pyrovae.catalogue import ROLES, entries
from pyrovae.errors import InputError
from pyrovae.gallery import Panel, draw_panels, run_part

CONFIG = Path(__file__).parent / "configs" / "gallery.yaml"

#: What a part needs beside itself.
COMPANIONS = {
    "likelihood.Bernoulli": ["--likelihood.binarization=ThresholdBinarization"],
    "prior.HypersphericalUniform": ["--posterior=VonMisesFisher"],
    "prior.VampPrior": ["--prior.num_components=50"],
    "posterior.VonMisesFisher": ["--prior=HypersphericalUniform"],
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("--out", default="gallery.png", help="the picture (default: gallery.png)")
    found.add_argument(
        "--roles",
        nargs="+",
        default=["likelihood", "prior"],
        metavar="ROLE",
        help="whose parts to run, such as posterior or objective (default: likelihood prior)",
    )
    found.add_argument(
        "options", nargs="*", help="of train.py, for all runs, after --: -- --trainer.epochs 2"
    )
    return found


def main(arguments: list[str]) -> None:
    """Trains one VAE a part, and draws them side by side."""
    options = parser().parse_args(arguments)
    for role in options.roles:
        if role not in ROLES or "." in role or role == "data":
            allowed = [name for name in ROLES if "." not in name and name != "data"]
            raise InputError(f"--roles: allowed are {', '.join(allowed)}, got {role}")
    if not options.out.lower().endswith(".png"):
        raise InputError(f"--out: must end in .png, got {options.out}")
    panels: list[Panel] = []
    for role in options.roles:
        for entry in entries(ROLES[role]):
            extra = COMPANIONS.get(f"{role}.{entry.name}", [])
            chosen = [f"--config={CONFIG}", f"--{role}={entry.name}", *extra, *options.options]
            torch.manual_seed(0)
            panels.append(run_part(role, entry.name, chosen))
            print(panels[-1].line(), flush=True)
    draw_panels(panels, Path(options.out))
    print(options.out)


if __name__ == "__main__":
    cli.run_command(main)
