"""Figures of how the truth ranks among draws of the guide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae.inspection.calibration import DENSITY
from pyrovae.inspection.figures.gaps import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyrovae.inspection.calibration import Ranks

__all__ = ["draw_rank_histogram", "draw_ranks"]


def draw_ranks(ranks: Ranks, alpha: float = 0.05) -> Figure:
    """A line a dimension: its empirical distribution function minus that of uniform ranks.

    Args:
        ranks: of the truth.
        alpha: the rate of false alarms of the band, for all lines together.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    places = np.linspace(0, 1, ranks.num_draws + 2)
    edges = np.arange(ranks.num_draws + 2)[:, None]
    order = np.sort(ranks.ranks, 0)
    lines = np.stack([np.searchsorted(column, edges[:, 0]) for column in order.T]) / len(ranks)
    lines, band = lines - places, ranks.band(alpha)
    outside = np.abs(lines).max(1) > band
    axes.fill_between(places, -band, band, color=GREY, alpha=0.3, lw=0)
    for line, out in zip(lines, outside, strict=True):
        axes.plot(places, line, color=ORANGE if out else BLUE, lw=0.8, alpha=0.7)
    far = [row for row in np.argsort(-np.abs(lines).max(1))[:3] if outside[row]]
    if far:
        names = ", ".join(ranks.names[row] for row in far)
        axes.set_title(f"farthest: {names}", fontsize=9, loc="right")
    axes.axhline(0, color="black", lw=1)
    axes.set_xlabel("rank of the truth among the guide's draws, as a share")
    axes.set_ylabel("share of images below it,\nminus what is expected")
    return figure


def draw_rank_histogram(ranks: Ranks, bins: int = 20) -> Figure:
    """The ranks of all dimensions together: high ends mean too narrow, a high middle too wide.

    Args:
        ranks: of the truth.
        bins: of the histogram.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    sites = [name != DENSITY for name in ranks.names]
    shares = ranks.shares[:, sites]
    height = np.histogram(shares, bins, (0, 1))[0] * (bins / shares.size)
    middles = (np.arange(bins) + 0.5) / bins
    axes.bar(middles, height, 0.9 / bins, color=BLUE)
    axes.axhline(1, color="black", lw=1)
    axes.set_xlabel("rank of the truth among the guide's draws, as a share")
    axes.set_ylabel("frequency over\nwhat is expected")
    return figure
