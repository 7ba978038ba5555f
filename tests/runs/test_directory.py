"""What a run directory says of its weights, and which runs are compared."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import torch

from pyrovae.runs import RunDirectory, distinct_runs, save_checkpoint
from pyrovae.runs.directory import OTHERS
from pyrovae.utils.errors import InputError


def test_each_run_is_compared_once_in_the_order_given(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    a, b = tmp_path / "a", tmp_path / "b"
    assert distinct_runs([b, a, b, f"{a}/", tmp_path / "link"]) == [b, a]
    for runs, said in (([], "none"), ([a], "a only"), ([a, f"{a}/", a], "a only")):
        with pytest.raises(InputError, match=f"needs two or more different runs, got .*{said}$"):
            distinct_runs(runs)


@pytest.mark.parametrize(
    ("state", "patience", "said"),
    [
        ({"epoch": 3, "epochs": 12, "best": [[-9.0, 2]]}, None, "3 of 12 epochs"),
        ({"epoch": 0, "epochs": 1, "best": []}, 2, "0 of 1 epoch"),
        ({"epoch": 3, "epochs": 12, "best": [[-9.0, 2]]}, 2, "3 of 12 epochs"),
        ({"epoch": 4, "epochs": 12, "best": [[-9.0, 2]]}, 2, ""),
        ({"epoch": 12, "epochs": 12, "best": [[-9.0, 2]]}, None, ""),
        ({"epoch": 3, "best": [[-9.0, 2]]}, None, ""),  # An older version wrote it.
        ({"epoch": "3", "epochs": 12, "best": []}, None, ""),  # Changed by hand.
    ],
)
def test_a_run_that_is_not_at_its_end_says_so(
    state: dict[str, Any], patience: int | None, said: str, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path, f"trainer:\n  patience: {patience or 'null'}\n")
    run.begin()
    save_checkpoint(run.last, {"weights.w": torch.zeros(2)}, {**state, "num_tensors": 1})
    assert run.unfinished() == said
    # The options of a run with a lambda are in comments.
    comments = indent(run.config_text, "# ")
    run.config.write_text(f"# it has a lambda\n{OTHERS}\n{comments}")
    assert run.unfinished() == said


def test_flat_options_have_the_names_of_today(tmp_path: Path) -> None:
    start = "{class_path: ProbabilisticPCA, init_args: {otherwise: X}}"
    run = RunDirectory(tmp_path, f"start: {start}")
    assert run.flat_options() == {}
    run.begin()
    assert run.flat_options() == {"start": "ProbabilisticPCA", "start.fallback": "X"}


def test_a_run_without_weights_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", "seed: 0\n")
    run.begin()
    assert run.unfinished() == ""
    for which in ("best", "last"):
        with pytest.raises(InputError, match="run: has no weights yet .training ended before"):
            run.weights(which)


def test_notes_on_weights_say_how_far_training_is(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "seed: 0\n")
    run.begin()
    state = {"epoch": 3, "epochs": 12, "num_tensors": 1}
    save_checkpoint(run.last, {"weights.w": torch.zeros(2)}, state)
    assert run.about_weights("last") == "epoch 3 (the last checkpoint); trained for 3 of 12 epochs"
