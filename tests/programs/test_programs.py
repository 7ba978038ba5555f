"""ModelGuidePair that are no `VAE`: nothing may look at class names."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch

from pyrovae import (
    GECO,
    IWAE,
    Beta,
    Engine,
    FreeBits,
    InputError,
    ModelGuidePair,
    ProbabilisticPCA,
    Recipe,
    RunDirectory,
    Trainer,
    Warmup,
    evaluate,
)
from pyrovae.data import Batches
from pyrovae.runs.checkpoint import load_checkpoint
from tests.support.programs import TRAINED, conditional, two_latents
from tests.support.small import small_data

pytestmark = pytest.mark.usefixtures("without_pages")

every_program = pytest.mark.parametrize("make", TRAINED.values(), ids=TRAINED.keys())


def recipe(**kwargs: object) -> Recipe:
    return Recipe(optimizer=partial(torch.optim.Adam, lr=1e-2), **kwargs)  # type: ignore[arg-type]


def fit(programs: ModelGuidePair, epochs: int, run: Path | None = None, **kwargs: object) -> None:
    Trainer(epochs=epochs, batch_size=16).fit(
        programs,
        small_data(),
        recipe(beta=Beta(1.0, Warmup(0.5))),
        Engine("cpu", "fp32"),
        run=RunDirectory(run) if run else None,
        loggers=(),
        **kwargs,  # type: ignore[arg-type]
    )


@every_program
def test_trains_saves_loads_and_evaluates(make: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    programs, engine = make(), Engine("cpu", "fp32")
    split = small_data().split("val")
    before = evaluate(programs, split, engine)
    fit(programs, 4, tmp_path / "run")
    after = evaluate(programs, split, engine)
    assert after.elbo > before.elbo + 1000 and after.rate > 0
    assert after.elbo == pytest.approx(-(after.rate + after.distortion))
    again = make()
    again.load_state_dict(RunDirectory(tmp_path / "run").weights("last"))
    assert evaluate(again, split, engine) == after
    assert (tmp_path / "run" / "samples" / "epoch_0004.png").exists()


@pytest.mark.slow
@every_program
def test_resuming_reaches_the_very_weights(make: type, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = make()
    fit(whole, 2, tmp_path / "whole")
    torch.manual_seed(0)
    half = make()
    fit(half, 2, tmp_path / "half")
    torch.manual_seed(5)
    resumed = make()
    fit(resumed, 2, tmp_path / "half", resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.slow
@every_program
@pytest.mark.parametrize("objective", [IWAE(3), FreeBits(0.5), IWAE(2, vectorize_particles=False)])
def test_other_objectives_take_them(make: type, objective: pyro.infer.ELBO) -> None:
    torch.manual_seed(0)
    programs, engine = make(), Engine("cpu", "fp32")
    split = small_data().split("val")
    before = evaluate(programs, split, engine).elbo
    Trainer(epochs=2, batch_size=16).fit(
        programs, small_data(), recipe(objective=objective), engine
    )
    assert evaluate(programs, split, engine).elbo > before + 1000


def test_attributes_matter_and_belong_to_their_images() -> None:
    programs, split = conditional(), small_data().split("val")
    batches = Batches(split, 20, seed=0, shuffle=False, attributes=programs.attributes)
    images, attributes = next(batches.labelled(0))
    columns = [list(split.attribute_names).index(name) for name in programs.attributes]
    assert torch.equal(attributes, torch.from_numpy(split.attributes[:, columns]))
    drawn = []
    for given in (attributes, -attributes):
        torch.manual_seed(0)
        drawn.append(programs.reconstruct(images, given))
        assert programs.sample(20, given).shape == images.shape
    assert not torch.equal(drawn[0], drawn[1])


def test_shuffled_attributes_follow_their_images() -> None:
    split = small_data().split("train")
    name = split.attribute_names[0]
    batches = Batches(split, 16, seed=3, attributes=[name])
    pairs = zip(split.images, split.attributes, strict=True)
    by_image = {image.tobytes(): row[0] for image, row in pairs}
    for images, attributes in batches.labelled(1):
        for image, value in zip(images.numpy(), attributes.numpy(), strict=True):
            assert by_image[image.tobytes()] == value[0]


def test_an_attribute_that_is_not_there_is_one_clear_line() -> None:
    programs = conditional()
    programs.attributes = ("skin_tone", "Smiling")
    with pytest.raises(InputError, match="no attribute Smiling; known are skin_tone, "):
        fit(programs, 1)


def test_missing_attributes_are_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"tensor \(N, 2\) of skin_tone, hair_length"):
        conditional().sample(3)


def test_a_start_that_does_not_fit_says_so() -> None:
    with pytest.raises(InputError, match="TwoLatentsGuide cannot start from ProbabilisticPCA"):
        Trainer(epochs=1).fit(two_latents(), small_data(), recipe(start=ProbabilisticPCA()))


@pytest.mark.slow
def test_what_an_objective_learns_in_one_run_stays_there(tmp_path: Path) -> None:
    geco = GECO(target=-1.0)
    shared = recipe(objective=geco)
    found = []
    for name in ("first", "second"):
        torch.manual_seed(0)
        run = RunDirectory(tmp_path / name)
        trainer = Trainer(epochs=2, batch_size=16)
        trainer.fit(two_latents(), small_data(), shared, Engine("cpu", "fp32"), run=run)
        tensors, _ = load_checkpoint(run.last)
        found.append(tensors["objective.log_multiplier"])
    assert torch.equal(found[0], found[1]) and found[0] != 0
    assert geco.state["log_multiplier"] == 0


def test_a_prepared_image_may_come_from_an_array_that_is_read_only() -> None:
    class ReadOnly:
        def preprocess(self, image: str) -> np.ndarray:
            return np.frombuffer(bytes(16), np.uint8).reshape(1, 4, 4)

    programs = two_latents()
    programs.data = ReadOnly()  # type: ignore[assignment]
    image = programs.preprocess("any")
    assert image.shape == (1, 4, 4) and image.dtype == torch.uint8
    image += 1
