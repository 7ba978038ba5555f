"""What all figures share: a canvas without global state, pictures without axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["GREY", "GUIDE", "PRIOR", "canvas", "picture"]

#: Colours that differ for everybody, by what they stand for.
GUIDE, PRIOR, GREY = "#0072b2", "#d55e00", "#767676"
WIDTH = 7.0


def canvas(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **grid: Any
) -> tuple[Figure, Any]:
    """A figure and its axes, an array `(rows, columns)`; readable on a telephone.

    Args:
        height: in inches.
        rows: of axes.
        columns: of axes.
        width: in inches.
        **grid: as for `Figure.subplots`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **grid)
    return figure, axes


def picture(axes: Axes, image: Tensor | np.ndarray, title: str = "", **how: Any) -> Any:
    """Shows an image `(C, H, W)` of floats in [0, 1], or a map `(H, W)`, without axes.

    Args:
        axes: where.
        image: what.
        title: above it.
        **how: as for `Axes.imshow`.
    """
    array = np.asarray(image.cpu() if isinstance(image, Tensor) else image, float)
    if array.ndim == 3:
        array = np.moveaxis(array, 0, -1).clip(0, 1)
        if array.shape[-1] == 1:
            array, how = array[..., 0], {"cmap": "gray", "vmin": 0, "vmax": 1} | how
    shown = axes.imshow(array, interpolation="nearest", **how)
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=9)
    return shown
