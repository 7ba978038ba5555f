"""Figures of images beside what the model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae.inspection.figures.panels import ENCODED, PRIOR, legend, sheet, tidy, two_histograms

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["calibration", "checks", "probabilities"]


def calibration(table: pandas.DataFrame) -> Figure:
    """How the pixels of images rank among replicates.

    Args:
        table: from `pixel_calibration`.
    """
    figure = sheet(2.9)
    axes = figure.subplots()
    axes.bar(
        table.low,
        table.share,
        table.high - table.low,
        yerr=2 * table.error,
        align="edge",
        color=ENCODED,
        alpha=0.6,
        label="pixels of images",
    )
    axes.axhline(
        table.expected.iloc[0], color="black", linewidth=1, linestyle="--", label="calibrated"
    )
    axes.set_xlim(0, 1)
    tidy(axes, "rank of a pixel among its replicates (0 darkest, 1 brightest)", "share of pixels")
    legend(figure, axes)
    return figure


def checks(statistics: pandas.DataFrame, prior: pandas.DataFrame) -> Figure:
    """Statistics of images, of their replicates, and of images drawn from the prior.

    Args:
        statistics: of a `Replication`.
        prior: from `prior_statistics`.
    """
    names = list(prior.columns)
    rows = -(-len(names) // 2)
    figure = sheet(0.5 + 2.3 * rows)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        own = statistics.xs(name, level="statistic")
        two_histograms(
            axes,
            own.observed.to_numpy(),
            prior[name].to_numpy(),
            bins=24,
            named=("images", "drawn from the model"),
            more=(own.replicated.to_numpy(), "replicates of the images"),
        )
        tidy(axes, name, "density")
        axes.locator_params(axis="x", nbins=5)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    legend(figure, panels[0])
    return figure


def probabilities(table: pandas.DataFrame, reference: np.ndarray, of: str) -> Figure:
    """Log p(x) of images beside that of those that they are compared with.

    Args:
        table: of `Outliers`.
        reference: likewise.
        of: likewise.
    """
    figure = sheet(2.9)
    axes = figure.subplots()
    own = table[table.split != "shown"].log_evidence.to_numpy()
    bins = max(10, min(40, len(own) // 5))
    two_histograms(
        axes, own, reference, bins, (str(table.split[table.split != "shown"].iloc[0]), of)
    )
    shown = table[table.split == "shown"]
    for place, value in enumerate(shown.log_evidence):
        axes.axvline(value, color=PRIOR, linewidth=1.5, label="" if place else "shown")
    tidy(axes, "log p(x) (nats)", "density")
    legend(figure, axes)
    return figure
