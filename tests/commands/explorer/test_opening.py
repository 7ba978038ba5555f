"""A run is opened for the explorer with some images of a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyrovae import InputError, SyntheticFaces, evaluate
from pyrovae.commands.explorer.answers import ANSWERS
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.data import Split

pytestmark = pytest.mark.slow


def test_a_run_opens_with_the_images_that_were_asked_for(trained: Path) -> None:
    whole = Explorer.open(trained, device="cpu")
    assert len(whole.names) == 16 and whole.notes == ["Weights: epoch 1 (the best checkpoint)."]
    some = Explorer.open(trained, device="cpu", split="train", num_images=5, seed=3)
    assert some.names == [f"train:{row}" for row in (0, 15, 31, 47, 63)]
    assert some.notes[1] == "5 of 64 images of train are encoded."
    run = ANSWERS["run"](some, {})
    assert run["name"] == "run" and run["split"] == "train" and run["count"] == 5
    image = ANSWERS["image"](some, {"name": "train:31"})
    assert image["loc"] == some.subject.encoded.loc[2].tolist()
    # Another image of the split is encoded when it is asked for.
    assert ANSWERS["image"](some, {"name": "train:30"})["file"] == "train/00030"
    assert ANSWERS["image"](some, {"name": "test:3"})["file"] == "test/00003"
    rates = ANSWERS["colour"](whole, {"name": "rate"})["values"]
    found = evaluate(whole.subject.programs, whole.subject.split, whole.subject.engine)
    assert sum(rates) / len(rates) == pytest.approx(found.rate)


def test_images_of_groups_have_their_own_names(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = SyntheticFaces.split

    def grouped(self: SyntheticFaces, name: str) -> Split:
        found = usual(self, name)
        return replace(found, groups=np.arange(len(found)) // 5)

    monkeypatch.setattr(SyntheticFaces, "split", grouped)
    some = Explorer.open(trained, device="cpu", split="train", num_images=13)
    files = [f"train/{int(name.split(':')[1]):05d}" for name in some.names]
    assert files == list(some.subject.split.names)
    assert some.subject.split.groups is not None
    assert sorted(some.subject.split.groups) == list(range(13))


def test_what_is_not_there_is_refused_in_one_line(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^unknown split 'tset' \(did you mean test\?\)"):
        Explorer.open(trained, split="tset")
    with pytest.raises(InputError, match="^num_images: allowed is 0 or more, got -1$"):
        Explorer.open(trained, num_images=-1)
    with pytest.raises(InputError):
        Explorer.open(tmp_path)
    with pytest.raises(InputError):
        Explorer.open(trained, checkpoint="worst")
