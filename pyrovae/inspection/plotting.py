"""Helpers of the sections' figures: densities, maps and sheets of images.

Colours are in `pyrovae.utils.palette`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrovae.utils.grids import as_pictures, grid
from pyrovae.utils.lazy import Axes, Figure, pandas
from pyrovae.utils.palette import GREY_LEVELS, SOFT
from pyrovae.utils.plotting import LABEL, SMALL, TITLE, WIDTH, canvas, panel, without_outliers

__all__ = [
    "Sample",
    "bars",
    "densities",
    "draw_sheet",
    "heat_map",
    "image_rows",
    "image_sheet",
    "picture",
    "shorten",
]

#: White pixels between two images of a sheet.
GAP = 2
#: More bars than these touch each other.
MANY = 100
Labels = Sequence[str]


class Sample(NamedTuple):
    """Values whose density is drawn.

    Attributes:
        values: one-dimensional.
        label: of the legend.
        color: of the palette.
        style: of the line, as `Axes.hist` takes it.
    """

    values: np.ndarray
    label: str
    color: str
    style: str = "-"


def shorten(name: str, most: int = 18) -> str:
    """The name, or its end after an ellipsis if it is longer than `most` characters.

    Example:
        >>> shorten("holidays/2024/me.jpg", 10)
        '…24/me.jpg'
    """
    return name if len(name) <= most else f"…{name[1 - most :]}"


def densities(
    axes: Any, area: Sample, *lines: Sample, bins: int = 40, tails: float = 0.005
) -> tuple[float, float]:
    """Draws histograms of samples in the same bins: the first filled, the others as lines.

    A few outliers do not widen the axis: a note says how many values lie outside.

    Args:
        axes: where to draw.
        area: the sample of the filled histogram.
        *lines: the samples of the others.
        bins: of each histogram.
        tails: values far beyond these quantiles at either end are outliers; 0 for none.

    Returns:
        The range of the bins.
    """
    samples = [own._replace(values=own.values[np.isfinite(own.values)]) for own in (area, *lines)]
    ends = [without_outliers(own.values, tails) for own in samples]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    outside = sum(int(((own.values < low) | (own.values > high)).sum()) for own in samples)
    if outside:
        count = sum(len(own.values) for own in samples)
        note = {"ha": "right", "va": "top", "fontsize": SMALL, "color": SOFT}
        text = f"{outside:,} of {count:,}\noutside"
        axes.text(1, 1, text, transform=axes.transAxes, **note)
    margin = 0 if high > low else 0.5
    edges = np.linspace(low - margin, high + margin, bins + 1)
    first, *others = samples
    axes.hist(first.values, edges, density=True, color=first.color, alpha=0.4, label=first.label)
    for own in others:
        line = {"histtype": "step", "edgecolor": own.color, "linestyle": own.style, "lw": 1.4}
        axes.hist(own.values, edges, density=True, label=own.label, **line)
    axes.set_yticks([])
    return float(edges[0]), float(edges[-1])


def bars(
    axes: Axes, heights: np.ndarray, color: str, base: np.ndarray | float = 0.0, **how: Any
) -> None:
    """One bar per place 0, 1, ...; more than 100 touch, and are drawn as one outline.

    Args:
        axes: where to draw.
        heights: the heights of the bars.
        color: the colour of all bars.
        base: where the bars begin.
        **how: further options of matplotlib, such as `label`.
    """
    if len(heights) <= MANY:
        axes.bar(np.arange(len(heights)), heights, 0.85, base, color=color, **how)
        return
    # Thin gaps would show as stripes, and thousands of bars take seconds.
    edges = np.arange(len(heights) + 1) - 0.5
    axes.stairs(base + heights, edges, baseline=base, fill=True, color=color, **how)


def heat_map(axes: Axes, table: pandas.DataFrame, label: str, **how: Any) -> None:
    """Draws a table as colours, with the names of its rows and columns and a colour bar.

    Args:
        axes: where to draw.
        table: of numbers.
        label: of the colour bar: the quantity and its unit.
        **how: as for `Axes.imshow`; `extend` as for `Figure.colorbar`.
    """
    extend = how.pop("extend", "neither")
    shown = axes.imshow(table.to_numpy(), interpolation="nearest", **how)
    for count, names, ticks, room in (
        (table.shape[1], table.columns, axes.set_xticks, 40),
        (table.shape[0], table.index, axes.set_yticks, 60),
    ):
        places = np.arange(0, count, -(-count // room))
        ticks(places, names[places], fontsize=LABEL if count <= 20 else SMALL)
    axes.tick_params(axis="x", labelrotation=90)
    bar = axes.figure.colorbar(shown, ax=axes, extend=extend, aspect=40)
    bar.set_label(label, fontsize=LABEL)
    bar.ax.tick_params(labelsize=LABEL)


def picture(axes: Axes, image: Tensor | np.ndarray, title: str = "", **how: Any) -> Any:
    """Shows an image `(C, H, W)` of floats in [0, 1], or a map `(H, W)`, without axes.

    Args:
        axes: where to draw.
        image: the image or map.
        title: above it.
        **how: as for `Axes.imshow`.
    """
    array = np.asarray(image.cpu() if isinstance(image, Tensor) else image, float)
    if array.ndim == 3:
        array = np.moveaxis(as_pictures(torch.from_numpy(array)).numpy(), 0, -1).clip(0, 1)
        if array.shape[-1] == 1:
            array, how = array[..., 0], {"cmap": GREY_LEVELS, "vmin": 0, "vmax": 1} | how
    shown = axes.imshow(array, interpolation="nearest", **how)
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=LABEL)
    return shown


def image_sheet(
    rows: Tensor,
    row_labels: Labels = (),
    column_labels: Labels = (),
    label_inches: float = 1.2,
    width: float = WIDTH,
) -> Figure:
    """A figure of images, row by row.

    Args:
        rows: floats in [0, 1], `(R, S, C, H, W)`, shown as by `as_pictures`.
        row_labels: labels left of the rows.
        column_labels: labels above the columns.
        label_inches: the approximate width of the row labels.
        width: of the figure in inches.
    """
    count, columns = rows.shape[:2]
    high, wide = as_pictures(rows[0, 0]).shape[1:]
    cell = (width - (label_inches if row_labels else 0)) / columns
    figure, axes = panel(cell * count * high / wide + (0.4 if column_labels else 0.1), width=width)
    draw_sheet(axes, rows, row_labels, column_labels)
    return figure


def draw_sheet(
    axes: Axes, rows: Tensor, row_labels: Labels = (), column_labels: Labels = (), gap: int = GAP
) -> None:
    """Draws the images of `image_sheet` on given axes, `gap` pixels apart."""
    rows = as_pictures(rows)
    count, columns, _, height, width = rows.shape
    _show(axes, rows.flatten(0, 1), columns, gap)
    axes.set_xticks(_centres(columns, width, gap) if column_labels else [], labels=column_labels)
    axes.set_yticks(_centres(count, height, gap) if row_labels else [], labels=row_labels)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False, labelsize=LABEL)


def image_rows(rows: dict[str, Tensor], notes: dict[str, list[str]] | None = None) -> Figure:
    """A figure of rows of images, each row below its title.

    Args:
        rows: floats in [0, 1], `(N, C, H, W)`, by title.
        notes: labels below the images of a row, by title.
    """
    rows = {title: as_pictures(images) for title, images in rows.items()}
    most = max(len(images) for images in rows.values())
    height, width = next(iter(rows.values())).shape[-2:]
    side = WIDTH / most * height / width
    figure, axes = canvas(len(rows) * (side + 0.65), len(rows))
    for own, (title, images) in zip(axes[:, 0], rows.items(), strict=True):
        _show(own, images, most, GAP)
        own.set_xlim(-0.5, most * (width + GAP) - GAP - 0.5)
        own.set_title(title, fontsize=TITLE, loc="left")
        words = (notes or {}).get(title, [""] * len(images))
        own.set_xticks(_centres(len(images), width, GAP), words, fontsize=LABEL)
        own.set_yticks([])
        own.tick_params(length=0)
    return figure


def _show(axes: Axes, images: Tensor, columns: int, gap: int) -> None:
    sheet = grid(images, columns, gap).movedim(0, -1).squeeze(-1).numpy()
    axes.imshow(sheet, cmap=GREY_LEVELS, vmin=0, vmax=255, interpolation="nearest")
    axes.spines[:].set_visible(False)


def _centres(count: int, pixels: int, gap: int) -> np.ndarray:
    """The centres of images of `pixels` pixels; 0 is the centre of the first pixel."""
    return np.arange(count) * (pixels + gap) + (pixels - 1) / 2
