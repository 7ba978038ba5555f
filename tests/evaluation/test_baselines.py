"""Probabilistic PCA's evidence against the density that it is."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from pyrovae import CelebA, InputError, Masked, Normal
from pyrovae.distributions.ppca import _moments, fit_ppca
from pyrovae.evaluation import (
    evaluate_without_latent,
    log_evidence_of_ppca,
    log_evidence_without_latent,
    shortfall,
    simpler_models,
)
from pyrovae.evaluation.estimates import Estimate
from pyrovae.training.initialization.base import _fitting_device
from tests.support.real import few_faces
from tests.support.small import small_data
from tests.support.tables import LIKELIHOODS, make_images


def test_the_evidence_is_the_density_of_the_normal() -> None:
    x = torch.randn(50, 8) @ torch.randn(8, 8)
    model = fit_ppca(lambda: x.split(20), 3)
    weight = model.basis * (model.eigenvalues - model.noise_variance).sqrt()
    covariance = weight @ weight.T + model.noise_variance * torch.eye(8)
    normal = dist.MultivariateNormal(model.mean.double(), covariance.double())
    found = model.log_prob(x)
    assert torch.allclose(found, normal.log_prob(x.double()), rtol=1e-4)


def exact_log_prob(train: torch.Tensor, test: torch.Tensor, latent_dim: int) -> torch.Tensor:
    """Of probabilistic PCA by all eigenvectors of the covariance matrix, as a Normal."""
    mean, size = train.mean(0), train.shape[1]
    values, vectors = torch.linalg.eigh(torch.cov(train.T, correction=0))
    rest = size - latent_dim
    values[:rest] = values[:rest].mean()
    covariance = (vectors * values) @ vectors.T
    return dist.MultivariateNormal(mean, covariance).log_prob(test)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "num_images", "latent_dim"),
    [
        (400, 900, 1),
        (400, 900, 64),
        (400, 900, 399),
        (400, 300, 298),
        (400, 402, 399),
        (550, 900, 300),
        (550, 500, 300),
    ],
)
def test_any_number_of_dimensions_is_exact(size: int, num_images: int, latent_dim: int) -> None:
    """Eigenvalues fall slowly: the last axes that are kept hardly differ from those left out."""
    axes = torch.linalg.qr(torch.randn(size, size).double())[0]
    scales = torch.arange(1, size + 1).double() ** -0.5
    train, test = ((torch.randn(n, size).double() * scales) @ axes.T for n in (num_images, 100))
    found = fit_ppca(lambda: train.split(150), latent_dim).log_prob(test).mean()
    gap = (found - exact_log_prob(train, test, latent_dim).mean()) / size / math.log(2)
    assert abs(float(gap)) < 1e-4


def test_directions_without_variance_are_found_too() -> None:
    """The rank of the covariance is far below the number of latents."""
    x = torch.randn(60, 20).double() @ torch.randn(20, 500).double()
    x = torch.cat([x, x])
    model = fit_ppca(lambda: x.split(50), 100)
    assert model.noise_variance < 1e-9
    assert torch.allclose(model.basis.T @ model.basis, torch.eye(100).double(), atol=1e-9)


@pytest.mark.slow
def test_more_dimensions_score_the_training_images_higher() -> None:
    images = small_data(num_train=300).split("train").images
    found = [float(log_evidence_of_ppca(Normal(), images, images, d).mean()) for d in (1, 4, 16)]
    assert found == sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_has_the_baseline_on_its_own_scale(name: str) -> None:
    """Independent pixels, seen through both baselines: the linear one can only know more."""
    torch.manual_seed(0)
    likelihood = LIKELIHOODS[name]()
    train, test = (make_images(likelihood, n).numpy() for n in (400, 200))
    linear = log_evidence_of_ppca(likelihood, train, test, 1)
    assert linear.shape == (200,) and linear.isfinite().all()
    size = math.prod(train.shape[1:])
    levels = 2 if likelihood.grey_levels is None else 256
    # A uniform density of all levels, and nothing known.
    unknown = -size * math.log(levels / (likelihood.grey_levels or 1))
    assert float(linear.mean()) > unknown - 0.5 * size


@pytest.mark.slow
def test_binary_and_grey_probabilities_stay_below_the_truth() -> None:
    """Of independent fair bits the best is -log 2 a pixel."""
    likelihood = LIKELIHOODS["Bernoulli-threshold"]()
    random = np.random.default_rng(0)
    images = (random.integers(0, 2, (3000, 1, 4, 4)) * 255).astype(np.uint8)
    found = float(log_evidence_of_ppca(likelihood, images[:2000], images[2000:], 2).mean())
    assert -16 * math.log(2) - 0.6 * 16 < found < -16 * math.log(2)


@pytest.mark.slow
def test_mirrored_images_are_fitted_to_where_training_mirrors() -> None:
    images = small_data(num_train=200).split("train").images
    plain, flipped = (
        log_evidence_of_ppca(Normal(), images, images[:, :, :, ::-1].copy(), 8, flip=flip).mean()
        for flip in (False, True)
    )
    assert flipped > plain


def test_too_few_images_are_one_line() -> None:
    images = small_data().split("test").images
    with pytest.raises(InputError, match="needs more than that many images and pixels"):
        log_evidence_of_ppca(Normal(), images, images, 50)


@pytest.mark.parametrize("name", ["Normal", "DiscretizedLogistic", "Bernoulli-threshold"])
def test_the_seed_decides(name: str) -> None:
    images, likelihood = small_data().split("train").images, LIKELIHOODS[name]()
    first, again, other = (
        log_evidence_of_ppca(likelihood, images, images, 4, seed=s) for s in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.slow
def test_real_faces(real_data: Path, tmp_path: Path) -> None:
    """A known number: 64 dimensions, the central 148 pixels at 32x32, in bits per dimension.

    The eigenvectors of the covariance matrix, by numpy, give 6.4020.
    """
    root = few_faces(real_data / "celeba", tmp_path / "few", training=570, validation=1)
    data = CelebA(str(root), image_size=32, cache_dir=str(tmp_path))
    train, test = (data.split(name).images for name in ("train", "test"))
    found = log_evidence_of_ppca(Normal(), train, test, 64, flip=True)
    bits = Normal().bits_per_dim(float(found.mean()), 32 * 32 * 3)
    assert bits == pytest.approx(6.402, abs=0.002)
    baseline = evaluate_without_latent(Normal(), train, test)
    assert baseline.bits_per_dim is not None and bits is not None and bits < baseline.bits_per_dim


def test_the_variance_of_floats_that_hardly_differ_is_exact() -> None:
    """Sums of squares of floats would be off by more than a thousandth of it."""
    x = (0.9 + 0.002 * torch.randn(600, 500)).float()
    count, mean, variance = _moments(lambda: x.split(100))
    exact = x.double().var(0, correction=0).sum().item()
    assert count == 600 and variance == pytest.approx(exact, rel=1e-5)
    assert torch.allclose(mean.double(), x.double().mean(0), atol=1e-6)


def test_a_linear_model_is_fitted_on_a_gpu_if_the_vae_is_there() -> None:
    """An accelerator without doubles leaves it to the CPU."""
    for name, expected in (("cuda:1", "cuda:1"), ("mps", "cpu"), ("cpu", "cpu")):
        parameter = SimpleNamespace(device=torch.device(name))
        assert _fitting_device([parameter]) == torch.device(expected)  # type: ignore[list-item]
    assert _fitting_device([]) == torch.device("cpu")


def test_the_difference_to_a_simpler_model_is_paired_and_names_the_best() -> None:
    # Per image, the differences are 3 and 5; the ELBOs of the two images differ by far more.
    elbo = torch.tensor([-1000.0, 1000.0])
    models = {"worse": elbo - 1, "better": elbo + torch.tensor([3.0, 5.0])}
    name, found = shortfall(elbo, models)
    assert (name, found) == ("better", Estimate(4.0, 1.0)) and found.sure
    assert not shortfall(elbo, {"worse": elbo - 1})[1].sure


NAN = math.nan


@pytest.mark.parametrize(
    ("value", "error", "sure"),
    [
        (4.0, 1.0, True),
        (4.0, 1.3, False),
        (1.9, 0.0, False),
        (4.0, None, True),
        (4.0, math.nan, False),
    ],
)
def test_a_sure_difference_is_beyond_its_error(value: float, error: Any, sure: bool) -> None:
    assert Estimate(value, error).sure == sure


def test_the_simpler_models_are_those_of_their_own_functions() -> None:
    images, likelihood = torch.randint(0, 256, (60, 1, 4, 4), dtype=torch.uint8).numpy(), Normal()
    found = simpler_models(likelihood, images[:40], images[40:], 20, seed=1)
    pca, plain = found.values()
    assert list(found)[0].endswith("PCA of 40 training images, latent dimensions: 10")
    both = likelihood, images[:40], images[40:]
    torch.testing.assert_close(pca, log_evidence_of_ppca(*both, 10, seed=1))
    torch.testing.assert_close(plain, log_evidence_without_latent(*both, seed=1))
    few = simpler_models(likelihood, images[:40], images[40:], 20, most=9, seed=1)
    assert (list(few.values())[0] == pca).all() and not (list(few.values())[1] == plain).all()
    assert len(simpler_models(likelihood, images[:3], images[40:], 20)) == 1


def test_baselines_score_the_pixels_that_validation_scores() -> None:
    """Training drops pixels; the baselines of a likelihood in training mode drop none."""
    likelihood, data = Masked(drop=0.9), small_data(num_train=60)
    images = [data.split(name).images for name in ("train", "test")]
    expected = simpler_models(likelihood.eval(), *images, 4)
    found = simpler_models(likelihood.train(), *images, 4)
    assert len(expected) == 2 and likelihood.training
    for name, values in expected.items():
        assert torch.equal(found[name], values)
