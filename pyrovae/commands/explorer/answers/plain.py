"""What several answers have in common: plain numbers, pictures, cover and predictions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.commands.explorer.checking import named
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.commands.explorer.pictures import data_url, sprite
from pyrovae.utils.grids import showing

__all__ = [
    "covered",
    "floats",
    "number",
    "pictures",
    "predicted",
    "signed",
    "stated",
    "thumbnails",
]


def stated(explorer: Explorer, given: dict[str, Any]) -> dict[str, float]:
    """The attributes that a question gives to the programs, by name.

    Raises:
        InputError: if the programs take no such attribute, or cannot take its value.
    """
    programs = explorer.subject.programs
    found = named(given, "given", programs.attributes)
    for name, value in found.items():
        programs.check_given(name, value)
    return found


def number(value: float) -> float | None:
    """A finite number; None for any other, which JSON lacks."""
    return float(value) if math.isfinite(value) else None


def signed(text: str) -> str:
    """A text with minus signs before its numbers, as the page writes them.

    Example:
        >>> signed("k-hat -0.5, from -1 to 2")
        'k-hat −0.5, from −1 to 2'
    """
    return re.sub(r"(?<!\w)-(?=\d)", "−", text)


def floats(values: np.ndarray) -> list[Any]:
    """Nested lists of finite numbers; None for any other."""
    found: list[Any] = np.where(np.isfinite(values), values, np.nan).tolist()
    return found if np.isfinite(values).all() else _without_nan(found)


def _without_nan(values: list[Any]) -> list[Any]:
    return [_without_nan(own) if isinstance(own, list) else number(own) for own in values]


def pictures(explorer: Explorer, images: Tensor) -> list[str]:
    """Images `(M, C, H, W)` of floats in [0, 1] as data URLs."""
    with showing(explorer.data.show):
        return [data_url(image) for image in images]


def thumbnails(explorer: Explorer, rows: list[int], size: int) -> str:
    """Encoded images as one row of squares."""
    stored = np.stack([explorer.subject.split.images[row] for row in rows])
    with showing(explorer.data.show):
        return sprite(torch.from_numpy(stored) / 255, size)


def covered(
    explorer: Explorer, z: np.ndarray, without: Iterable[int | None] = ()
) -> list[dict[str, Any]]:
    """How well the aggregate posterior covers points `(M, D)`.

    Args:
        explorer: what is explored.
        z: the points.
        without: the indices of encoded images whose posteriors, and those of their groups, do not
            count.
    """
    cover = explorer.cover
    shares = cover.shares(z, [row for row in without if row is not None])
    both = zip(floats(shares), cover.is_thin(shares).tolist(), strict=True)
    return [
        {"share": share, "thin": thin, "says": _cover_said(explorer, share, thin)}
        for share, thin in both
    ]


def _cover_said(explorer: Explorer, share: float | None, thin: bool) -> str:
    cover = explorer.cover
    if not cover.enough or share is None:
        return f"{len(explorer.names)} images are too few to say where encodings are rare."
    far = "as far from all posteriors as this point, or farther."
    if not share:
        none = f"none of {len(cover.held_out):,} held-out encodings is {far}"
        return f"Hardly any image is encoded here: {none} The decoder extrapolates."
    if thin:
        only = f"only {share:.1%} of held-out encodings are {far}"
        return f"Hardly any image is encoded here: {only} The decoder extrapolates."
    return f"{share:.0%} of held-out encodings are {far}"


def predicted(explorer: Explorer, z: np.ndarray) -> list[dict[str, Any]]:
    """The predicted attributes of points `(M, D)`, each with its error on held-out images."""
    found = explorer.predictions
    if isinstance(found, str):
        return [{} for _ in z]
    names = list(found.table)
    return [
        {
            name: {"value": value, "error": error}
            for name, value, error in zip(names, values, found.errors.tolist(), strict=True)
        }
        for values in found.at(z).tolist()
    ]
