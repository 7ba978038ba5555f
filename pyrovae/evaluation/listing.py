"""The runs of a folder: their state, their best validation ELBO, and what they differ in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pyrovae.evaluation.earlier import estimates
from pyrovae.evaluation.estimates import Estimate
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
        inside = sorted(config.parent for config in own.rglob("config.yaml"))
        if not inside:
            raise InputError(f"{own}: no run in this folder or its subfolders")
        found += inside
    runs = {str(root): RunDirectory(root) for root in found}
    sweep = Sweep({name: run.flat_options() for name, run in runs.items()})
    rows = [{"run": name, **_row(run), "options": sweep.title(name)} for name, run in runs.items()]
    return pandas.DataFrame(rows).sort_values("elbo", ascending=False, ignore_index=True)


def _row(run: RunDirectory) -> dict[str, Any]:
    """What the files of a run say."""
    test, best, done = _test(run), _best(run), run.unfinished()
    return {
        "state": f"epoch {done}" if done else "ended" if best else "no epoch",
        "best_epoch": int(best.get("epoch", 0)),
        "elbo": best.get("val_elbo", math.nan),
        "bits_per_dim": best.get("val_bits_per_dim", math.nan),
        "test": test.value,
        "error": test.error,
    }


def _best(run: RunDirectory) -> Mapping[str, float]:
    """The row of the best epoch in `metrics.csv`; empty without epochs."""
    with suppress(OSError, ValueError, KeyError, AttributeError):
        history = pandas.read_csv(run.metrics)
        return dict(history.loc[history.val_elbo.idxmax()])
    return {}


def _test(run: RunDirectory) -> Estimate:
    """The ELBO of the test split in `evaluation.json`; NaN if it was not scored."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads((run.root / "evaluation.json").read_text())
        if content.get("split", "test") == "test":
            return estimates(content["vae"])["elbo"]
    return Estimate(math.nan)
