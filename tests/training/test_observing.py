"""What of an image is scored: the same in training, validation and evaluation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrovae import (
    VAE,
    Bernoulli,
    ContinuousBernoulli,
    DynamicBinarization,
    Likelihood,
    ProbabilisticPCA,
    RunDirectory,
    Trainer,
)
from pyrovae.data import Split, SyntheticFaces
from pyrovae.runs.checkpoint import load_checkpoint, save_checkpoint
from pyrovae.training.session import Session
from tests.support.small import adam, rows, same_weights, small_data, small_vae
from tests.support.tables import LIKELIHOODS, Z_LIMIT, make_images, make_vae

pytestmark = pytest.mark.usefixtures("without_pages")

LOGIT = -300.0


class BlackImages(SyntheticFaces):
    """As many images, all black."""

    def split(self, name: str) -> Split:
        found = super().split(name)
        return Split(np.zeros_like(found.images), found.names, found.attributes)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_densities_score_a_place_within_the_grey_level(name: str) -> None:
    vae = make_vae(name).double()
    images = make_images(vae.likelihood, 5)
    torch.manual_seed(1)
    x, again = vae.scored(images), vae.scored(images)
    torch.manual_seed(1)
    assert torch.equal(vae.scored(images), x) and x.dtype == torch.double
    if vae.likelihood.grey_levels == 256:
        assert not torch.equal(x, again)
        assert (((256 * x) - images).abs() <= 1 + 1e-4).all()
        assert torch.equal(vae.observe(images), vae.observe(images))
        assert ((x - vae.observe(images)).abs() <= 1 / 255).all()
    else:
        torch.manual_seed(1)
        assert torch.equal(vae.observe(images), x)


def test_grey_values_alone_are_scored() -> None:
    with pytest.raises(ValueError, match="must be a uint8 tensor of grey values"):
        small_vae().scored(torch.rand(2, 3, 16, 16))


@pytest.mark.slow
def test_training_and_validation_score_the_same(tmp_path: Path) -> None:
    """Of a density far from uniform, at black; weights stay. k / 255 would be 450 nats higher."""
    vae = small_vae(likelihood=ContinuousBernoulli())
    with torch.no_grad():
        *_, weight, bias = vae.model.decoder.parameters()
        weight.zero_()
        bias.fill_(LOGIT)
    data = BlackImages(num_train=80, num_val=80, num_test=1, image_size=16)
    Trainer(epochs=1, batch_size=20).fit(vae, data, adam(0.0), run=RunDirectory(tmp_path))
    (row,) = rows(tmp_path)
    pixel = LOGIT / 256 / math.sqrt(12)  # The standard deviation of its log density.
    error = abs(pixel) * math.sqrt(768 * 2 / 80)
    assert abs(float(row["train_elbo"]) - float(row["val_elbo"])) < Z_LIMIT * error + 1


def fit(root: Path, epochs: int, likelihood: Likelihood | None = None, **kwargs: bool) -> VAE:
    vae = small_vae(likelihood=likelihood)
    trainer, run = Trainer(epochs=epochs, batch_size=20), RunDirectory(root)
    trainer.fit(vae, small_data(), adam(), run=run, progress=True, **kwargs)
    return vae


def make_older(run: RunDirectory) -> None:
    """The checkpoint as versions wrote it that had no rule of observing."""
    tensors, state = load_checkpoint(run.last)
    del state["dequantised"]
    save_checkpoint(run.last, tensors, state)


@pytest.mark.slow
def test_an_older_run_goes_on_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    older, now, said = tmp_path / "older", tmp_path / "now", "an older version began"
    with monkeypatch.context() as patch:
        patch.setattr(Session, "observe", lambda self, images: self.vae.observe(images))
        whole = fit(tmp_path / "whole", 3)
        fit(older, 1)
    make_older(RunDirectory(older))
    assert said not in capsys.readouterr().out
    for epochs in (2, 3):
        resumed = fit(older, epochs, resume=True)
        assert said in capsys.readouterr().out
    assert same_weights(whole, resumed)
    fit(now, 1)
    assert not same_weights(whole, fit(now, 3, resume=True))
    assert said not in capsys.readouterr().out


@pytest.mark.slow
def test_of_discrete_likelihoods_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    likelihood = Bernoulli(DynamicBinarization())
    whole = fit(tmp_path / "whole", 2, likelihood)
    fit(tmp_path / "older", 1, likelihood)
    make_older(RunDirectory(tmp_path / "older"))
    assert same_weights(whole, fit(tmp_path / "older", 2, likelihood, resume=True))
    assert "an older version began" not in capsys.readouterr().out


def test_the_linear_start_leaves_the_generator_alone() -> None:
    images = small_data().split("train").images
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = small_vae(shortcut=True), small_vae(shortcut=True)
    torch.set_rng_state(state)
    for vae in (first, second):
        ProbabilisticPCA()(vae, images, flip=False)
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
