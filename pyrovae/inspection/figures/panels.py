"""What several figures share: an empty sheet, tidy axes, rows of images, two samples at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pyrovae.utils.grids import grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ENCODED", "PRIOR", "image_rows", "legend", "sheet", "tidy", "two_histograms"]

WIDTH = 7.0
PRIOR, ENCODED = "#9aa5ab", "#c1440e"


def sheet(height: float) -> Figure:
    """An empty figure as wide as a phone shows well.

    Args:
        height: in inches.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def tidy(axes: Any, across: str = "", up: str = "") -> None:
    """Names the two axes, and leaves out what is not needed."""
    axes.set_xlabel(across, fontsize=10)
    axes.set_ylabel(up, fontsize=10)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure: Figure, axes: Any) -> None:
    """What the colours of a panel mean, above the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=4,
        fontsize=9,
        frameon=False,
        markerscale=2,
    )


def two_histograms(
    axes: Any,
    first: np.ndarray,
    second: np.ndarray,
    bins: int = 40,
    named: tuple[str, str] = ("encodings", "prior"),
    more: tuple[np.ndarray, str] | None = None,
) -> tuple[float, float]:
    """Densities of two samples in the same bins, the one as an area, the other as a line.

    Args:
        axes: where to.
        first: values of what is an area.
        second: values of what is a line.
        bins: so many.
        named: what the two are.
        more: a third sample, as a dotted line, and what it is.

    Returns:
        The range: what is beyond 1 in 200 of the values of either is not shown.
    """
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    samples = [first, second] if more is None else [first, second, more[0]]
    low = min(float(np.quantile(values, 0.005)) for values in samples)
    high = max(float(np.quantile(values, 0.995)) for values in samples)
    margin = 0 if high > low else 0.5
    edges = np.linspace(low - margin, high + margin, bins + 1)
    axes.hist(first, edges, density=True, color=ENCODED, alpha=0.45, label=named[0])
    line = {"histtype": "step", "color": "#333333", "linewidth": 1.3}
    axes.hist(second, edges, density=True, label=named[1], **line)
    if more is not None:
        axes.hist(more[0], edges, density=True, label=more[1], linestyle=":", **line)
    axes.set_yticks([])
    return float(edges[0]), float(edges[-1])


def image_rows(rows: dict[str, Tensor], notes: dict[str, list[str]] | None = None) -> Figure:
    """Rows of images under a title each.

    Args:
        rows: floats in [0, 1], `(N, C, H, W)`, by title.
        notes: for a title what stands below each of its images.
    """
    figure = sheet(0.1)
    most = max(len(images) for images in rows.values())
    height, width = next(iter(rows.values())).shape[-2:]
    side = WIDTH / most * height / width
    figure.set_size_inches(WIDTH, len(rows) * (side + 0.65))
    panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (title, images) in zip(panels, rows.items(), strict=True):
        picture = grid(images, columns=most).movedim(0, -1).squeeze(-1)
        axes.imshow(picture.numpy(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xlim(-0.5, most * (width + 2) - 2.5)
        axes.set_title(title, fontsize=10, loc="left")
        places = [i * (width + 2) + width / 2 for i in range(len(images))]
        axes.set_xticks(places, (notes or {}).get(title, [""] * len(images)), fontsize=9)
        axes.set_yticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure
