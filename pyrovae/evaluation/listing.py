"""The runs of a folder: their state, their best validation ELBO, and what they differ in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyrovae.evaluation.earlier import estimates, scores_of
from pyrovae.evaluation.seeds import Sweep
from pyrovae.runs import RunDirectory
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["runs_in"]


def runs_in(folders: Sequence[str | Path]) -> pandas.DataFrame:
    """The runs in folders and their subfolders, see `list_runs`.

    Args:
        folders: the folders.

    Raises:
        InputError: if a folder does not exist, or has no run.
    """
    found: list[Path] = []
    for own in map(Path, folders):
        if not own.is_dir():
            raise InputError(f"{own}: no such folder")
        inside = [*_runs_below(own)]
        if not inside:
            raise InputError(f"{own}: no run in this folder or its subfolders")
        found += inside
    runs = {str(root): RunDirectory(root) for root in found}
    sweep = Sweep({name: run.flat_options() for name, run in runs.items()})
    rows = [{"run": name, **_row(run), "options": sweep.title(name)} for name, run in runs.items()]
    return pandas.DataFrame(rows).sort_values("elbo", ascending=False, ignore_index=True)


def _runs_below(folder: Path) -> Iterator[Path]:
    """The runs in a folder; a `config.yaml` in a run, such as that of a logger, is no run."""
    trained = set[Path]()
    for root in sorted(config.parent for config in folder.rglob("config.yaml")):
        if trained.isdisjoint(root.parents):
            run = RunDirectory(root)
            if run.has_checkpoint() or run.shared.is_file():
                trained.add(root)
            yield root


def _row(run: RunDirectory) -> dict[str, Any]:
    """What the files of a run say."""
    best = _best(run)
    return {
        "state": _state(run, bool(best)),
        "best_epoch": int(best.get("epoch", 0)),
        "elbo": best.get("val_elbo", math.nan),
        "bits_per_dim": best.get("val_bits_per_dim", math.nan),
        **_test(run, best.get("epoch")),
    }


def _state(run: RunDirectory, trained: bool) -> str:
    """How far training is."""
    if run.shared.is_file():
        return "shared"
    if done := run.unfinished():
        return f"epoch {done.rpartition(' ')[0]}"  # Without the noun at the end.
    return "ended" if trained else "no epoch"


def _best(run: RunDirectory) -> Mapping[str, float]:
    """The row of the best epoch in `metrics.csv`; empty without epochs."""
    with suppress(OSError, ValueError, KeyError, AttributeError):
        history = pandas.read_csv(run.metrics).apply(pandas.to_numeric, errors="coerce")
        history = history.replace([math.inf, -math.inf], math.nan)
        history = history.dropna(subset=["epoch", "val_elbo"])
        return dict(history.loc[history.val_elbo.idxmax()])
    return {}


def _test(run: RunDirectory, best: float | None) -> dict[str, Any]:
    """The ELBO of the test split in `evaluation.json`, and its number of images.

    Unknown if it was not scored, or for another epoch than the best one.
    """
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        content = scores_of(run.root)
        epoch = content.get("epoch")
        if content.get("split", "test") == "test" and (None in (epoch, best) or epoch == best):
            elbo, count = estimates(content["vae"])["elbo"], content.get("num_images", math.nan)
            error = math.nan if elbo.error is None else float(elbo.error)
            return {"test": elbo.value, "error": error, "test_images": float(count)}
    return dict.fromkeys(("test", "error", "test_images"), math.nan)
