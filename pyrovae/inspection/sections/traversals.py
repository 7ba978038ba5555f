"""What moving along a dimension changes in the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrovae.inspection.figures.sheets import image_sheet, with_change
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.traversals import along, effects, show_within

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

#: Dimensions, and images, whose traversals are drawn.
ROWS, IMAGES = 10, 2
#: Which quantiles of the latents of all images a dimension goes through.
SHARES = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
#: A root mean square change, in levels of 255, that nobody sees.
UNSEEN = 1.0


def section(subject: Subject) -> Section:
    """What the dimensions do, in the order of their rates."""
    table = traversal_table(subject)
    figures = {
        f"traversal_{row}": _drawing(subject, table, row)
        for row in range(min(IMAGES, len(subject.shown)))
    }
    says, advice = _words(table)
    return Section("What do the dimensions mean?", says, advice, {"traversals": table}, figures)


def traversal_table(subject: Subject) -> pandas.DataFrame:
    """How much each dimension changes the images that are looked at, by falling rate.

    Returns:
        A row a dimension: its rate `kl` in nats, and the columns of `effects`, between the 1 %
        and the 99 % quantile of the draws of all images.
    """
    low, high = np.quantile(subject.encoded.draws, (SHARES[0], SHARES[-1]), axis=0)
    z, inputs = means(subject)
    with subject.quietly():
        table = effects(subject.space, z, low, high, **inputs)
    table.insert(0, "kl", subject.encoded.kl.mean(0))
    return table.sort_values("kl", ascending=False, kind="stable")


def means(subject: Subject) -> tuple[Tensor, dict[str, Tensor]]:
    """Posterior means of the images that are looked at, `(B, D)`, and what programs take."""
    _, inputs = subject.observed(subject.shown)
    encoded = subject.encoded_shown
    return encoded, inputs
