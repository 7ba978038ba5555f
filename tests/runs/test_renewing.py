"""Configurations of older versions: parts and arguments under their former names."""

from __future__ import annotations

from typing import Any

import pytest

from pyrovae.runs.renewing import renewed

COSINE = {"class_path": "pyrovae.Cosine", "init_args": {"final": 0.1}}
OLD = {"class_path": "pyrovae.CosineWarmup", "init_args": {"fraction": 0.2, "then": COSINE}}
NEW = {
    "class_path": "pyrovae.Warmup",
    "init_args": {"fraction": 0.2, "then": COSINE, "smooth": True},
}
RANDOM = {"class_path": "RandomStart"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"schedule": OLD}, {"schedule": NEW}),
        ({"beta": {"value": 2.0, "schedule": OLD}}, {"beta": {"value": 2.0, "schedule": NEW}}),
        (
            {"objective": {"class_path": "Capacity", "init_args": {"schedule": OLD}}},
            {"objective": {"class_path": "Capacity", "init_args": {"schedule": NEW}}},
        ),
        (
            {"schedule": {"class_path": "Warmup", "init_args": {"then": "CosineWarmup"}}},
            {
                "schedule": {
                    "class_path": "Warmup",
                    "init_args": {"then": {"class_path": "Warmup", "init_args": {"smooth": True}}},
                }
            },
        ),
        (
            {"start": {"class_path": "ProbabilisticPCA", "init_args": {"otherwise": RANDOM}}},
            {"start": {"class_path": "ProbabilisticPCA", "init_args": {"fallback": RANDOM}}},
        ),
    ],
)
def test_former_names_are_renewed_at_any_depth(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert renewed(old) == new
    assert renewed(new) == new


@pytest.mark.parametrize(
    "kept",
    [
        {"run_dir": "CosineWarmup"},
        {"schedule": {"class_path": "my_parts.CosineWarmup", "init_args": {"fraction": 0.2}}},
        {"start": {"class_path": "my_parts.Mine", "init_args": {"otherwise": RANDOM}}},
        {"schedule": {"class_path": "Warmup", "init_args": True}},
        {"schedule": None, "freeze": ["encoder"], "trainer": {"epochs": 3}},
    ],
)
def test_other_names_are_kept(kept: dict[str, Any]) -> None:
    assert renewed(kept) == kept
