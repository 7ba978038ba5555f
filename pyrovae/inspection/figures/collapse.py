"""The rate, dimension by dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae.inspection.figures.canvas import GREY, GUIDE, PRIOR, canvas

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["rates"]


def rates(table: pandas.DataFrame) -> Figure:
    """The rate of each dimension, and the two variances that add up to the prior's.

    Args:
        table: from `dimension_table`.
    """
    figure, axes = canvas(4.6, 2, 1, sharex=True)
    places = np.arange(len(table))
    colours = np.where(table["active"], GUIDE, GREY)
    width = 0.85 if len(table) <= 100 else 1.0  # Thin gaps would show as stripes.
    axes[0, 0].bar(places, table["kl"], color=colours, width=width)
    axes[0, 0].errorbar(places, table["kl"], 2 * table["error"], fmt="none", color="black", lw=0.6)
    axes[0, 0].set_ylabel("rate, nats")
    share = axes[0, 0].twinx()
    share.plot(places, 100 * table["cumulative"], color=PRIOR, lw=1.5)
    share.set(ylim=(0, 103), ylabel="share of the rate, %")
    share.spines["right"].set_visible(True)
    share.yaxis.label.set_color(PRIOR)
    means, within = table["variance_of_mean"], table["aggregate_variance"]
    axes[1, 0].bar(
        places,
        within - means,
        bottom=means,
        color="#bbd6e8",
        width=width,
        label="within posteriors",
    )
    axes[1, 0].bar(places, means, color=GUIDE, width=width, label="of their means")
    axes[1, 0].set(ylabel="variance", xlabel="latent dimension, by rate")
    axes[1, 0].legend(frameon=False, fontsize=9, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    if len(table) <= 30:
        axes[1, 0].set_xticks(places, table.index, rotation=90, fontsize=8)
    return figure
