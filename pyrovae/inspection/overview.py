"""The pictures of the first screen: samples, reconstructions and the curve of training."""

from __future__ import annotations

import numpy as np
import torch

from pyrovae.inspection.plotting import image_sheet
from pyrovae.inspection.section import Drawing
from pyrovae.inspection.sections.traversals import shown_means
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.traversals import show_within
from pyrovae.training.overview import draw_elbo
from pyrovae.utils.plotting import LABEL, panel

__all__ = ["overview"]

#: Images in a row, and rows of samples.
COLUMNS, ROWS = 6, 3
#: The width of each picture, in inches.
WIDTH = 3.6


def overview(subject: Subject) -> dict[str, Drawing]:
    """Samples, reconstructions, and the ELBO per epoch if the history of training is known.

    Args:
        subject: what is inspected; its seed determines the samples.
    """
    found = {"samples": _samples(subject), "reconstructions": _reconstructions(subject)}
    history = subject.history
    if history is not None and {"epoch", "train_elbo", "val_elbo"} <= set(history):
        found["curve"] = _curve(subject)
    return found


def _samples(subject: Subject) -> Drawing:
    z, inputs = subject.prior_draws(ROWS * COLUMNS)
    with subject.quietly(6):
        images = show_within(subject.space, z, **inputs).cpu()
    sheet = image_sheet(images.unflatten(0, (ROWS, COLUMNS)), width=WIDTH)
    return Drawing(sheet, f"Samples: {len(images)} decoded draws of the prior.")


def _reconstructions(subject: Subject) -> Drawing:
    z, inputs = shown_means(subject)
    count = min(COLUMNS, len(z))
    own = {name: value[:count] for name, value in inputs.items()}
    with subject.quietly(7):
        again = show_within(subject.space, z[:count], **own).cpu()
    images = torch.from_numpy(np.array(subject.shown.images[:count])).to(again) / 255
    return Drawing(
        image_sheet(torch.stack([images, again]), width=WIDTH),
        f"Reconstructions: {subject.shown_where(count)} above their decoded posterior means.",
    )


def _curve(subject: Subject) -> Drawing:
    assert subject.history is not None
    figure, axes = panel(2.2, width=WIDTH)
    draw_elbo(axes, subject.history.to_dict("records"))
    axes.legend(loc="lower right", fontsize=LABEL, frameon=False)
    return Drawing(figure, "ELBO per epoch: the dotted line marks the best epoch.")
