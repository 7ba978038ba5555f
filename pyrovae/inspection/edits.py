"""Images of which an attribute is changed, and what the guide then reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.inspection.attributes import directions, reach, ridge
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.traversals import show_within

if TYPE_CHECKING:
    import pandas

__all__ = ["REAL", "edit_effects", "edited"]

#: The column of what is read of images that were not edited.
REAL = "of real images"


def edited(
    subject: Subject,
    z: Tensor,
    arrows: pandas.DataFrame,
    table: pandas.DataFrame,
    strengths: Sequence[float],
    **inputs: Tensor,
) -> Tensor:
    r"""Latents moved along the directions of attributes, and decoded.

    $$z + s \, (a^{\text{high}} - a^{\text{low}}) \, v$$

    Args:
        subject: what is inspected; directions are over its `columns`.
        z: latents of B images, `(B, D)`.
        arrows: from `directions`, a row for each of A attributes.
        table: a column an attribute, whose `reach` is the unit of the strengths.
        strengths: s, S of them.
        **inputs: what the programs take besides, for B images.

    Returns:
        Floats in [0, 1], `(A, S, B, C, H, W)`.
    """
    ends = reach(table).loc[arrows.index]
    moves = np.zeros((len(arrows), subject.space.size))
    whole = (ends["high"] - ends["low"]).to_numpy()[:, None]
    moves[:, subject.columns] = whole * arrows.to_numpy()
    steps = torch.tensor(strengths)[:, None, None] * torch.from_numpy(moves)[:, None, None]
    return torch.stack([show_within(subject.space, z + own.to(z), **inputs) for own in steps])


def edit_effects(
    subject: Subject, arrows: pandas.DataFrame, table: pandas.DataFrame
) -> pandas.DataFrame:
    """What is read of images whose attributes have been edited, as shares of the range of each.

    The images that are looked at are moved by half the range of an attribute up, and down,
    decoded, rounded to 8 bits and encoded again; ridge regression on the posterior means of
    the split reads all attributes of both, and the difference is divided by the range of the
    attribute that is read. An edit that does what it says, and nothing else, comes to 1 in its
    own column and to 0 in the others; what goes together in the data is not 0. What ridge
    regression does not read of real images it does not read of edited ones: `of real images` is
    by how much of the range its reading differs between images at both ends.

    Args:
        subject: what is inspected.
        arrows: from `directions`, over the `columns` of the subject.
        table: the attributes of the split, a column each.

    Returns:
        A row an edited attribute, a column an attribute that is read, and `of real images`.
    """
    import pandas

    from pyrovae.inspection.sections.traversals import shown_means

    z, inputs = shown_means(subject)
    with subject.quietly(4):
        images = edited(subject, z, arrows, table, (-0.5, 0.5), **inputs)
    codes = _again(subject, images.flatten(0, 2))[:, subject.columns]
    known = subject.encoded.loc[:, subject.columns]
    values, ends = table.to_numpy(), reach(table)
    read = ridge(known, values, np.concatenate([codes, known]))
    before, after = read[: len(codes)].reshape(len(arrows), 2, len(z), -1).mean(2).swapaxes(0, 1)
    shares = (after - before) / (ends["high"] - ends["low"]).to_numpy()
    found = pandas.DataFrame(shares, index=arrows.index, columns=list(table))
    slopes = np.diag(directions(read[len(codes) :], table))
    return found.assign(**{REAL: pandas.Series(slopes, table.columns).loc[arrows.index]})


def _again(subject: Subject, images: Tensor) -> np.ndarray:
    """Posterior means of decoded images, which keep the attributes of the image they were."""
    bits = (255 * images).round().clamp(0, 255).byte().cpu().numpy()
    times = len(bits) // len(subject.shown)
    attributes = np.tile(subject.shown.attributes, (times, 1))
    names = [str(row) for row in range(len(bits))]
    split = Split(bits, names, attributes, subject.shown.attribute_names)
    return subject.of(split).encoded.loc
