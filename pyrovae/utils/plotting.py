"""Figures without pyplot's global state: sizes, axes and legends.

Colours are in `pyrovae.utils.palette`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.utils.lazy import Axes, Figure
from pyrovae.utils.palette import SOFT

if TYPE_CHECKING:
    from matplotlib.axis import Axis

__all__ = [
    "LABEL",
    "SMALL",
    "TITLE",
    "WIDTH",
    "canvas",
    "empty",
    "least_shown",
    "legend",
    "limit_axis",
    "name_axes",
    "panel",
    "panels",
    "short_ticks",
    "without_outliers",
]

#: Ticks of as many characters at most are not in scientific notation.
SHORT = 8
#: Fewer values than this have no outliers.
FEW = 20
#: The share of the first epochs that may lie below the panel of a curve.
HIDDEN = 0.1
#: A value is not shown if it is below the middle four fifths by this multiple of their range.
FAR = 3.0
#: The width of a figure in inches; text is readable on a telephone.
WIDTH = 7.0
#: Font sizes in points: titles and names of axes, ticks and legends, crowded ticks.
TITLE, LABEL, SMALL = 10, 9, 7


def empty(height: float, width: float = WIDTH) -> Figure:
    """A figure without axes.

    Args:
        height: in inches.
        width: in inches.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # With the usual margins, labels left of images touch the edge.
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06))


def canvas(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **grid: Any
) -> tuple[Figure, Any]:
    """A figure without pyplot's global state, and its axes as an array `(rows, columns)`.

    Args:
        height: in inches.
        rows: of axes.
        columns: of axes.
        width: in inches.
        **grid: as for `Figure.subplots`.
    """
    from matplotlib import rc_context

    with rc_context({"font.size": TITLE, "axes.spines.top": False, "axes.spines.right": False}):
        figure = empty(height, width)
        axes = figure.subplots(rows, columns, squeeze=False, **grid)
    for own in axes.flat:
        own.tick_params(labelsize=LABEL)
    return figure, axes


def panel(height: float, **how: Any) -> tuple[Figure, Axes]:
    """A figure and its only axes; arguments as for `canvas`."""
    figure, axes = canvas(height, **how)
    return figure, axes[0, 0]


def panels(count: int, columns: int, margin: float, each: float) -> tuple[Figure, list[Axes]]:
    """A figure and its first `count` axes, row by row; the others of the last row are hidden.

    Args:
        count: of axes.
        columns: of axes.
        margin: inches of the height that no row takes.
        each: inches per row.
    """
    rows = -(-count // columns)
    figure, axes = canvas(margin + each * rows, rows, columns)
    for unused in axes.flat[count:]:
        unused.set_visible(False)
    return figure, list(axes.flat[:count])


def without_outliers(values: np.ndarray, tails: float, far: float = 0.3) -> tuple[float, float]:
    """The range of the values that are not far beyond their quantiles.

    Args:
        values: finite; fewer than 20 have no outliers.
        tails: the share of values beyond the quantile at either end.
        far: outliers are beyond the quantiles by this share of their distance.
    """
    if len(values) < FEW:
        return float(values.min()), float(values.max())
    low = float(np.quantile(values, tails, method="higher"))
    high = float(np.quantile(values, 1 - tails, method="lower"))
    room = far * (high - low)
    inner = values[(values >= low - room) & (values <= high + room)]
    return float(inner.min()), float(inner.max())


def least_shown(found: Sequence[np.ndarray]) -> float:
    """The lowest value to show, if higher is better.

    The first epochs and values far below the others may be lower, but not the best and the last
    epoch.
    """
    later = _later(found)
    finite = [own[np.isfinite(own)] for own in found]
    ends = [float(end) for own in finite if len(own) for end in (own.max(), own[-1])]
    low = [without_outliers(later, HIDDEN, FAR)[0]] if len(later) else []
    return min([*low, *ends], default=math.nan)


def _later(found: Sequence[np.ndarray]) -> np.ndarray:
    """The finite values after the first epochs."""
    later = np.concatenate([own[int(HIDDEN * len(own)) :] for own in found])
    return later[np.isfinite(later)]


def limit_axis(axes: Axes, found: Sequence[np.ndarray], low: float = -math.inf) -> None:
    """Limits the vertical axis to values; says how many lie below it after the first epochs."""
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if not len(values):
        return
    low, high = max(low, float(values.min())), float(values.max())
    margin = 0.05 * (high - low) or 0.5
    axes.set_ylim(low - margin, high + margin)
    later = _later(found)
    if below := int((later < low).sum()):
        text = f"{below:,} of {len(later):,} values below"
        how: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": SMALL, "color": SOFT}
        axes.text(0.5, 0.02, text, transform=axes.transAxes, **how)


def name_axes(axes: Axes, across: str = "", up: str = "") -> None:
    """Sets the labels of both axes, and hides the spines above and to the right."""
    axes.set_xlabel(across, fontsize=TITLE)
    axes.set_ylabel(up, fontsize=TITLE)
    axes.tick_params(labelsize=LABEL)
    axes.spines[["top", "right"]].set_visible(False)


def whole_ticks(axis: Axis) -> None:
    """Places the ticks of an axis at whole numbers, as for epochs and dimensions."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def short_ticks(axis: Axis) -> None:
    """Labels the ticks of an axis with as few digits as tell them apart, without an offset."""
    from matplotlib.ticker import Formatter

    class ShortFormatter(Formatter):
        """Chooses one notation for all ticks, once per drawing."""

        def format_ticks(self, values: Sequence[float]) -> list[str]:
            shown = _format(tuple(values))
            return [shown(value) for value in values]

        def __call__(self, value: float, pos: int | None = None) -> str:
            return f"{value:g}"

    axis.set_major_formatter(ShortFormatter())


@lru_cache(maxsize=64)
def _format(ticks: tuple[float, ...]) -> Callable[[float], str]:
    """The shortest notation that shows all ticks to a hundredth of their distance."""
    close = 0.01 * min(abs(np.diff(ticks)), default=max(map(abs, ticks), default=1.0))
    scientific = [partial(_scientific, digits) for digits in range(17)]
    exact = [
        own
        for own in (*(partial(_plain, digits) for digits in range(17)), *scientific)
        if all(abs(float(own(tick)) - tick) <= close for tick in ticks)
    ]
    lengths = [max([SHORT, *(len(own(tick)) for tick in ticks)]) for own in exact]
    return exact[lengths.index(min(lengths))] if exact else str


def _plain(digits: int, value: float) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # The sum makes 0 of -0.


def _scientific(digits: int, value: float) -> str:
    return f"{value:.{digits + 1}g}"


def legend(figure: Figure, axes: Axes, columns: int = 4) -> Figure:
    """Puts the legend of one panel above the figure, where it covers no data; returns it."""
    how: dict[str, Any] = {"fontsize": LABEL, "frameon": False, "markerscale": 1.5}
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=columns, **how)
    return figure
