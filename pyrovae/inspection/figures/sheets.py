"""Sheets of images with words beside the rows and above the columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrovae.inspection.figures.canvas import WIDTH, canvas
from pyrovae.utils.grids import grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_sheet", "image_sheet", "with_change"]

#: Pixels between two images.
GAP = 2


def image_sheet(
    rows: Tensor,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    label_inches: float = 1.2,
) -> Figure:
    """A figure of images, row by row.

    Args:
        rows: floats in [0, 1], `(R, S, C, H, W)`.
        row_labels: what stands left of each row.
        column_labels: what stands above each column.
        label_inches: how wide the row labels are, about.
    """
    count, columns, _, height, width = rows.shape
    cell = (WIDTH - (label_inches if row_labels else 0)) / columns
    figure, axes = canvas(cell * count * height / width + (0.4 if column_labels else 0.1))
    draw_sheet(axes[0, 0], rows, row_labels, column_labels)
    return figure


def draw_sheet(
    axes: Axes,
    rows: Tensor,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    gap: int = GAP,
) -> None:
    """The images of `image_sheet` on axes of a figure, so many pixels apart."""
    count, columns, _, height, width = rows.shape
    sheet = grid(rows.flatten(0, 1), columns, gap).movedim(0, -1).numpy()
    if sheet.shape[-1] == 1:
        sheet = sheet.repeat(3, -1)
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks(_centres(columns, width + gap) if column_labels else [], labels=column_labels)
    axes.set_yticks(_centres(count, height + gap) if row_labels else [], labels=row_labels)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False, labelsize=9)
    axes.spines[:].set_visible(False)


def _centres(count: int, pixels: int) -> np.ndarray:
    return (np.arange(count) + 0.5) * pixels - 0.5


def with_change(rows: Tensor) -> tuple[Tensor, float]:
    """A last column that shows how far each pixel of a row moves, of its colours the mean.

    Args:
        rows: floats in [0, 1], `(R, S, C, H, W)`.

    Returns:
        `(R, S + 1, C, H, W)`, and from what on it is white, in levels of 255: that which one
        pixel in a hundred exceeds.

    Example:
        >>> with_change(torch.rand(2, 3, 1, 8, 8))[0].shape
        torch.Size([2, 4, 1, 8, 8])
    """
    change = (rows.amax(1) - rows.amin(1)).mean(1, keepdim=True)
    most = float(np.quantile(change.numpy(), 0.99))
    shown = (change / max(most, 1e-12)).clamp(max=1).expand_as(rows[:, 0])
    return torch.cat([rows, shown[:, None]], 1), 255 * most
