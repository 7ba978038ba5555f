"""The picture of a benchmark: images per second, and the break-even of compiling."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from benchmarking.figures import Figures
from benchmarking.loops import LOOPS, REFERENCE
from benchmarking.suite import PLAIN
from pyrovae.utils.files import replacing
from pyrovae.utils.palette import CATEGORIES, INK, NEUTRAL, SOFT

__all__ = ["draw"]

OWN, HAND, OTHER = *CATEGORIES[:2], NEUTRAL


def draw(figures: Figures, title: str, path: Path, device: torch.device) -> bool:
    """Draws one row of panels per case with timed steps, as PNG; returns False if there is none.

    Args:
        figures: the measurements.
        title: the title of the picture.
        path: the PNG file.
        device: the device of the loops.
    """
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(row.case for row in figures.rows if row.section == "steps"))
    if not cases:
        return False
    picture = Figure(figsize=(12, 0.6 + 3.6 * len(cases)), layout="constrained")
    picture.suptitle(title, fontsize=9, color=SOFT)
    panels = picture.subplots(len(cases), 2, squeeze=False, width_ratios=(3, 2))
    for (left, right), case in zip(panels, cases, strict=True):
        _bars(left, figures, case, device)
        _pays(right, figures, case)
    with replacing(path) as temporary:
        picture.savefig(temporary, format="png", dpi=130)
    return True


def _bars(axes: Any, figures: Figures, case: str, device: torch.device) -> None:
    speeds = figures.find("steps", case, "speed")
    times = figures.find("steps", case, "time over pyrovae's")
    names = [name for name in LOOPS if name in speeds][::-1]
    values = [speeds[name].value for name in names]
    errors = [
        [v - speeds[n].low for n, v in zip(names, values, strict=True)],
        [speeds[n].high - v for n, v in zip(names, values, strict=True)],
    ]
    places = range(len(names))
    axes.barh(places, values, color=[_color(name) for name in names], height=0.7)
    axes.errorbar(values, places, xerr=errors, fmt="none", ecolor=INK, elinewidth=0.8)
    for place, name in zip(places, names, strict=True):
        text = f"{speeds[name].value:,.0f}"
        if name in times and times[name].value != 1:
            text += f"  ({1 / times[name].value:.2f}×)"
        axes.text(speeds[name].high, place, f"  {text}", va="center", fontsize=8)
    titles = [LOOPS[name].title_on(device) for name in names]
    axes.set_yticks(places, titles, fontsize=8)
    axes.set_xlim(0, 1.22 * max(speeds[name].high for name in names))
    axes.set_title(f"{case}: images per second (relative to pyrovae)", fontsize=9, loc="left")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _color(name: str) -> str:
    return OWN if name.startswith(REFERENCE) else HAND if LOOPS[name].hand else OTHER


def _pays(axes: Any, figures: Figures, case: str) -> None:
    """Plots seconds over steps of the same step, compiled and not compiled."""
    steps = figures.find("steps", case, "step")
    compiling = figures.find("steps", case, "compile")
    earned = figures.find("steps", case, "break-even")
    if REFERENCE not in earned:
        axes.axis("off")
        return
    even, wait = earned[REFERENCE].value, compiling[REFERENCE].value
    fast, slow = steps[REFERENCE].value / 1e3, steps[PLAIN].value / 1e3
    end = 2 * even if math.isfinite(even) and even > 0 else max(1.0, 2 * wait / fast)
    axes.plot([0, end], [wait, wait + end * fast], color=OWN, label="compiled")
    axes.plot([0, end], [0, end * slow], color=OWN, linestyle="--", label="not compiled")
    if math.isfinite(even):
        axes.axvline(even, color=INK, linewidth=0.8, linestyle=":")
        axes.text(even, 0, f" {even:,.0f} steps", va="bottom", fontsize=8)
    axes.set_title(f"{case}: break-even of compiling pyrovae's step", fontsize=9, loc="left")
    axes.set_xlabel("steps", fontsize=8)
    axes.set_ylabel("seconds", fontsize=8)
    axes.set(xlim=(0, end), ylim=(0, None))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
