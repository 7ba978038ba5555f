"""Answers on points of the latent space: decoded images, paths, neighbours and directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from pyrovae.commands.explorer.answers.plain import (
    covered,
    floats,
    pictures,
    predicted,
    signed,
    stated,
    thumbnails,
)
from pyrovae.commands.explorer.checking import chosen, numbers, points, text, whole
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.inspection.exploring import Predictions
from pyrovae.inspection.holes import posterior_distances
from pyrovae.inspection.probing import at_chance
from pyrovae.inspection.traversals import linear_path, spherical_path

__all__ = ["attributes", "decode", "ground", "nearest", "path"]

#: Points, steps of a path and neighbours per question.
POINTS, STEPS, NEIGHBOURS = 64, 16, 24
#: The side of the pictures of neighbours.
SIZE = 64
KINDS: dict[str, Callable[..., Tensor]] = {"straight": linear_path, "sphere": spherical_path}
#: The quantiles of log p(z) that the density of a path is compared with.
USUAL = (0.05, 0.5, 0.95)
#: Densities that differ by less, in nats, are the same up to rounding.
SAME = 1e-3


def _start(explorer: Explorer, given: dict[str, Any]) -> int | None:
    """The index of an encoded image of the group of the image that a question starts from."""
    if given.get("name") is None:
        return None
    return explorer.images.seen(text(given, "name")).relative


def ground(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """Points of the latent space that belong to places on a map, decoded."""
    own = explorer.ground(chosen(given, "method", explorer.methods))
    z = own.lift(points(given, "places", 2, POINTS))
    moved, shown = explorer.decode(z, stated(explorer, given))
    images, cover = pictures(explorer, shown), covered(explorer, moved)
    return {"z": floats(moved), "images": images, "cover": cover}


def decode(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """Decoded points, their cover, and the attributes predicted from them.

    A posterior does not count as cover if a point is its mean, or if it is that of the image
    `name`, which the points start from.
    """
    z = points(given, "z", explorer.size, POINTS)
    moved, shown = explorer.decode(z, stated(explorer, given))
    return {
        "images": pictures(explorer, shown),
        "cover": covered(explorer, moved, [_start(explorer, given), *map(explorer.row_at, z)]),
        "predicted": predicted(explorer, moved),
    }


def path(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """A decoded path between two points, with log p(z) along it.

    Where an end is the posterior mean of an encoded image, its posterior does not count as cover.
    """
    ends = [numbers(given, name, explorer.size) for name in ("first", "second")]
    steps = whole(given, "steps", 2, STEPS, 9)
    line = KINDS[chosen(given, "kind", KINDS)](*map(explorer.tensor, ends), steps)
    inputs = stated(explorer, given)
    moved, shown = explorer.decode(line.cpu().double().numpy(), inputs)
    encoded = explorer.subject.encoded
    usual = np.quantile(encoded.log_p, USUAL) if np.isfinite(encoded.log_p).all() else None
    density = explorer.log_prior(moved, inputs)
    return {
        "images": pictures(explorer, shown),
        "z": floats(moved),
        "density": floats(density),
        "usual": [None] * len(USUAL) if usual is None else usual.tolist(),
        "cover": covered(explorer, moved, map(explorer.row_at, ends)),
        "says": _path_said(density, usual),
    }


def _path_said(density: np.ndarray, usual: np.ndarray | None) -> str:
    if usual is None or not np.isfinite(density).all():
        return "The density along the path is not known: the prior has no density."
    if np.ptp([*density, usual[0], usual[2]]) < SAME:
        return "The prior has the same density everywhere."
    low, at = float(density.min()), int(density.argmin())
    at_ends = {0: "at the start", len(density) - 1: "at the end"}
    place = at_ends.get(at, f"{at / (len(density) - 1):.0%} of the way")
    where = "below" if low < usual[0] else "above" if low > usual[2] else "within"
    return signed(
        f"log p(z) is lowest {place}, {low:,.1f} nats: {where} the range of 90% of the "
        f"encodings, {usual[0]:,.1f} to {usual[2]:,.1f} nats."
    )


def nearest(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """The encoded images whose posteriors are nearest to a point.

    Distances are those of `nearest_posteriors`: in standard deviations of each posterior. Values
    of a discrete site have none.
    """
    z = numbers(given, "z", explorer.size)
    count = min(whole(given, "count", 1, NEIGHBOURS, 8), len(explorer.names))
    encoded, real = explorer.subject.encoded, explorer.subject.columns
    both = encoded.loc[:, real], encoded.scale[:, real]
    distances = next(posterior_distances(z[None, real], *both))[0]
    order = np.argsort(distances, kind="stable")[:count]
    return {
        "names": [explorer.names[row] for row in order],
        "distances": floats(distances[order]),
        "sprite": thumbnails(explorer, order.tolist(), SIZE),
        "size": SIZE,
        "says": "Distance to each posterior, in its standard deviations.",
    }


def attributes(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """Directions of attributes, and how well each attribute is predicted."""
    found = explorer.predictions
    if isinstance(found, str):
        return {"attributes": [], "left_out": {}, "says": f"{found}."}
    left_out = found.left_out | dict.fromkeys(
        map(str, at_chance(explorer.scores).index), "not predicted from the posterior means"
    )
    rows = [
        _attribute(explorer, found, place)
        for place, name in enumerate(found.table.columns)
        if str(name) not in left_out
    ]
    says = (
        "Each direction is the mean change of the encodings with the attribute. Attributes that "
        "are correlated with it in the data change too."
    )
    return {"attributes": rows, "left_out": left_out, "says": says}


def _attribute(explorer: Explorer, found: Predictions, place: int) -> dict[str, Any]:
    """One attribute: half its range is one step of its direction."""
    name = found.table.columns[place]
    low, high, score = found.ends.low[name], found.ends.high[name], explorer.scores.loc[name]
    move, change = found.moves[place], 2 * found.slopes[place] @ found.moves[place]
    kind = "AUC" if score.score == "AUC" else "R²"
    value = round(score.value, 2) + 0.0  # Not -0.00.
    return {
        "name": str(name),
        "vector": floats(move),
        "low": float(low),
        "high": float(high),
        "score": float(score.value),
        "error": float(score.error),
        "says": signed(
            f"{kind} {value:.2f} ± {score.error:.2g} on held-out images, whose predictions "
            f"have errors of {found.errors[place]:.2g}. From end to end, the prediction changes "
            f"by {change:.2g}; the attribute ranges from {low:.2g} to {high:.2g}."
        ),
    }
