"""Figures of maps: images as points, coloured by what is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pyrovae.inspection.attributes import is_classes, is_two_valued
from pyrovae.inspection.figures.canvas import canvas
from pyrovae.inspection.figures.sheets import draw_sheet

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["map_panels", "plane"]

#: Okabe and Ito's colours for all readers; classes beyond them differ by their marks.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
MARKS = "o^s"


def map_panels(maps: dict[str, np.ndarray], known: pandas.DataFrame) -> Figure:
    """A row an attribute, a column a map.

    Args:
        maps: places of N images by the name of the map, `(N, 2)`.
        known: what points are coloured by, N rows.
    """
    figure, axes = canvas(0.2 + 3.9 * known.shape[1], known.shape[1], len(maps))
    for row, name in zip(axes, known, strict=True):
        for own, (title, places) in zip(row, maps.items(), strict=True):
            _points(own, places, known[name].to_numpy(float), str(name))
            own.set_xlabel(f"{title} 1", fontsize=9)
            own.set_ylabel(f"{title} 2", fontsize=9)
            own.set_xticks([])
            own.set_yticks([])
            own.set_aspect("equal", adjustable="datalim")
    return figure


def _points(axes: Axes, places: np.ndarray, values: np.ndarray, name: str) -> None:
    """Coloured by value: with a legend for a few values, else with a bar."""
    axes.set_title(name, fontsize=10)
    if not (is_two_valued(values) or is_classes(values)):
        shown = axes.scatter(
            places[:, 0], places[:, 1], c=values, s=7, cmap="viridis", linewidths=0
        )
        axes.figure.colorbar(shown, ax=axes, location="bottom", aspect=30, shrink=0.8)
        return
    for i, value in enumerate(np.unique(values)):
        own = places[values == value]
        colour, mark = COLOURS[i % len(COLOURS)], MARKS[i // len(COLOURS) % len(MARKS)]
        axes.scatter(
            own[:, 0], own[:, 1], s=8, color=colour, marker=mark, linewidths=0, label=f"{value:g}"
        )
    axes.legend(
        fontsize=9,
        ncols=5,
        markerscale=2,
        frameon=False,
        handletextpad=0,
        columnspacing=0.6,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
    )


def plane(grid: Tensor, codes: np.ndarray, values: np.ndarray | None, names: list[str]) -> Figure:
    """Images decoded over the plane of two latents, and the encoded images on it.

    Args:
        grid: from `latent_grid`, `(P, P, C, H, W)`.
        codes: posterior means, `(N, 2)`.
        values: what the points are coloured by, `(N,)`.
        names: of the two dimensions, and of the values.
    """
    figure, axes = canvas(3.9, 1, 2)
    left, right = axes[0]
    draw_sheet(left, grid, gap=0)
    if values is None:
        right.scatter(codes[:, 0], codes[:, 1], s=7, color=COLOURS[0], linewidths=0)
    else:
        _points(right, codes, values, names[2])
    right.set_aspect("equal", adjustable="datalim")
    for own in (left, right):
        own.set_xlabel(names[0])
        own.set_ylabel(names[1])
    return figure
