"""The overview of a run directory: its curve and its page."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.runs import RunDirectory
from pyrovae.training.loggers.base import Config
from pyrovae.training.rows import read_rows
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replace_file
from pyrovae.utils.pages import template
from pyrovae.utils.palette import GUIDE, GUIDE_LIGHT, SOFT
from pyrovae.utils.plain import flat, spelled
from pyrovae.utils.plotting import (
    LABEL,
    canvas,
    least_shown,
    limit_axis,
    name_axes,
    short_ticks,
    whole_ticks,
)

if TYPE_CHECKING:
    import jinja2
    from matplotlib.axes import Axes

__all__ = ["draw_elbo", "refresh_index", "write_curve", "write_index"]

Rows = Sequence[Mapping[str, Any]]

#: Results that other commands write into a run directory, by the text of their link.
RESULTS = {
    "evaluation": "evaluation.json",
    "evaluation per image": "evaluation_images.csv",
    "earlier evaluation": "evaluation_*.json",
    "earlier evaluation per image": "evaluation_images_*.csv",
    "comparison": "comparison.csv",
    "comparison over seeds": "comparison_seeds.csv",
    "pictures of the comparison": "comparison*.png",
    "posterior report": "posterior*/report*.html",
    "posterior comparison": "posterior*/compare*.html",
    "metrics": "metrics.csv",
    "options": "config.yaml",
}
#: The colours of the splits.
SPLITS = {"training": GUIDE_LIGHT, "validation": GUIDE}
#: Pixels per inch of the curve.
DPI = 110


def write_curve(run: RunDirectory, rows: Rows) -> None:
    """Draws the ELBO and the rate over the epochs as `curve.png`.

    Args:
        run: the run directory.
        rows: the rows of `metrics.csv`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, axes = canvas(2.7, 1, 2)
    # Fitting the margins and the legend would double the time of an epoch's curve.
    figure.set_layout_engine("none")
    for own, left in zip(axes[0], (0.13, 0.63), strict=True):
        own.set_position((left, 0.19, 0.355, 0.7))
    draw_elbo(axes[0, 0], rows)
    # A rate may be too high or too low: no value of it is a bad one.
    own = axes[0, 1]
    limit_axis(own, _lines(own, rows, "rate (nats per image)", ("train_rate", "val_rate")))
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="upper right", ncols=2, fontsize=LABEL, frameon=False)
    content = io.BytesIO()
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(content)  # `savefig` draws twice, for the layout.
    replace_file(run.curve, content.getvalue())


def draw_elbo(axes: Axes, rows: Rows) -> None:
    """Draws the ELBO of the training and of the validation split, and marks the best epoch.

    Args:
        axes: where to draw.
        rows: the rows of `metrics.csv`, as text or as numbers.
    """
    found = _lines(axes, rows, "ELBO (nats per image)", ("train_elbo", "val_elbo"))
    limit_axis(axes, found, least_shown(found))
    _mark_best(axes, rows)


def _lines(axes: Axes, rows: Rows, title: str, names: tuple[str, str]) -> list[np.ndarray]:
    """Draws one quantity of the training and of the validation split; returns both."""
    epochs = [int(row["epoch"]) for row in rows]
    found = []
    for name, (label, color) in zip(names, SPLITS.items(), strict=True):
        values = [_number(row.get(name, "")) for row in rows]
        axes.plot(epochs, values, color=color, label=label, lw=1.4, marker="o", ms=2.5)
        found.append(np.array(values))
    whole_ticks(axes.xaxis)
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    short_ticks(axes.yaxis)
    name_axes(axes, "epoch", title)
    return found


def _mark_best(axes: Axes, rows: Rows) -> None:
    """Marks the epoch with the highest validation ELBO."""
    known = [row for row in rows if math.isfinite(_number(row["val_elbo"]))]
    if known:
        best = max(known, key=lambda row: float(row["val_elbo"]))
        axes.axvline(int(best["epoch"]), color=SOFT, lw=0.8, ls=":")
        title = f"best: {float(best['val_elbo']):,.1f} in epoch {best['epoch']}"
        axes.set_title(title, fontsize=LABEL, color=SOFT, loc="left")


def write_index(run: RunDirectory, rows: Rows) -> None:
    """Writes `index.html`, which links only to files that exist.

    Args:
        run: the run directory.
        rows: the rows of `metrics.csv`.
    """
    text = _template().render(
        title=run.root.resolve().name,
        last=rows[-1] if rows else {},
        curve=run.curve.name if run.curve.exists() else "",
        pictures=dict(_pictures(run)),
        warnings=_text(run.warnings).splitlines(),
        links=list(_links(run.root)),
        settings=_settings(run),
    )
    replace_file(run.index, text)


def refresh_index(root: str | Path) -> None:
    """Writes `index.html` of a run again, if it has one: there may be new results to link to."""
    run = RunDirectory(root)
    if not run.index.exists():
        return
    try:
        rows = read_rows(run.metrics) if run.metrics.exists() else []
    except InputError:  # A damaged file must not prevent the page.
        rows = []
    try:
        write_index(run, rows)
    except OSError as error:  # The run may lie where nobody can write; the results are elsewhere.
        logger = logging.getLogger("pyrovae")
        logger.warning("%s: has no links to the new results: %s", run.index, error.strerror)


@cache
def _template() -> jinja2.Template:
    return template("pyrovae.training", "run.html.j2", number=_shown)


def _pictures(run: RunDirectory) -> Iterator[tuple[str, str]]:
    """The newest picture of each kind: title and relative path."""
    for kind in ("samples", "reconstructions"):
        if found := sorted((run.root / kind).glob("epoch_*.png")):
            epoch = int(found[-1].stem.partition("_")[2])
            yield f"{kind.capitalize()} after epoch {epoch}", f"{kind}/{found[-1].name}"


def _links(root: Path) -> Iterator[tuple[str, str]]:
    for name, pattern in RESULTS.items():
        for path in sorted(root.glob(pattern)):
            relative = path.relative_to(root).as_posix()
            yield (name if "*" not in pattern else f"{name} ({relative})"), relative


def _settings(run: RunDirectory) -> dict[str, str]:
    options = run.options()
    kept = Config(options)  # Without callbacks and loggers.
    return {name: spelled(own) for name, own in flat(options).items() if name in kept}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _number(cell: Any) -> float:
    return math.nan if cell in ("", None) else float(cell)


def _shown(cell: str) -> str:
    """A number of `metrics.csv` for the page: two decimals, or four digits if it is small."""
    value = _number(cell)
    if cell.isdigit():
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4g}"
