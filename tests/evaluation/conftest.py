"""Runs for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pyrovae.evaluation import scoring
from pyrovae.training.callbacks import RunPage
from tests.support.commands import TINY, run

FACES = ["--data.num_train=64", "--data.num_val=24", "--data.num_test=40"]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Trains a tiny run by the script, once for each set of options; its page is not drawn."""
    made: dict[tuple[str, ...], Path] = {}

    def train(*arguments: str) -> Path:
        if arguments not in made:
            made[arguments] = tmp_path_factory.mktemp("runs") / f"run{len(made)}"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(RunPage, "end_epoch", lambda self, epoch: None)
                command = [*TINY, *FACES, *arguments, f"--run_dir={made[arguments]}"]
                assert run("train", command, patch) == 0
        return made[arguments]

    return train


@pytest.fixture(autouse=True)
def halved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forests of the factors are fitted to one pair of halves, where users get five."""
    once = partial(scoring.factor_scores, num_splits=1)
    monkeypatch.setattr(scoring, "factor_scores", once)
