"""Results whose scores have the same settings, and what still sets runs apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyrovae.evaluation.run_scores import EVIDENCE, PARTIAL, RunScores
from pyrovae.runs import RunDirectory
from pyrovae.runs.checkpoint import state_of
from pyrovae.utils.text import counted, listed

__all__ = ["aligned", "trained_apart"]

#: Runs that a line names.
NAMED = 4


def aligned(
    results: Mapping[str, RunScores], asked: Mapping[str, RunScores]
) -> tuple[dict[str, RunScores], list[str]]:
    """Results whose scores have the same number of draws and the same features.

    Where those of earlier evaluations differ, scores of this evaluation replace them; they are
    left out if this evaluation has none.

    Args:
        results: all scores of each run by its name.
        asked: the scores of this evaluation.

    Returns:
        The results, and a line per difference.
    """
    found, lines = dict(results), []
    for settings in PARTIAL:
        runs = _settings(settings, results)
        if len(runs) < 2:
            continue
        now = _settings(settings, asked)
        for name, own in found.items():
            found[name] = own.taking(settings, asked[name] if len(now) == 1 else None)
        lines.append(_line(settings, [*now], runs))
    return found, lines


def _settings(settings: tuple[str, ...], results: Mapping[str, RunScores]) -> dict[str, list[str]]:
    """The runs with scores that depend on some settings, by these settings in words."""
    found: dict[str, list[str]] = {}
    for name, own in results.items():
        if not PARTIAL[settings].isdisjoint(own.scores["vae"]):
            found.setdefault(_spelled(settings, own.settings), []).append(name)
    return found


def _spelled(settings: tuple[str, ...], values: Mapping[str, Any]) -> str:
    """The draws or the features of a result in words."""
    if settings != EVIDENCE:
        return f"the features {values[settings[0]]}"
    draws, images = (values[name] for name in settings)
    return f"{draws:,} draws" + (f" for {counted(images, 'image')}" if images else "")


def _line(settings: tuple[str, ...], now: list[str], runs: Mapping[str, list[str]]) -> str:
    """What is not compared, or compared with the scores of this evaluation."""
    what = "log p(x) has" if settings == EVIDENCE else "sample scores use"
    kept = " and ".join(f"{own} in {listed(names, NAMED)}" for own, names in runs.items())
    if len(now) != 1:
        return f"not compared: {what} {kept}"
    return f"{what} {now[0]} here; the files of the runs keep {kept}"


def trained_apart(paths: Mapping[str, Path]) -> Iterator[str]:
    """A line on all runs with the same training images, if the first run has others.

    Args:
        paths: the run directories by the names of the runs.
    """
    states = {name: state_of(RunDirectory(path).last) for name, path in paths.items()}
    # Runs that were shared or saved from Python do not know their training images.
    known = {name: own for name, own in states.items() if own.get("images")}
    first, runs = known.get(next(iter(paths))), dict[Any, list[str]]()
    for name, own in known.items():
        if first and own["images"] != first["images"]:
            runs.setdefault((own["images"], own.get("num_images")), []).append(name)
    for (_, count), names in runs.items():
        some = counted(count, "image") if isinstance(count, int) else "images"
        yield f"{listed(names, NAMED)}: trained on {some}, others than the first run's"
