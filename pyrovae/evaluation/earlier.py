"""Earlier scores in a run directory: moved to separate files, never replaced."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from pyrovae.evaluation.estimates import Estimate

__all__ = ["estimates", "scores_of", "set_aside"]


def set_aside(root: Path, earlier: dict[str, Any], other: Sequence[str]) -> str:
    """Moves `evaluation.json` and `evaluation_images.csv` of a run to separate files.

    The names contain the split, the number of images, and a further number if the name is taken.

    Args:
        root: the run directory.
        earlier: the content of `evaluation.json`.
        other: names of the settings that differ now, such as `weights`.

    Returns:
        One line on what is where now.
    """
    path = root / "evaluation.json"
    # A damaged file may hold anything, and what it holds becomes a name.
    split, number = (re.sub(r"\W", "", str(earlier.get(n)))[:20] for n in ("split", "num_images"))
    names = (f"_{split}_{number}{more}" for more in chain([""], (f"_{n}" for n in count(2))))
    end = next(name for name in names if not path.with_stem(path.stem + name).exists())
    for old in (path, root / "evaluation_images.csv"):
        if old.exists():
            old.replace(old.with_stem(old.stem + end))
    about = [split, f"{number} image{'s' * (number != '1')}"]
    about += [f"other {name}" for name in ("weights", "seed", "version") if name in other]
    return f"the earlier scores ({', '.join(about)}) are now in {path.with_stem(path.stem + end)}"


def scores_of(root: Path) -> dict[str, Any]:
    """The content of `evaluation.json` of a run; nothing if there is none that can be read."""
    try:
        found = json.loads((root / "evaluation.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def estimates(scores: dict[str, Any]) -> dict[str, Estimate]:
    """The scores of a column of `evaluation.json`, in which null stands for NaN.

    Training of earlier versions wrote plain numbers, and the error of the ELBO as `elbo_error`.
    """
    errors = {"elbo": scores.get("elbo_error")}
    plain = {n: v for n, v in scores.items() if n not in ("num_images", "elbo_error")}
    pairs = {
        name: own if isinstance(own, dict) else {"value": own, "error": errors.get(name)}
        for name, own in plain.items()
        if own is not None
    }
    return {name: Estimate(_number(own["value"]), own["error"]) for name, own in pairs.items()}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
