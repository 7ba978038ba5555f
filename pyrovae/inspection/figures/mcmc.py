"""Figures of draws from the exact posterior, beside those of the guide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.inspection.figures.gaps import BLUE, ORANGE

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from pyrovae.inspection.mcmc import Chains

__all__ = ["draw_marginals", "draw_moments"]


def draw_marginals(chains: Chains, dimensions: Sequence[int], bins: int = 20) -> Figure:
    """Histograms of some dimensions: the chains' draws, and the guide's as a line.

    Args:
        chains: of one image.
        dimensions: which ones, at most 6 or so.
        bins: of each histogram.
    """
    from matplotlib.figure import Figure

    rows = -(-len(dimensions) // 3)
    figure = Figure(figsize=(7, 0.5 + 2 * rows), layout="constrained")
    panels = figure.subplots(rows, min(3, len(dimensions)), squeeze=False).ravel()
    for panel, dim in zip(panels, dimensions, strict=False):
        exact, guide = chains.draws[..., dim].ravel(), chains.guide[:, dim]
        edges = np.histogram_bin_edges(np.concatenate([exact, guide]), bins)
        panel.hist(exact, edges, density=True, color=ORANGE, alpha=0.6, label="posterior (NUTS)")
        panel.hist(guide, edges, density=True, color=BLUE, histtype="step", lw=1.5, label="guide")
        panel.set_xlabel(chains.names[dim])
        panel.set_yticks([])
    for panel in panels[len(dimensions) :]:
        panel.set_visible(False)
    figure.supylabel("density", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def draw_moments(tables: Mapping[str, pandas.DataFrame]) -> Figure:
    """A point a dimension: how far the guide's mean is off, and how wide it is.

    Args:
        tables: `Chains.table()` of each image, by its name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, table) in enumerate(tables.items()):
        axes.plot(table["shift"], table["ratio"], "osd^v<>"[number % 7], alpha=0.7, label=name)
    axes.axvline(0, color="black", linewidth=1)
    axes.axhline(1, color="black", linewidth=1)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    ticks = [t for t in (0.1, 0.2, 0.5, 0.7, 1, 1.4, 2, 5, 10) if low <= t <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("mean of the guide minus that of the posterior,\nin posterior sds")
    axes.set_ylabel("sd of the guide / posterior sd")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure
