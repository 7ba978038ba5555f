"""Figures of the aggregate posterior beside the prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae.inspection.aggregate import Projections
from pyrovae.inspection.figures.panels import ENCODED, PRIOR, legend, sheet, tidy, two_histograms

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["coverage", "planes", "worst_marginals"]

#: Dimensions whose histograms are shown.
SHOWN = 6


def coverage(
    prior: pandas.DataFrame, held_out: pandas.DataFrame, shares: pandas.DataFrame
) -> Figure:
    """How well the mixture of posteriors covers draws of the prior, and codes of other images.

    Args:
        prior: as `Holes.prior`.
        held_out: as `Holes.held_out`.
        shares: as `Holes.shares`.
    """
    figure = sheet(5.2)
    panels = figure.subplots(2, 1)
    named = {
        "log_ratio": "log q(z) - log p(z) (nats)",
        "distance": "distance to the nearest posterior (its standard deviations)",
    }
    for axes, (name, label) in zip(panels, named.items(), strict=True):
        both = held_out[name].to_numpy(), prior[name].to_numpy()
        two_histograms(axes, *both, named=("held-out images", "prior"))
        axes.axvline(
            shares.threshold[name], color="black", linewidth=1, linestyle="--", label="limit"
        )
        told = f"{shares.share[name]:.1%} of the prior's draws are beyond the dashed line"
        axes.set_title(f"{told}, {shares.nominal[name]:.1%} nominal", fontsize=10, loc="left")
        tidy(axes, label, "density")
    legend(figure, panels[0])
    return figure


def worst_marginals(
    table: pandas.DataFrame, aggregate: np.ndarray, prior: np.ndarray, limit: float
) -> Figure:
    """The distances of all dimensions, and histograms of those that are furthest off.

    Args:
        table: from `marginals`.
        aggregate: the draws of the guide that it was made from, `(N, D)`.
        prior: those of the model, `(M, D)`.
        limit: the distance at which one of all dimensions would be found different.
    """
    order = table["distance"].to_numpy().argsort(kind="stable")[::-1]
    shown = order[:SHOWN]
    rows = -(-len(shown) // 3)
    figure = sheet(2.3 + 1.6 * rows)
    grid = figure.add_gridspec(rows + 1, 3, height_ratios=[1.3] + [1] * rows)
    axes = figure.add_subplot(grid[0, :])
    axes.plot(np.arange(1, len(order) + 1), table["distance"].iloc[order], ".", color=ENCODED)
    axes.axhline(limit, color="black", linewidth=1, linestyle="--")
    axes.set_ylim(0, 1.1 * max(limit, table["distance"].max()))
    tidy(axes, "dimensions, the worst first", "KS distance")
    for place, dimension in enumerate(shown):
        panel = figure.add_subplot(grid[1 + place // 3, place % 3])
        two_histograms(panel, aggregate[:, dimension], prior[:, dimension], bins=24)
        panel.set_title(f"{table.index[dimension]}", fontsize=10, loc="left")
        tidy(panel)
    legend(figure, panel)
    return figure


def planes(found: Projections) -> Figure:
    """Draws of the prior and encodings in the planes where they differ most.

    Args:
        found: from `worst_projections`, with at least one plane.
    """
    figure = sheet(2.9)
    panels = figure.subplots(1, len(found.aggregate), squeeze=False)[0]
    for axes, row, q, p in zip(
        panels, found.table.itertuples(), found.aggregate, found.prior, strict=True
    ):
        few = slice(0, 400)
        axes.scatter(*p[few].T, s=7, color=PRIOR, linewidths=0, label="prior")
        axes.scatter(*q[few].T, s=7, color=ENCODED, linewidths=0, alpha=0.7, label="encodings")
        axes.set_title(f"p = {row.adjusted:.2g}, adjusted", fontsize=10)
        tidy(axes, row.first, row.second)
    legend(figure, panels[0])
    return figure
