"""What lies between two images?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pyrovae.inspection.plotting import image_sheet
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.sections.traversals import shown_means
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.traversals import linear_path, show_within, spherical_path
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import Figure, pandas

__all__ = ["paths", "section"]

PLACE = 90

#: Points of a path, and draws of the prior whose lengths are measured.
STEPS, DRAWS = 9, 500
KINDS: dict[str, Callable[[Tensor, Tensor, int], Tensor]]
KINDS = {"straight": linear_path, "arc": spherical_path}
Paths = dict[tuple[str, str], tuple[Tensor, dict[str, Tensor]]]


def section(subject: Subject) -> Section:
    """Straight lines and arcs between two images, and between two draws of the prior."""
    if len(subject.shown) < 2:
        raise InputError(
            f"a path between images needs at least 2 shown images, got {len(subject.shown)}"
        )
    found, lengths = paths(subject), _lengths(subject)
    table = _table(found, lengths)
    names = [str(name) for name in subject.shown.names[:2]]
    drawing = Drawing(
        _sheet(subject, found),
        f'Decoded paths. Rows "images" go from the posterior mean of {names[0]} to that of '
        f'{names[1]}, the first two of {subject.shown_where()}; rows "prior" go from one draw '
        f"of the prior to another. Both go along the straight line and along the arc around 0. "
        f"Columns are shares of the path.",
    )
    return Section(
        "What lies between two images?",
        _says(table, lengths),
        tables={"paths": table},
        figures={"paths": drawing},
        captions={"paths": "Length of each point, and the share of shorter latents"},
    )


def paths(subject: Subject) -> Paths:
    """Points `(9, D)` by ends (images, prior) and kind of path, with the programs' inputs.

    The inputs are interpolated linearly between those of the two ends.
    """
    z, inputs = shown_means(subject)
    drawn, taken = subject.prior_draws(2)
    ends = {"images": (z[:2], inputs), "prior": (drawn, taken)}
    found = {}
    for name, (points, given) in ends.items():
        between = {
            key: linear_path(value[0].double(), value[1].double(), STEPS).to(value)
            for key, value in given.items()
        }
        for kind, path in KINDS.items():
            found[name, kind] = path(points[0], points[1], STEPS), between
    return found


def _lengths(subject: Subject) -> dict[str, np.ndarray]:
    """Lengths of all posterior means, and of draws of the prior."""
    drawn, _ = subject.prior_draws(DRAWS)
    found = {"images": subject.encoded.loc, "prior": drawn.cpu().double().numpy()}
    return {name: np.linalg.norm(values, axis=1) for name, values in found.items()}


def _table(found: Paths, lengths: dict[str, np.ndarray]) -> pandas.DataFrame:
    """A row per point: its length, and the share of posterior means or draws that are shorter."""
    rows = []
    for (ends, kind), (points, _) in found.items():
        for step, length in enumerate(points.norm(dim=1).cpu().double().numpy()):
            share = float((lengths[ends] < length).mean())
            rows.append((ends, kind, step / (len(points) - 1), length, share))
    return pandas.DataFrame(rows, columns=["between", "path", "t", "length", "shorter"])


def _sheet(subject: Subject, found: Paths) -> Figure:
    with subject.quietly(3):
        rows = [show_within(subject.space, z, **inputs).cpu() for z, inputs in found.values()]
    labels = [f"{ends}\n{kind}" for ends, kind in found]
    columns = [f"{100 * t:.0f}%" for t in np.linspace(0, 1, STEPS)]
    return image_sheet(torch.stack(rows), labels, columns, label_inches=0.8)


def _says(table: pandas.DataFrame, lengths: dict[str, np.ndarray]) -> list[str]:
    """The lengths of the points half-way, and those of posterior means or draws of the prior."""
    half = table[(table["t"] - 0.5).abs() < 1e-9].set_index(["between", "path"])["length"]
    said = []
    for ends, each in (("images", "posterior means"), ("prior", "draws of the prior")):
        low, high = np.quantile(lengths[ends], (0.025, 0.975))
        straight, arc = (half[ends, kind] for kind in KINDS)
        said.append(
            f"Half-way between two {each}, the point on the straight line has length "
            f"{straight:.2f} ({_where(straight, low, high)}) and the point on the arc {arc:.2f} "
            f"({_where(arc, low, high)}). 95% of all {each} have lengths from {low:.2f} to "
            f"{high:.2f}."
        )
    return [*said, "The decoder extrapolates at lengths outside that range."]


def _where(length: float, low: float, high: float) -> str:
    if low <= length <= high:
        return "usual"
    return "shorter than usual" if length < low else "longer than usual"
