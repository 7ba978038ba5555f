"""Figures of attributes: how well they are read, what edits change, what factors share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyrovae.inspection.figures.canvas import GREY, GUIDE, canvas

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["edit_map", "information_map", "probe_scores"]

#: What a probe of each score comes to where the codes say nothing, and its name in full.
CHANCE = {"AUC": (0.5, "area under the ROC curve"), "R2": (0.0, "R²")}


def probe_scores(table: pandas.DataFrame) -> Figure:
    """Points with bars of two standard errors, the best first; a panel a score.

    Args:
        table: from `probes`.
    """
    kinds = [kind for kind in CHANCE if (table["score"] == kind).any()]
    sizes = [int((table["score"] == kind).sum()) for kind in kinds]
    figure, axes = canvas(
        0.8 * len(kinds) + 0.24 * sum(sizes), len(kinds), height_ratios=[s + 1 for s in sizes]
    )
    for own, kind in zip(axes[:, 0], kinds, strict=True):
        rows = table[table["score"] == kind].sort_values("value")
        own.errorbar(
            rows["value"], range(len(rows)), xerr=2 * rows["error"], fmt="o", ms=4, color=GUIDE
        )
        own.axvline(CHANCE[kind][0], color=GREY, lw=1, ls="--")
        own.set_yticks(range(len(rows)), rows.index, fontsize=9)
        own.set_ylim(-0.6, len(rows) - 0.4)
        own.set_xlabel(f"{CHANCE[kind][1]} on unseen images (dashed: chance)")
        own.grid(axis="y", color="#e5e5e5", lw=0.6)
        own.set_axisbelow(True)
    return figure


def edit_map(table: pandas.DataFrame) -> Figure:
    """What edits of each attribute change in what is read of each.

    Args:
        table: a row an edited attribute, a column a read one, as shares of its reach.
    """
    rows, columns = table.shape
    figure, axes = canvas(1.5 + 0.28 * rows)
    own = axes[0, 0]
    shown = own.imshow(table.to_numpy(), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    own.set_xticks(range(columns), table.columns, rotation=90, fontsize=9)
    own.set_yticks(range(rows), table.index, fontsize=9)
    own.set_xlabel("attribute that is read")
    own.set_ylabel("attribute that is edited")
    figure.colorbar(
        shown, ax=own, label="change read, 1 is all of its range", extend="both", aspect=40
    )
    return figure


def information_map(table: pandas.DataFrame, chance: float = 0.0) -> Figure:
    """The mutual information of each factor with each dimension.

    Args:
        table: a row a factor, a column a dimension, in nats.
        chance: what unrelated columns come to, the foot of the colours.
    """
    rows, columns = table.shape
    figure, axes = canvas(1.6 + 0.24 * rows)
    own = axes[0, 0]
    shown = own.imshow(table.to_numpy(), cmap="magma", vmin=chance, aspect="auto")
    every = -(-columns // 40)
    places = np.arange(0, columns, every)
    own.set_xticks(places, table.columns[places], rotation=90, fontsize=9 if columns <= 40 else 7)
    own.set_yticks(range(rows), table.index, fontsize=9)
    own.set_xlabel("dimension, by falling rate")
    figure.colorbar(shown, ax=own, label="mutual information, nats", aspect=40)
    return figure
