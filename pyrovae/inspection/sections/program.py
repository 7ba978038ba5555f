"""The sites, distributions, dependencies and parameters of model and guide."""

from __future__ import annotations

from collections.abc import Iterable

from pyrovae.inspection.plotting import LABEL, TITLE, canvas
from pyrovae.inspection.program import graphviz_source, parameter_table, site_table
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.utils.lazy import Axes, Figure, pandas
from pyrovae.utils.palette import INK, PALE, PAPER, SOFT

__all__ = ["draw_graph", "section"]

PLACE = 20
#: The distance of sites side by side: a site's distribution stands to its right.
WIDTH = 1.9


def section(subject: Subject) -> Section:
    """Sites, distributions, dependencies and parameters of model and guide."""
    programs = subject.programs
    x, inputs = subject.observed(subject.split.take([0, 0]))
    with subject.quietly():
        sites, parameters = site_table(programs, x, **inputs), parameter_table(programs)
        pairs = {"model.gv": programs.model, "guide.gv": programs.guide}
        sources = {name: graphviz_source(own, x, **inputs) for name, own in pairs.items()}
    said = (
        "Graphs of model and guide. Grey sites are observed; the box is the plate of images; "
        f"shapes are those of one image. Traced on n = 2 images of the split {subject.name}."
    )
    return Section(
        "Which sites do model and guide have?",
        _said(sites, parameters),
        tables={"sites": sites, "parameters": parameters},
        figures={"program": Drawing(draw_graph(sites), said)},
        captions={
            "sites": "Sites of model and guide",
            "parameters": "Parameters per part of model and guide",
        },
        texts={name: text for name, text in sources.items() if text is not None},
    )


def _said(sites: pandas.DataFrame, parameters: pandas.DataFrame) -> list[str]:
    latents = sites[(sites["program"] == "model") & (sites["kind"] == "latent")]
    parts = [
        f"{row['site']} ({row['distribution']}, {'x'.join(map(str, row['event_shape']))})"
        for _, row in latents.iterrows()
    ]
    counts = parameters.groupby("program", sort=False)["trained"].sum()
    sizes = [f"the {name} has {count:,} trained parameters" for name, count in counts.items()]
    return [
        f"The model draws {', then '.join(parts)}, then an image. The guide is the distribution "
        "of these latents given an image.",
        "; ".join(sizes).capitalize() + ".",
    ]


def draw_graph(sites: pandas.DataFrame) -> Figure:
    """Model and guide as graphs: latent sites white, observed ones grey, plates as boxes.

    Args:
        sites: from `site_table`.
    """
    programs = list(sites.groupby("program", sort=False))
    figure, axes = canvas(max(2.4, 0.9 + 0.8 * sites.groupby("program").size().max()), 1, 2)
    for place, (name, own) in zip(axes[0], programs, strict=True):
        _draw(place, own.set_index("site"))
        place.set_title(name, fontsize=TITLE)
    return figure


def _draw(axes: Axes, sites: pandas.DataFrame) -> None:
    parents = {site: [p for p in row.split(", ") if p] for site, row in sites["parents"].items()}
    # x is a parent of the guide's sites, but not one of its sites.
    roots = {p for own in parents.values() for p in own} - set(parents)
    spots = _spots(roots, parents)
    for site, own in parents.items():
        for parent in own:
            # A straight arrow over more than one row would cross the sites between.
            bend = 0.4 if spots[parent][1] - spots[site][1] > 1 else 0
            arrow = {"arrowstyle": "-|>", "color": SOFT, "shrinkA": 16, "shrinkB": 16}
            arrow["connectionstyle"] = f"arc3,rad={bend}"
            axes.annotate("", spots[site], spots[parent], arrowprops=arrow)
    for site, (x, y) in spots.items():
        seen = site in roots or sites.loc[site, "kind"] == "observed"
        # An outline of the text's size: names of sites may be long.
        outline = {
            "boxstyle": "round,pad=0.7,rounding_size=0.7",
            "fc": PALE if seen else PAPER,
            "ec": INK,
        }
        axes.text(
            x,
            y,
            f" {site} " if len(site) < 3 else site,
            ha="center",
            va="center",
            fontsize=TITLE,
            bbox=outline,
        )
        if site in sites.index:
            row = sites.loc[site]
            size = " x ".join(map(str, row["event_shape"]))
            place = x + 0.3 + 0.04 * len(site)
            axes.text(place, y, f"{row['distribution']}\n{size}", va="center", fontsize=LABEL)
    _box(axes, spots.values(), sites["plates"])


def _box(axes: Axes, spots: Iterable[tuple[float, float]], plates: pandas.Series) -> None:
    """Draws the box of the plates around the positions of the sites."""
    from matplotlib.patches import Rectangle

    names = ", ".join(dict.fromkeys(plate for plate in plates if plate))
    low, right = min(y for _, y in spots), 2.0 + max(x for x, _ in spots)
    axes.add_patch(Rectangle((-0.7, low - 0.6), right + 0.7, -low + 1.2, fc="none", ec=SOFT))
    axes.text(right - 0.05, low - 0.55, names, ha="right", va="bottom", fontsize=LABEL, color=SOFT)
    axes.set(xlim=(-0.8, right + 0.1), ylim=(low - 0.7, 0.7))
    axes.set_axis_off()


def _spots(roots: set[str], parents: dict[str, list[str]]) -> dict[str, tuple[float, float]]:
    """The position of each site: one row below its lowest parent, side by side in a row."""
    rows = dict.fromkeys(sorted(roots), 0)
    for site, own in parents.items():  # Parents come before their children.
        rows[site] = 1 + max((rows[parent] for parent in own), default=-1)
    seen: dict[int, int] = {}
    spots = {}
    for site, row in rows.items():
        spots[site] = (WIDTH * seen.get(row, 0), -1.0 * row)
        seen[row] = seen.get(row, 0) + 1
    return spots
