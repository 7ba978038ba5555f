"""Draws the results of one short run per part: `python scripts/gallery.py --out F.png`."""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C exits without a traceback.
    from pyrovae.commands.app import exit_on_interrupts

    exit_on_interrupts()

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrovae.commands.running import run_command
from pyrovae.config.building import build_vae, instantiate, recipe
from pyrovae.config.catalogue import entries
from pyrovae.config.options import parse_training, train_parser
from pyrovae.config.roles import ROLES
from pyrovae.evaluation import Evaluation, evaluate
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing
from pyrovae.utils.palette import GREY_LEVELS
from pyrovae.utils.randomness import private_randomness

NUM_SHOWN = 8


@dataclass(frozen=True)
class Panel:
    """The results of a run with one part.

    Attributes:
        role: the role of the part, such as "prior".
        name: the class name of the part.
        evaluation: the evaluation on the validation split.
        seconds: the training time.
        images: validation images, floats in [0, 1], `(N, C, H, W)`.
        reconstructions: the reconstructions of these images.
        samples: decoded draws from the prior.
    """

    role: str
    name: str
    evaluation: Evaluation
    seconds: float
    images: Tensor
    reconstructions: Tensor
    samples: Tensor

    def line(self) -> str:
        """One line for the terminal."""
        return f"{self.role} {self.name}: {self.evaluation}  {self.seconds:.0f} s"

    def label(self) -> str:
        """The label of the panel's row in the picture."""
        bits = self.evaluation.bits_per_dim
        score = "" if bits is None else f"{bits:.3f} bits/dim, "
        score = f"{score}rate {self.evaluation.rate:.0f}"
        return f"{self.role} {self.name}\n{score}\n{self.seconds:.0f} s"


def run_part(role: str, name: str, arguments: list[str]) -> Panel:
    """Trains a VAE by a command line of `pyrovae train`; returns its results."""
    parser = train_parser()
    objects = instantiate(parser, parse_training(parser, arguments))
    vae, engine, split = build_vae(objects), objects.engine, objects.data.split("val")
    objects.data.split("train")
    started = time.monotonic()
    objects.trainer.fit(vae, objects.data, recipe(objects), engine)
    seconds = time.monotonic() - started
    some = torch.from_numpy(split.images[:NUM_SHOWN].copy())
    with engine.running(vae, vae.networks()), private_randomness(0, engine.device):
        found = evaluate(vae, split, engine)
        again = vae.reconstruct(engine.place(some)).cpu()
        return Panel(role, name, found, seconds, some / 255, again, vae.sample(NUM_SHOWN).cpu())


def draw_panels(panels: list[Panel], path: Path) -> None:
    """Draws one row per part: reconstructions on the left, samples on the right."""
    from matplotlib.figure import Figure

    count = len(panels) + 1
    figure = Figure(figsize=(12, 0.75 * count), layout="constrained")
    axes = figure.subplots(count, 2, squeeze=False)
    axes[0, 0].set_title("validation images, then their reconstructions per part", fontsize=9)
    axes[0, 1].set_title("samples from the prior", fontsize=9)
    _show(axes[0, 0], panels[0].images, "validation images")
    axes[0, 1].axis("off")
    for row, panel in zip(axes[1:], panels, strict=True):
        _show(row[0], panel.reconstructions, panel.label())
        _show(row[1], panel.samples, "")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _show(axes: Any, images: Tensor, label: str) -> None:
    strip = torch.cat(list(images), dim=-1).permute(1, 2, 0).clamp(0, 1)
    axes.imshow(strip.squeeze(-1).numpy(), cmap=GREY_LEVELS, interpolation="nearest")
    axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
    axes.set(xticks=[], yticks=[])


#: Further options that a part needs.
COMPANIONS = {
    # After the epochs of the preset its ELBO still rises.
    "likelihood.DiscretizedLogisticMixture": ["--trainer.epochs=40"],
    "likelihood.Bernoulli": ["--likelihood.binarization=ThresholdBinarization"],
    "prior.HypersphericalUniform": ["--posterior=VonMisesFisher"],
    "prior.VampPrior": ["--prior.num_components=50"],
    "posterior.VonMisesFisher": ["--prior=HypersphericalUniform"],
}


def parser() -> argparse.ArgumentParser:
    """The command line of the gallery."""
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("--out", default="gallery.png", help="PNG file (default: gallery.png)")
    found.add_argument(
        "--roles",
        nargs="+",
        default=["likelihood", "prior"],
        metavar="ROLE",
        help="roles whose parts to run, such as posterior, objective (default: likelihood prior)",
    )
    found.add_argument(
        "options", nargs="*", help="options of every run, after --, as in: -- --trainer.epochs 2"
    )
    return found


def main(arguments: list[str]) -> None:
    """Trains one VAE per part and draws the results side by side."""
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
            chosen = ["--config=gallery", f"--{role}={entry.name}", *extra, *options.options]
            torch.manual_seed(0)
            panels.append(run_part(role, entry.name, chosen))
            print(panels[-1].line(), flush=True)
    draw_panels(panels, Path(options.out))
    print(options.out)


if __name__ == "__main__":
    run_command(main)
