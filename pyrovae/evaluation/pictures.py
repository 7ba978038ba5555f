"""Pictures of several runs: their scores, and their learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.run_scores import RunScores
from pyrovae.evaluation.seeds import Sweep
from pyrovae.evaluation.tables import FIRST, MORE, Columns, called
from pyrovae.runs import RunDirectory
from pyrovae.utils.files import replacing
from pyrovae.utils.lazy import Figure
from pyrovae.utils.lazy import pandas as pd
from pyrovae.utils.palette import CATEGORIES, GRID, INK, PAPER, SOFT
from pyrovae.utils.plotting import least_shown, legend, limit_axis, name_axes, panel
from pyrovae.utils.text import legible

__all__ = ["draw_curves", "draw_scores"]

#: Inches of the width of a panel, and of a letter of its title.
PANEL, LETTER = 4.4, 0.068
#: Differences to the first run are on a logarithmic axis if one is this many times another.
FAR_APART = 30
#: Title and scores of each panel. A panel has one row per run.
PANELS: list[tuple[str, tuple[str, ...]]] = [
    ("log p(x) (dot), ELBO (ring), nats: higher is better", ("log_evidence", "elbo")),
    ("log p(x) (dot), ELBO (ring), nats, minus the first run", tuple(MORE.values())),
    ("bits per dimension, upper bound: lower is better", ("bits_per_dim",)),
    ("rate (dot), I(x; z), lower bound (ring), nats", ("rate", "mutual_information")),
    ("active units", ("active_units",)),
    ("PSNR of reconstructions, dB: higher is better", ("psnr",)),
    ("samples: coverage (dot), density (ring): 1 is best", ("coverage", "density")),
    ("samples: Frechet distance: lower is better", ("frechet",)),
]
#: The style of a curve: of a single epoch, only the point is seen.
LINE: dict[str, Any] = {"lw": 1.2, "marker": "o", "ms": 2.5}


def draw_scores(columns: Columns, colours: Mapping[str, int], title: str, path: Path) -> None:
    """Draws one panel per score and one row per run; the axis names runs in their colour.

    Args:
        columns: the scores of runs and baselines.
        colours: the index of the model of each run; differences are to the first run.
        title: what is scored.
        path: of the picture.
    """
    names = [*colours]
    panels = [panel for panel in PANELS if _differ([columns[n] for n in names], panel[1])]
    across = min(3, max(1, len(panels)))
    down = max(1, math.ceil(len(panels) / across))
    size = (PANEL * across, down * (1.2 + 0.32 * len(names)))
    picture = Figure(figsize=size, layout="constrained")
    picture.suptitle(fill(title, int(12 * size[0])), fontsize=9, color=SOFT)
    places = list(picture.subplots(down, across, squeeze=False, sharey=True).flat)
    letters = int((size[0] / LETTER - max(map(len, names))) / across)
    for axes, (heading, scores) in zip(places, panels, strict=False):
        heading = heading.replace(FIRST, called(names[0]))
        _points(axes, columns, colours, fill(heading, max(letters, 30)), scores)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    with replacing(path) as temporary, legible(picture):
        picture.savefig(temporary, format="png", dpi=130)


def _colour(place: int) -> str:
    return CATEGORIES[place % len(CATEGORIES)]


def _differ(runs: Sequence[Mapping[str, Estimate]], names: Sequence[str]) -> bool:
    """Whether one of some scores is known, and not the same whole number for all runs."""
    known = [own[name] for own in runs for name in names if name in own]
    values = [found.value for found in known if math.isfinite(found.value)]
    return bool(values) and (len({*values}) > 1 or any(found.error for found in known))


def _points(
    axes: Any, columns: Columns, colours: Mapping[str, int], heading: str, scores: Sequence[str]
) -> None:
    """One row per run in the colour of its model."""
    names = [*colours]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for place, name in enumerate(names):
        color = _colour(colours[name])
        for filled, score in zip((True, False), scores, strict=False):
            found = columns[name].get(score)
            if found is None:
                continue
            error = None if found.error is None else 2 * found.error
            style = {"color": color, "markerfacecolor": color if filled else PAPER}
            axes.errorbar([found.value], [place], xerr=error, fmt="o", capsize=3, **style)
    # Only the first panel of a row names the runs.
    for label, name in zip(axes.get_yticklabels(), names, strict=False):
        label.set_color(_colour(colours[name]))
    axes.locator_params(axis="x", nbins=5)
    if any(score in MORE.values() for score in scores):
        axes.axvline(0, color=INK, linewidth=0.8)
        heading += _far_apart(axes, columns, names, scores)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_title(heading, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color=GRID, linewidth=0.6)


def _far_apart(axes: Any, columns: Columns, names: Sequence[str], scores: Sequence[str]) -> str:
    """Makes the axis of differences logarithmic if one would hide the others; says so."""
    found = [columns[name].get(score) for name in names for score in scores]
    shown = [own.value for own in found if own is not None and math.isfinite(own.value)]
    values = sorted((own for own in shown if own), key=abs)
    if not values or abs(values[-1]) <= FAR_APART * abs(values[0]):
        return ""
    near = 10.0 ** math.ceil(math.log10(max(abs(values[0]), 1.0)))
    axes.set_xscale("symlog", linthresh=near)
    # The automatic limits cut the outermost points off.
    axes.set_xlim(3 * min(*values, -near / 6), 3 * max(*values, near / 6))
    return " (log scale)"


def draw_curves(named: Mapping[str, RunScores], sweep: Sweep, path: Path) -> bool:
    """Draws the validation ELBO of each run over its epochs, in the colour of its model.

    Args:
        named: the results by the names of their runs; runs without `metrics.csv` are left out.
        sweep: the runs by model.
        path: of the picture.

    Returns:
        Whether there was a curve to draw.
    """
    curves = {name: _curve(result) for name, result in named.items()}
    known = {name: own for name, own in curves.items() if len(own)}
    if not known:
        return False
    picture, axes = panel(3.0 + 0.2 * len(sweep.groups))
    for place, (model, runs) in enumerate(sweep.groups.items()):
        labels = {run: model for run in [own for own in runs if own in known][:1]}
        for run in (own for own in runs if own in known):
            axes.plot(known[run], color=_colour(place), label=labels.get(run), **LINE)
    values = [own.to_numpy() for own in known.values()]
    limit_axis(axes, values, least_shown(values))
    scale = " of grey values" if any(result.shift for result in named.values()) else ""
    name_axes(axes, "epoch", f"validation ELBO{scale}, nats per image")
    axes.locator_params(axis="x", integer=True)
    legend(picture, axes, 1)
    with replacing(path) as temporary, legible(picture):
        picture.savefig(temporary, format="png", dpi=130)
    return True


def _curve(result: RunScores) -> pd.Series:
    """The finite validation ELBOs of a run by epoch, of grey values; empty if none is known."""
    try:
        rows = pd.read_csv(RunDirectory(result.run).metrics, index_col="epoch")
        found = pd.to_numeric(rows["val_elbo"]).dropna() + result.shift
    except (OSError, ValueError, KeyError):
        return pd.Series(dtype=float)
    return found[found.abs() < math.inf]
