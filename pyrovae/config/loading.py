"""Loads the VAE of a run directory."""

from __future__ import annotations

from collections.abc import Mapping
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
    places: Mapping[str, str | Path | None] | None = None,
) -> VAE:
    """Loads the VAE of a run: its parts with their weights, in evaluation mode.

    `vae.preprocess(image)` prepares a path or a Pillow image in the same way as the run's data.
    The images are not needed. A run that names parts of pyrovae, PyTorch and Pyro only is safe to
    open, even if its author is unknown. Your own parts need `trust`; their code is loaded from
    `parts/` of the run, where training has copied it. For a run trained with another
    `ModelGuidePair` than `VAE`, that pair is returned.

    Args:
        run_dir: the run directory.
        checkpoint: "best" (by validation ELBO) or "last".
        device: the device of the weights.
        trust: whether the run may name any class. The code of these classes then runs.
        places: where the images are now, if they have moved, such as `{"root": "new/place"}`.

    Raises:
        InputError: if there is no run, if its files are cut off or changed, or if it names parts
            that cannot be imported or that need `trust`.
    """
    # The parser is slow to import, and only `load` needs it.
    from pyrovae.config.building import load_run

    return cast("VAE", load_run(run_dir, checkpoint, device, trust, places)[0])
