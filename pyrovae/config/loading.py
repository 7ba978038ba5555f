"""The VAE of a run directory, by one function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

if TYPE_CHECKING:
    from pyrovae.programs import VAE

__all__ = ["load"]


def load(
    run_dir: str | Path,
    checkpoint: str = "best",
    device: str | torch.device = "cpu",
    trust: bool = False,
) -> VAE:
    """The VAE of a run: its parts with their weights, in evaluation mode.

    `vae.preprocess(image)` prepares a path or a Pillow image as the run's data were prepared.
    Neither the images nor the machine that trained it are needed. A run whose parts are those of
    pyrovae, PyTorch and Pyro is opened safely, whoever wrote it. A part of the user's own must be
    importable by the name that it had, and takes `trust`. A run of other programs gives those;
    the annotation is that of the usual ones.

    Args:
        run_dir: the run directory.
        checkpoint: "best" (by validation ELBO) or "last".
        device: where to put it.
        trust: whether the run may name any class, whose code then runs.

    Raises:
        InputError: if there is no run, or its files are cut off, changed, or name parts that
            cannot be imported or that take `trust`.
    """
    # The command line's machinery is slow to import, and nothing else here needs it.
    from pyrovae.config.building import load_run

    return cast("VAE", load_run(run_dir, checkpoint, device, trust)[0])
