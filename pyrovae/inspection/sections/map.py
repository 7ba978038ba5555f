"""Where are the images in the latent space?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyrovae.inspection import attributes, probing
from pyrovae.inspection.maps import (
    DRAWS,
    latent_grid,
    neighbour_map,
    principal_map,
    prior_quantiles,
    trustworthiness,
)
from pyrovae.inspection.plotting import draw_sheet, shorten
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import CATEGORIES, SEQUENTIAL
from pyrovae.utils.plotting import LABEL, TITLE, canvas, name_axes

__all__ = ["section"]

PLACE = 120

COMPONENT = "principal component"
#: Images on the maps, and attributes that they are coloured by.
POINTS, ATTRIBUTES = 1000, 2
#: Images on a side of the grid of a two-dimensional latent space.
SIDE = 16
#: Named classes with their own colour, and the name of the others.
CLASSES, OTHER = 11, "other or not known"
#: The marks of classes, when all colours are used.
MARKS = "o^s"


def section(subject: Subject) -> Section:
    """Maps of the posterior means, coloured by the attributes that are predicted best."""
    whole, subject = subject, subject.informed()
    count = min(POINTS, len(subject.split))
    rows = np.linspace(0, len(subject.split) - 1, count).astype(int)
    codes = subject.encoded.loc[rows][:, subject.columns]
    known = _known(subject, rows)
    components, shares = principal_map(codes)
    maps = {COMPONENT: components}
    if subject.space.size == 2:
        says, figures = [_plane_said(codes)], {"plane": _plane(subject, rows, known)}
    else:
        if codes.shape[1] > 2:
            near, method = neighbour_map(codes, subject.seed)
            maps[method] = near
        says = [variance_said(shares, codes.shape[1])]
        says += [trust_said(codes, places, name) for name, places in maps.items()]
        figures = {"maps": _maps(subject, maps, known)}
    title, table = "Where are the images in the latent space?", _table(subject, rows, maps)
    if lacking := len(whole.split) - len(subject.split):
        says.append(
            f"{lacking:,} of {len(whole.split):,} images are left out, since an attribute is "
            "unknown for them; --attributes names those that must be known."
        )
    captions = {"maps": "Place of each image on the maps"}
    return Section(title, says, tables={"maps": table}, figures=figures, captions=captions)


def _maps(subject: Subject, maps: dict[str, np.ndarray], known: pandas.DataFrame) -> Drawing:
    methods = [f"a map by {name}, which keeps neighbours close" for name in [*maps][1:]]
    return Drawing(
        _draw_maps(maps, known),
        f"Map of the posterior means of {subject.where(len(known))}: "
        f"{', and '.join(['their principal components', *methods])}. A point is an image, "
        f"coloured by {' and '.join(known)}.",
    )


def _known(subject: Subject, rows: np.ndarray) -> pandas.DataFrame:
    """The values that colour the points: the attributes predicted best, or else the rate."""
    split = subject.split.take(rows)
    rate = pandas.DataFrame({"rate, nats": subject.encoded.rate[rows]}, index=list(split.names))
    if not subject.known_attributes:
        return rate
    table = attributes.attribute_table(split, subject.known_attributes)
    names, _ = probing.enough(table, split.groups)
    if not names:
        return rate
    codes = subject.encoded.loc[rows][:, subject.columns]
    scores = probing.probes(codes, table[names], seed=subject.seed, groups=split.groups)
    best = probing.gains(scores).index
    # In that table each class has its own column, such as `label=3`.
    chosen = dict.fromkeys(
        next(own for own in subject.known_attributes if f"{name}=".startswith(f"{own}="))
        for name in best
    )
    return split.table()[list(chosen)[:ATTRIBUTES]]


def _plane_said(codes: np.ndarray) -> str:
    correlation = float(np.corrcoef(codes.T)[0, 1])
    loc, scale = codes.mean(0), codes.std(0)
    return (
        f"The posterior means are two-dimensional, around ({loc[0]:.2f}, {loc[1]:.2f}) with "
        f"standard deviations {scale[0]:.2f} and {scale[1]:.2f} and correlation "
        f"{correlation:.2f}. The decoder extrapolates where the prior has mass and no image is "
        "encoded."
    )


def variance_said(shares: np.ndarray, dims: int) -> str:
    """A sentence on the shares of the variance that two principal components explain."""
    return (
        f"The first two principal components explain {100 * shares.sum():.0f}% of the variance "
        f"of the posterior means in {dims} dimensions. Two of {dims} equal components would "
        f"explain {200 / dims:.0f}%."
    )


def trust_said(codes: np.ndarray, places: np.ndarray, name: str) -> str:
    """A sentence on how many neighbours on a map are neighbours in the latent space."""
    found = trustworthiness(codes, places)
    name = f"{name}s" if name == COMPONENT else name
    words = "are neighbours" if found > 0.9 else "are often distant"
    return (
        f"Neighbours on the map by {name} {words} in the latent space: its trustworthiness is "
        f"{found:.2f}. It is 1 if the 10 nearest on the map are also near in the latent space, "
        "and about 0.5 by chance."
    )


def _table(subject: Subject, rows: np.ndarray, maps: dict[str, np.ndarray]) -> pandas.DataFrame:
    """One row per image: its coordinates on each map."""
    columns = {f"{name} {i + 1}": places[:, i] for name, places in maps.items() for i in (0, 1)}
    names = [str(name) for name in subject.split.take(rows).names]
    return pandas.DataFrame({"image": names} | columns)


def _plane(subject: Subject, rows: np.ndarray, known: pandas.DataFrame) -> Drawing:
    """Decoded images over the plane of two latents, next to the posterior means."""
    drawn, inputs = subject.prior_draws(DRAWS)
    own = {name: value[:1] for name, value in inputs.items()}
    places = (torch.arange(SIDE) + 0.5) / SIDE
    with subject.quietly(5):
        quantiles = prior_quantiles(subject.space, places, drawn, **inputs)
        grid = latent_grid(subject.space, quantiles, **own).cpu()
    figure, axes = canvas(3.9, 1, 2)
    left, right = axes[0]
    draw_sheet(left, grid, gap=0)
    value = str(known.columns[0])
    _points(right, subject.encoded.loc[rows], known.iloc[:, 0], value)
    right.set_aspect("equal", adjustable="datalim")
    for own_axes in (left, right):
        name_axes(own_axes, *subject.space.names)
    low, high = (100 * float(places[end]) for end in (0, -1))
    return Drawing(
        figure,
        f"The plane of both dimensions. Left: decoded latents, from the {low:.0f}% to the "
        f"{high:.0f}% quantile of the prior in both dimensions, at equal steps of probability. "
        f"Right: posterior means of {subject.where(len(rows))}, coloured by {value}.",
    )


def _draw_maps(maps: dict[str, np.ndarray], known: pandas.DataFrame) -> Figure:
    """A row per attribute, a column per map.

    Args:
        maps: places of N images by the name of the map, `(N, 2)`.
        known: the values that colour the points, N rows.
    """
    height = 3.9 if len(maps) > 1 else 5
    figure, axes = canvas(0.2 + height * known.shape[1], known.shape[1], len(maps))
    for row, name in zip(axes, known, strict=True):
        for own, (title, places) in zip(row, maps.items(), strict=True):
            _points(own, places, known[name], str(name))
            name_axes(own, f"{title} 1", f"{title} 2")
            own.set_xticks([])
            own.set_yticks([])
            own.set_aspect("equal", adjustable="datalim")
    return figure


def _points(axes: Any, places: np.ndarray, column: pandas.Series, name: str) -> None:
    """Draws points coloured by value, with a legend for classes, else with a colour bar.

    The most frequent classes have their own colours.
    """
    axes.set_title(name, fontsize=TITLE)
    own: dict[str, Any] = {"s": 8, "linewidths": 0}
    values, named = column.to_numpy(), column.dtype == "category"
    if named:
        frequent = column.value_counts().index[:CLASSES]
        values = column.astype(object).where(column.isin(frequent), OTHER).to_numpy(str)
    elif not (attributes.is_two_valued(values) or attributes.is_classes(values)):
        shown = axes.scatter(*places.T, c=values, cmap=SEQUENTIAL, **own)
        bar = axes.figure.colorbar(shown, ax=axes, location="bottom", aspect=30, shrink=0.8)
        bar.ax.tick_params(labelsize=LABEL)
        return
    for i, value in enumerate(np.unique(values)):
        color, mark = CATEGORIES[i % len(CATEGORIES)], MARKS[i // len(CATEGORIES) % len(MARKS)]
        own |= {"color": color, "marker": mark}
        label = shorten(str(value)) if named else f"{value:g}"
        axes.scatter(*places[values == value].T, label=label, **own)
    how: dict[str, Any] = {"markerscale": 2, "handletextpad": 0, "columnspacing": 0.6}
    how |= {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "fontsize": LABEL}
    axes.legend(ncols=3 if named else 5, frameon=False, **how)
