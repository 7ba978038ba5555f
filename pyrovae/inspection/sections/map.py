"""How do the images lie in the latent space?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pyrovae.inspection.attributes import attribute_table, enough, gains, probes
from pyrovae.inspection.figures.maps import map_panels, plane
from pyrovae.inspection.maps import (
    DRAWS,
    latent_grid,
    neighbour_map,
    principal_map,
    prior_quantiles,
    trustworthiness,
)
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 120

COMPONENT = "principal component"
#: Images on the maps, and attributes that they are coloured by.
POINTS, ATTRIBUTES = 1000, 2
#: Images on a side of the grid of a two-dimensional latent space.
SIDE = 16


def section(subject: Subject) -> Section:
    """Maps of the posterior means, coloured by the attributes that are read best."""
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
        says = [_variance_said(shares, codes.shape[1])]
        says += [_trust_said(codes, places, name) for name, places in maps.items()]
        figures = {"maps": _maps(subject, maps, known)}
    return Section(
        "How do the images lie in the latent space?",
        says,
        tables={"maps": _table(subject, rows, maps)},
        figures=figures,
    )


def _maps(subject: Subject, maps: dict[str, np.ndarray], known: pandas.DataFrame) -> Drawing:
    methods = [f"a map by {name} on which near images are near" for name in [*maps][1:]]
    return Drawing(
        map_panels(maps, known),
        f"Posterior means of {subject.where(len(known))}: "
        f"{', and '.join(['their principal components', *methods])}. Each point is an image; "
        f"coloured by {' and '.join(known)}.",
    )


def _known(subject: Subject, rows: np.ndarray) -> pandas.DataFrame:
    """What points are coloured by: the attributes that are read best, or else the rate."""
    import pandas

    split = subject.split.take(rows)
    rate = pandas.DataFrame({"rate, nats": subject.encoded.rate[rows]}, index=list(split.names))
    if not subject.known_attributes:
        return rate
    table = attribute_table(split, subject.known_attributes)
    names, _ = enough(table)
    if not names:
        return rate
    codes = subject.encoded.loc[rows][:, subject.columns]
    best = gains(probes(codes, table[names], seed=subject.seed)).index
    # Classes are columns of their own there, as `label=3`.
    chosen = dict.fromkeys(
        name if name in subject.known_attributes else name.rpartition("=")[0] for name in best
    )
    return split.table()[list(chosen)[:ATTRIBUTES]]


def _plane_said(codes: np.ndarray) -> str:
    correlation = float(np.corrcoef(codes.T)[0, 1])
    loc, scale = codes.mean(0), codes.std(0)
    return (
        f"The posterior means lie in a plane, around ({loc[0]:.2f}, {loc[1]:.2f}) with standard "
        f"deviations {scale[0]:.2f} and {scale[1]:.2f} and correlation {correlation:.2f}; where "
        "the prior draws and no image lies, the decoder has to guess."
    )


def _variance_said(shares: np.ndarray, dims: int) -> str:
    return (
        f"The first two principal components hold {100 * shares.sum():.0f} % of the variance of "
        f"the posterior means in {dims} dimensions (two of {dims} equal ones would hold "
        f"{200 / dims:.0f} %)."
    )


def _trust_said(codes: np.ndarray, places: np.ndarray, name: str) -> str:
    found = trustworthiness(codes, places)
    name = f"{name}s" if name == COMPONENT else name
    words = "can be trusted" if found > 0.9 else "are often not near in truth"
    return (
        f"Neighbours on the map by {name} {words}: its trustworthiness is {found:.2f} (1 if all "
        "of the 10 nearest are near in all dimensions, about 0.5 by chance)."
    )


def _table(subject: Subject, rows: np.ndarray, maps: dict[str, np.ndarray]) -> pandas.DataFrame:
    """A row an image: its place on each map."""
    import pandas

    columns = {f"{name} {i + 1}": places[:, i] for name, places in maps.items() for i in (0, 1)}
    names = [str(name) for name in subject.split.take(rows).names]
    return pandas.DataFrame({"image": names} | columns)


def _plane(subject: Subject, rows: np.ndarray, known: pandas.DataFrame) -> Drawing:
    """What two latents decode to, beside where the images are."""
    drawn, inputs = subject.prior_draws(DRAWS)
    own = {name: value[:1] for name, value in inputs.items()}
    places = (torch.arange(SIDE) + 0.5) / SIDE
    with subject.quietly(5):
        quantiles = prior_quantiles(subject.space, places, drawn, **inputs)
        grid = latent_grid(subject.space, quantiles, **own).cpu()
    names = [*subject.space.names, str(known.columns[0])]
    low, high = (100 * float(places[end]) for end in (0, -1))
    return Drawing(
        plane(grid, subject.encoded.loc[rows], known.iloc[:, 0].to_numpy(), names),
        f"Left: decoded latents, from the {low:.0f} % to the {high:.0f} % quantile of the prior "
        f"in both dimensions, evenly in probability. Right: posterior means of "
        f"{subject.where(len(rows))}, coloured by {names[2]}.",
    )
