"""The posterior of a run: its programs, its images, and those of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyrovae.checkpoint import RunDirectory
from pyrovae.data import SPLITS, ImageData, Split
from pyrovae.engine import Engine
from pyrovae.errors import InputError
from pyrovae.inspection.subject import FULL, Effort, Subject
from pyrovae.objectives import widens
from pyrovae.vae import VAE

__all__ = ["open_subject", "read_image"]


def read_image(name: str, vae: VAE, data: ImageData) -> torch.Tensor:
    """An image of the user's: a file, or one of a split as `test:12`; uint8 `(C, H, W)`.

    Args:
        name: the path, or the split and the place in it.
        vae: knows how images are prepared.
        data: has the splits.

    Raises:
        InputError: if it cannot be read, or there is no such image.
    """
    split, colon, index = name.partition(":")
    if split in SPLITS and colon:
        images = data.split(split).images
        if not index.isdigit() or int(index) >= len(images):
            raise InputError(f"{name}: the split {split} has the images 0 to {len(images) - 1}")
        return torch.from_numpy(images[int(index)].copy())
    if not Path(name).exists():
        known = ", ".join(SPLITS)
        raise InputError(f"{name}: no such file; one of {known} is named as test:12")
    return vae.preprocess(name)


def open_subject(
    run: str | Path,
    *,
    split: str = "test",
    images: Sequence[str] = (),
    effort: Effort = FULL,
    checkpoint: str = "best",
    device: str = "auto",
    trust: bool = False,
    **fields: object,
) -> tuple[Subject, list[str]]:
    """The posterior of a run.

    Args:
        run: the run directory.
        split: which images.
        images: files, or images of a split as `test:12`, that are looked at one by one; by
            default some of the split.
        effort: how much of everything.
        checkpoint: "best" or "last".
        device: where to compute; with "auto" sections whose work is sequential may take the
            CPU although there is a GPU, see `placed`.
        trust: whether the run may name any class, whose code then runs.
        **fields: more fields of `Subject`.

    Returns:
        The subject, and a line on each image that could not be read.

    Raises:
        InputError: if there is no run or no checkpoint, or the split is empty.
    """
    from pyrovae.cli import load_run

    engine = Engine(device, "fp32")
    vae, data = load_run(run, checkpoint, engine.device, trust)
    whole = data.split(split)
    if not len(whole):
        raise InputError(f"the split {split} has no images")
    RunDirectory(run).check_images(data.split("train").images)
    some = whole.spread(effort.images)
    given, complaints = _given(images, vae, data)
    subject = Subject(
        vae,
        some,
        given if len(given) else some.spread(effort.shown),
        engine,
        name=split,
        train=data.split("train"),
        wide=widens(_objective(run, trust)),
        factors=tuple(data.factors),
        given=len(given) > 0,
        effort=effort,
        movable=device == "auto" and engine.device.type == "cuda",
    )
    return replace(subject, **fields), complaints  # type: ignore[arg-type]


def _objective(run: str | Path, trust: bool) -> Any:
    """What a run was trained for; None where that is not known, or is no longer to be had."""
    from pyro.infer import ELBO

    from pyrovae.cli import Parser, read_config
    from pyrovae.trust import Consent

    parser = Parser(exit_on_error=False)
    parser.add_subclass_arguments(ELBO, "objective")
    consent = Consent(trust)
    try:
        stated = read_config(RunDirectory(run), consent)["objective"]
        config = parser.parse_object({"objective": stated})
        consent.check_parsed(config.as_dict(), [])
        return parser.instantiate(config).objective
    except Exception:  # An own one may have changed since, or be elsewhere.
        return None


def _given(images: Sequence[str], vae: VAE, data: ImageData) -> tuple[Split, list[str]]:
    """The images that could be read, as a split, and what is wrong with the others."""
    found, names, complaints = [], [], []
    for name in images:
        try:
            found.append(read_image(name, vae, data).numpy())
            names.append(name)
        except (InputError, OSError) as error:
            complaints.append(" ".join(str(error).split()))
    stack = np.stack(found) if found else np.zeros((0, *data.image_shape), np.uint8)
    return Split(stack, names, np.zeros((len(found), 0), np.float32)), complaints
