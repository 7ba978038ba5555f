"""Figures of single images' posteriors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pyrovae.inspection.figures.canvas import GUIDE, canvas, picture
from pyrovae.inspection.posterior import Predictive

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["correlation_map", "intervals", "predictive_rows"]


def predictive_rows(images: Tensor, found: Predictive, names: list[str]) -> Figure:
    """A row an image: itself, the mean of what it may have been, spreads, draws.

    Args:
        images: `(B, C, H, W)` in [0, 1].
        found: from `predictive`.
        names: of the images.
    """
    kept = len(found.decoded)
    figure, axes = canvas(0.3 + 1.15 * len(images), len(images), 4 + kept + 1)
    limit = float(found.spread.mean(1).max()) * 255
    for row, own in enumerate(axes):
        maps = [255 * s[row].mean(0) for s in (found.latent_spread, found.spread)]
        picture(own[0], images[row])
        label = names[row] if len(names[row]) <= 18 else f"…{names[row][-17:]}"
        own[0].text(0, -0.06, label, transform=own[0].transAxes, fontsize=7, va="top")
        picture(own[1], found.mean[row])
        shown = [
            picture(own[2 + i], m, vmin=0, vmax=limit, cmap="magma") for i, m in enumerate(maps)
        ]
        for i in range(kept):
            picture(own[4 + i], found.decoded[i, row])
        picture(own[-1], found.noisy[0, row])
    titles = [
        "image",
        "mean",
        "spread,\nfrom z",
        "with\nnoise",
        *["draw of z"] * kept,
        "draw,\nwith noise",
    ]
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=9)
    bar = figure.colorbar(shown[-1], ax=axes[:, 2:4], location="bottom", aspect=12, shrink=0.9)
    bar.set_label("grey levels of 256", fontsize=9)
    return figure


def intervals(table: pandas.DataFrame, dims: list[str]) -> Figure:
    """Location, scale and rate of the posteriors of a few images, in the dimensions given.

    Args:
        table: from `Encoded.table`.
        dims: names of the dimensions, those that carry most first.
    """
    images = list(dict.fromkeys(table.index.get_level_values("image")))
    figure, axes = canvas(0.5 + 1.1 * len(images), len(images), 1, sharex=True, sharey=True)
    among = table[table.index.get_level_values(1).isin(dims)]
    colours = {"vmin": 0.0, "vmax": max(1e-6, float(among["kl"].max())), "cmap": "viridis_r"}
    for place, image in zip(axes[:, 0], images, strict=True):
        own = table.loc[image].loc[dims]
        place.axhspan(-2, 2, color="#eeeeee")
        where = (range(len(dims)), own["loc"])
        place.errorbar(*where, 2 * own["scale"], fmt="none", color=GUIDE, lw=1.2)
        shown = place.scatter(*where, 18, own["kl"], zorder=3, **colours)
        nats = table.loc[image]["kl"].sum()
        place.set_title(f"{image}: {nats:,.1f} nats over all dimensions", fontsize=9)
    axes[-1, 0].set_xticks(range(len(dims)), dims, rotation=90, fontsize=7)
    figure.supylabel("location ± 2 scales", fontsize=10)
    figure.colorbar(shown, ax=axes[:, 0], label="rate, nats", aspect=40)
    return figure


def correlation_map(found: np.ndarray, names: list[str], title: str) -> Figure:
    """Correlations of the dimensions of one image's posterior.

    Args:
        found: `(D, D)`.
        names: of the dimensions.
        title: of the figure.
    """
    figure, axes = canvas(4.6, width=5.4)
    shown = axes[0, 0].imshow(found, vmin=-1, vmax=1, cmap="RdBu_r")
    ticks = range(len(names))
    axes[0, 0].set_xticks(ticks, names, rotation=90, fontsize=7)
    axes[0, 0].set_yticks(ticks, names, fontsize=7)
    axes[0, 0].set_title(title, fontsize=10)
    figure.colorbar(shown, ax=axes[0, 0], label="correlation")
    return figure
