"""Figures of how far the ELBO lies below log p(x), and of the guide's spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["draw_gaps", "draw_reliability", "draw_temperature"]

#: Colours that the colour-blind can tell apart.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"


def draw_gaps(table: pandas.DataFrame) -> Figure:
    """A bar an image: its gap in nats, split where the guide's own family was refined.

    Args:
        table: what `gaps` gives, indexed by the names of the images.
    """
    figure, axes = _bars(len(table))
    rows = np.arange(len(table))
    split = table["amortisation_gap"].notna().all()
    if split:
        first = table["amortisation_gap"].clip(lower=0)
        axes.barh(rows, first, color=BLUE, label="amortisation gap")
        axes.barh(
            rows,
            table["approximation_gap"].clip(lower=0),
            left=first,
            color=ORANGE,
            label="approximation gap",
        )
    else:
        axes.barh(rows, table["gap"].clip(lower=0), color=GREY, label="gap, both together")
    _name_rows(axes, table)
    axes.set_xlabel("nats below log p(x)")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def draw_reliability(table: pandas.DataFrame) -> Figure:
    """A row an image: k-hat of importance weights from each of the three proposals.

    Args:
        table: what `gaps` gives, indexed by the names of the images.
    """
    figure, axes = _bars(len(table))
    rows = np.arange(len(table))
    named = {"": "guide", "_own_family": "guide, refined", "_full_rank": "full rank, refined"}
    marks = zip(named.items(), (GREY, BLUE, ORANGE), "sod", strict=True)
    for (column, label), colour, mark in marks:
        values = table[f"k_hat{column}"].replace(-np.inf, 0).to_numpy(float)
        axes.plot(values, rows, mark, color=colour, label=label)
    axes.axvline(0.7, color="black", linewidth=1, linestyle="--")
    _name_rows(axes, table)
    axes.set_xlabel("k-hat: right of 0.7 estimates of log p(x) cannot be trusted")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def draw_temperature(table: pandas.DataFrame, best: float | None = None) -> Figure:
    """The ELBO's gain over factors of the guide's spread, with two standard errors.

    Args:
        table: what `temperature` gives.
        best: the best factor.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    factors = table.index.to_numpy(float)
    axes.errorbar(factors, table["gain"], 2 * table["gain_error"], fmt="o-", color=BLUE, capsize=3)
    axes.axhline(0, color=GREY, linewidth=1)
    if best is not None:
        axes.axvline(best, color=ORANGE, linestyle="--")
        axes.annotate(
            f"best: {best:.2f}",
            (best, 0.05),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=ORANGE,
        )
    axes.set_xscale("log")
    ticks = [factor for factor in factors if factor == 1 or abs(factor - 1) > 0.1]
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("factor of the guide's standard deviations")
    axes.set_ylabel("gain of the ELBO in nats")
    return figure


def _bars(count: int) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.4 + 0.36 * max(2, count)), layout="constrained")
    return figure, figure.add_subplot()


def _name_rows(axes: Any, table: pandas.DataFrame) -> None:
    axes.set_yticks(np.arange(len(table)), [str(name) for name in table.index])
    axes.set_ylabel(table.index.name or "image")
    axes.invert_yaxis()
