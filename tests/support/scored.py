"""Runs whose scores are tested."""

from __future__ import annotations

import shutil
from pathlib import Path


def unscored(root: Path, copy: Path) -> Path:
    """A copy of a run without its scores."""
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("evaluation*"))
    return copy
