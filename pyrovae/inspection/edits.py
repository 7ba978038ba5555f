"""Edits of attributes in latent space, and their effects on re-encoded images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.inspection.attributes import directions, reach
from pyrovae.inspection.probing import ridge
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.traversals import show_within
from pyrovae.utils.lazy import pandas

__all__ = ["edit_effects", "edited"]

#: The column of the probe's response to the attribute in real images.
REAL = "of real images"


def edited(
    subject: Subject,
    z: Tensor,
    arrows: pandas.DataFrame,
    table: pandas.DataFrame,
    strengths: Sequence[float],
    **inputs: Tensor,
) -> Tensor:
    r"""Moves latents along the directions of attributes, and decodes them.

    $$z + s \, (a^{\text{high}} - a^{\text{low}}) \, v$$

    Args:
        subject: what is inspected; directions are over its `columns`.
        z: latents of B images, `(B, D)`.
        arrows: from `directions`, one row per attribute, A rows.
        table: one column per attribute; its `reach` is the unit of the strengths.
        strengths: S values of s.
        **inputs: further inputs of the programs for B images.

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
    """The change of each attribute, as predicted from re-encoded images, by each edit.

    Latents of the shown images are moved by half the range of an attribute up and down, decoded,
    rounded to 8 bits and encoded again. A ridge regression on the posterior means of the split
    predicts all attributes of both. The difference is divided by the range of the predicted
    attribute. A perfect edit gives 1 in its own column and 0 in the columns of attributes that are
    uncorrelated with it in the data. The regression limits what can be measured: `of real images`
    is the difference of its predictions for real images at both ends, as a share of the range.

    Args:
        subject: what is inspected.
        arrows: from `directions`, over the `columns` of the subject.
        table: the attributes of the split, a column each.

    Returns:
        One row per edited attribute, one column per predicted attribute, and `of real images`.
    """
    from pyrovae.inspection.sections.traversals import shown_means

    z, inputs = shown_means(subject)
    with subject.quietly(4):
        images = edited(subject, z, arrows, table, (-0.5, 0.5), **inputs)
    codes = _again(subject, images.flatten(0, 2))[:, subject.columns]
    known = subject.encoded.loc[:, subject.columns]
    values, ends = table.to_numpy(), reach(table)
    both = np.concatenate([codes, known])
    read = ridge(known, values, both, subject.split.groups)
    before, after = read[: len(codes)].reshape(len(arrows), 2, len(z), -1).mean(2).swapaxes(0, 1)
    shares = (after - before) / (ends["high"] - ends["low"]).to_numpy()
    found = pandas.DataFrame(shares, index=arrows.index, columns=list(table))
    slopes = np.diag(directions(read[len(codes) :], table))
    return found.assign(**{REAL: pandas.Series(slopes, table.columns).loc[arrows.index]})


def _again(subject: Subject, images: Tensor) -> np.ndarray:
    """Posterior means of decoded images, given the attributes of the original images."""
    bits = (255 * images).round().clamp(0, 255).byte().cpu().numpy()
    times = len(bits) // len(subject.shown)
    attributes = np.tile(subject.shown.attributes, (times, 1))
    names = [str(row) for row in range(len(bits))]
    split = Split(bits, names, attributes, subject.shown.attribute_names)
    return subject.of(split).encoded.loc
