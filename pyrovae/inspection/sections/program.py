"""The sites, distributions, dependencies and parameters of model and guide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyrovae.inspection.program import graphviz_source, parameter_table, site_table
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.utils.lazy import Axes, Figure, pandas
from pyrovae.utils.palette import INK, PALE, PAPER, SOFT
from pyrovae.utils.plotting import LABEL, TITLE, canvas

__all__ = ["draw_graph", "section"]

PLACE = 20
#: The distance of sites side by side: a site's distribution stands to its right.
WIDTH = 1.9
ARROW: dict[str, Any] = {"arrowstyle": "-|>", "color": SOFT, "shrinkA": 2, "shrinkB": 2}


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


def _shape(row: Any) -> str:
    """The event shape of a site, such as 1x28x28; "" for a number."""
    return "x".join(map(str, row["event_shape"]))


def _said(sites: pandas.DataFrame, parameters: pandas.DataFrame) -> list[str]:
    latents = sites[(sites["program"] == "model") & (sites["kind"] == "latent")]
    parts = [
        f"{row['site']} ({', '.join(filter(None, [row['distribution'], _shape(row)]))})"
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
    programs = {name: own.set_index("site") for name, own in sites.groupby("program", sort=False)}
    height = max(2.4, 0.9 + 0.8 * sites.groupby("program").size().max())
    # Sites side by side need the whole width.
    wide = any(x > 0 for own in programs.values() for x, _ in _spots(own).values())
    figure, axes = canvas(2 * height, 2, 1) if wide else canvas(height, 1, 2)
    for place, (name, own) in zip(axes.flat, programs.items(), strict=True):
        _draw(place, own)
        place.set_title(name, fontsize=TITLE)
    return figure


def _parents(sites: pandas.DataFrame) -> dict[str, list[str]]:
    """The parents of each site."""
    return {site: [p for p in row.split(", ") if p] for site, row in sites["parents"].items()}


def _draw(axes: Axes, sites: pandas.DataFrame) -> None:
    parents, spots = _parents(sites), _spots(sites)
    outlines: dict[str, Any] = {}
    for site, spot in spots.items():
        seen = site not in parents or sites.loc[site, "kind"] == "observed"
        outlines[site] = _node(axes, site, spot, PALE if seen else PAPER)
        if site in sites.index:
            _describe(axes, outlines[site], sites.loc[site])
    for site, own in parents.items():
        for parent in own:
            # A straight arrow over more than one row would cross the sites between.
            bend = 0.4 if spots[parent][1] - spots[site][1] > 1 else 0
            ends = {"patchA": outlines[parent], "patchB": outlines[site]}
            arrow = ARROW | ends | {"connectionstyle": f"arc3,rad={bend}"}
            axes.annotate("", spots[site], spots[parent], arrowprops=arrow)
    _box(axes, spots.values(), sites["plates"])


def _node(axes: Axes, site: str, spot: tuple[float, float], color: str) -> Any:
    """Draws a site; returns its outline, which has the size of the name."""
    outline = {"boxstyle": "round,pad=0.7,rounding_size=0.7", "ec": INK, "fc": color}
    name = f" {site} " if len(site) < 3 else site
    text = axes.text(*spot, name, ha="center", va="center", fontsize=TITLE, bbox=outline)
    return text.get_bbox_patch()


def _describe(axes: Axes, outline: Any, row: pandas.Series) -> None:
    """Writes distribution and shape to the right of a site's outline."""
    size = " x ".join(map(str, row["event_shape"]))
    place: dict[str, Any] = {"xycoords": outline, "xytext": (5, 0), "textcoords": "offset points"}
    words = f"{row['distribution']}\n{size}"
    beside = axes.annotate(words, (1, 0.5), va="center", fontsize=LABEL, **place)
    beside.set_in_layout(False)  # It lies in the box of the plates.


def _box(axes: Axes, spots: Iterable[tuple[float, float]], plates: pandas.Series) -> None:
    """Draws the box of the plates around the positions of the sites."""
    from matplotlib.patches import Rectangle

    names = ", ".join(dict.fromkeys(plate for plate in plates if plate))
    low, right = min(y for _, y in spots), 2.0 + max(x for x, _ in spots)
    axes.add_patch(Rectangle((-0.7, low - 0.6), right + 0.7, -low + 1.2, fc="none", ec=SOFT))
    axes.text(right - 0.05, low - 0.55, names, ha="right", va="bottom", fontsize=LABEL, color=SOFT)
    axes.set(xlim=(-0.8, right + 0.1), ylim=(low - 0.7, 0.7))
    axes.set_axis_off()


def _spots(sites: pandas.DataFrame) -> dict[str, tuple[float, float]]:
    """The position of each site: one row below its lowest parent, side by side in a row."""
    parents = _parents(sites)
    # x is a parent of the guide's sites, but not one of its sites.
    roots = {p for own in parents.values() for p in own} - set(parents)
    rows = dict.fromkeys(sorted(roots), 0)
    for site, own in parents.items():  # Parents come before their children.
        rows[site] = 1 + max((rows[parent] for parent in own), default=-1)
    seen: dict[int, int] = {}
    spots = {}
    for site, row in rows.items():
        spots[site] = (WIDTH * seen.get(row, 0), -1.0 * row)
        seen[row] = seen.get(row, 0) + 1
    return spots
