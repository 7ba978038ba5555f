"""The graphical model, drawn from a table of sites."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrovae.inspection.figures.canvas import GREY, canvas

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["graph"]


def graph(sites: pandas.DataFrame) -> Figure:
    """Model and guide as graphs: latent sites white, observed ones grey, plates as boxes.

    Args:
        sites: from `site_table`.
    """
    programs = list(sites.groupby("program", sort=False))
    figure, axes = canvas(max(2.4, 0.9 + 0.8 * sites.groupby("program").size().max()), 1, 2)
    for place, (name, own) in zip(axes[0], programs, strict=True):
        _draw(place, own.set_index("site"))
        place.set_title(name, fontsize=11)
    return figure


def _draw(axes: Axes, sites: pandas.DataFrame) -> None:
    from matplotlib.patches import Rectangle

    parents = {site: [p for p in row.split(", ") if p] for site, row in sites["parents"].items()}
    roots = {p for own in parents.values() for p in own} - set(parents)  # the guide's image
    spots = _spots(roots, parents)
    for site, own in parents.items():
        for parent in own:
            arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 16, "shrinkB": 16}
            axes.annotate("", spots[site], spots[parent], arrowprops=arrow)
    for site, (x, y) in spots.items():
        seen = site in roots or sites.loc[site, "kind"] == "observed"
        axes.plot(x, y, "o", ms=30, mfc="#d0d0d0" if seen else "white", mec="black")
        axes.text(x, y, site, ha="center", va="center", fontsize=11)
        if site in sites.index:
            row = sites.loc[site]
            size = " x ".join(map(str, row["event_shape"]))
            axes.text(x + 0.35, y, f"{row['distribution']}\n{size}", va="center", fontsize=9)
    low = min(y for _, y in spots.values())
    plates = ", ".join(dict.fromkeys(p for p in sites["plates"] if p))
    box = Rectangle((-0.7, low - 0.6), 2.7, -low + 1.2, fc="none", ec=GREY)
    axes.add_patch(box)
    axes.text(1.95, low - 0.55, plates, ha="right", va="bottom", fontsize=9, color=GREY)
    axes.set(xlim=(-0.8, 2.1), ylim=(low - 0.7, 0.7))
    axes.set_axis_off()


def _spots(roots: set[str], parents: dict[str, list[str]]) -> dict[str, tuple[float, float]]:
    """Each site one row below the lowest of its parents; those of one row side by side."""
    rows = dict.fromkeys(sorted(roots), 0)
    for site, own in parents.items():  # Programs draw parents first.
        rows[site] = 1 + max((rows[parent] for parent in own), default=-1)
    seen: dict[int, int] = {}
    spots = {}
    for site, row in rows.items():
        spots[site] = (0.9 * seen.get(row, 0), -1.0 * row)
        seen[row] = seen.get(row, 0) + 1
    return spots
