from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyrovae import Engine
from pyrovae.evaluation import (
    Evaluation,
    evaluate,
    evaluate_without_latent,
    terms,
)
from pyrovae.likelihoods import (
    Bernoulli,
    Categorical,
    GreyLikelihood,
    Likelihood,
    Normal,
    ThresholdBinarization,
)
from pyrovae.posteriors import DiagonalNormal, FullRankNormal, LowRankNormal, Posterior
from pyrovae.programs.vae import VAE
from pyrovae.utils.randomness import private_randomness
from tests.support.oracles import LinearGaussian
from tests.support.tables import (
    FALSE_ALARM,
    IMAGE_SHAPE,
    IN_TURN,
    LIKELIHOODS,
    Z_LIMIT,
    changed,
    make_images,
    make_vae,
    snapshot,
)

CPU = Engine("cpu", "fp32")
NUM_DIMS = math.prod(IMAGE_SHAPE)
every_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS)


def array_of(likelihood: Likelihood, count: int) -> np.ndarray:
    return make_images(likelihood, count).numpy()


def mean_evaluation(likelihood: Likelihood, train: np.ndarray, test: np.ndarray) -> list[float]:
    found = [evaluate_without_latent(likelihood, train, test, seed=seed) for seed in range(12)]
    return [evaluation.elbo for evaluation in found]


@pytest.mark.slow
@torch.no_grad()
def test_terms_at_the_exact_posterior_are_the_evidence_of_each_image() -> None:
    """No closed divergence is known of it: log q - log p at the draw, so no noise is left."""
    linear = LinearGaussian()
    vae, x = linear.vae(), linear.images(7)
    found = terms(vae.model, vae.guide, x)
    assert found["rate"].shape == found["distortion"].shape == (7,)
    assert torch.allclose(-(found["rate"] + found["distortion"]), linear.log_evidence(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("orthogonal", "posterior"),
    [
        (True, DiagonalNormal(2)),
        (True, FullRankNormal(2)),
        (False, FullRankNormal(2)),
        (False, LowRankNormal(2, rank=2)),
    ],
)
@torch.no_grad()
def test_terms_with_a_closed_divergence_average_to_the_evidence(
    orthogonal: bool, posterior: Posterior
) -> None:
    linear = LinearGaussian(orthogonal)
    vae, x = linear.vae(posterior), linear.images(3)
    q = vae.encode(x)
    log_det = torch.logdet(linear.covariance)
    exact = (q.variance.sum(-1) + q.mean.square().sum(-1) - 2 - log_det) / 2
    draws = []
    for _ in range(400):
        found = terms(vae.model, vae.guide, x)
        assert torch.allclose(found["rate"], exact)
        draws.append(-found["rate"] - found["distortion"])
    error = torch.stack(draws).std(0) / math.sqrt(400)
    gap = torch.stack(draws).mean(0) - linear.log_evidence(x)
    assert (gap.abs() < Z_LIMIT * error).all()


def two_level_model(x: Tensor) -> None:
    with pyro.plate("images", len(x)):
        top = pyro.sample("top", dist.Normal(0.0, 1.0))
        low = pyro.sample("low", dist.Normal(torch.stack([top, -top], -1), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(low, 0.5).to_event(1), obs=x)
        pyro.sample("mark", dist.Bernoulli(logits=top), obs=torch.ones(len(x)))


def two_level_guide(x: Tensor) -> None:
    with pyro.plate("images", len(x)):
        pyro.sample("top", dist.Normal(x.sum(-1), 0.3))
        pyro.sample("low", dist.Laplace(x, 0.5).to_event(1))


@torch.no_grad()
def test_terms_add_up_over_sites_of_other_programs() -> None:
    x = torch.randn(5, 2)
    torch.manual_seed(4)
    found = terms(two_level_model, two_level_guide, x)
    torch.manual_seed(4)
    q_top, q_low = dist.Normal(x.sum(-1), 0.3), dist.Laplace(x, 0.5)
    top, low = q_top.sample(), q_low.sample()
    p_low = dist.Normal(torch.stack([top, -top], -1), 1.0)
    rate = (
        (x.sum(-1).square() + 0.09 - 1) / 2 - math.log(0.3) + kl_divergence(q_low, p_low).sum(-1)
    )
    distortion = -dist.Normal(low, 0.5).log_prob(x).sum(-1) + nn.functional.softplus(-top)
    assert torch.allclose(found["distortion"], distortion, atol=1e-5)
    assert torch.allclose(found["rate"], rate, atol=1e-5)


@every_likelihood
@pytest.mark.parametrize("networks", ["MLP", "Conv-shortcut"])
def test_evaluating_changes_nothing(likelihood: str, networks: str) -> None:
    vae = make_vae(likelihood, networks=networks).train()
    vae.guide.encoder.eval()
    images = array_of(vae.likelihood, 10)
    modes, before = [module.training for module in vae.modules()], snapshot(vae)
    random, kept = torch.get_rng_state(), images.copy()
    evaluate(vae, images, CPU, seed=3)
    assert [module.training for module in vae.modules()] == modes
    assert not changed(snapshot(vae), before)
    assert torch.equal(torch.get_rng_state(), random) and np.array_equal(images, kept)
    assert all(p.grad is None and p.requires_grad for p in vae.parameters())


@every_likelihood
def test_evaluations_depend_on_the_seed_alone(likelihood: str) -> None:
    vae = make_vae(likelihood)
    images = array_of(vae.likelihood, 30)
    first = evaluate(vae, images, CPU, seed=3)
    torch.rand(7)
    assert evaluate(vae, images, CPU, seed=3) == first
    assert evaluate(vae, images, CPU, seed=4) != first
    assert evaluate(vae, images, CPU) == evaluate(vae, images, CPU, seed=0)


@pytest.mark.parametrize("parts", IN_TURN, ids="-".join)
def test_an_evaluation_is_consistent(parts: tuple[str, str, str]) -> None:
    vae = make_vae(*parts)
    found = evaluate(vae, array_of(vae.likelihood, 30), CPU)
    assert found.elbo == pytest.approx(-(found.rate + found.distortion))
    assert found.rate > -1 and found.elbo_error > 0 and found.num_images == 30
    assert found.bits_per_dim == vae.likelihood.bits_per_dim(found.elbo, NUM_DIMS)
    assert ("bits/dim" in str(found)) == (found.bits_per_dim is not None)


def silent_vae(likelihood: str = "Bernoulli") -> VAE:
    """A VAE whose networks give 0: q is the prior, and a binary pixel a fair coin."""
    vae = make_vae(likelihood)
    for parameter in vae.parameters():
        nn.init.zeros_(parameter)
    return vae


@pytest.mark.parametrize("count", [1, 99, 100, 101, 230])
def test_every_image_counts_also_of_an_incomplete_batch(count: int) -> None:
    found = evaluate(silent_vae(), array_of(Bernoulli(), count), CPU)
    assert found.num_images == count
    assert found.rate == 0 and found.distortion == pytest.approx(NUM_DIMS * math.log(2))
    assert found.bits_per_dim is None
    assert found.elbo_error == (None if count == 1 else pytest.approx(0, abs=1e-5))


def test_the_mean_weighs_all_images_alike() -> None:
    vae = silent_vae()
    nn.init.constant_(vae.model.decoder.layers[-1].bias, 2.0)
    images = np.zeros((150, *IMAGE_SHAPE), np.uint8)
    images[:100] = 255
    found = evaluate(vae, images, CPU)
    ones, zeros = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    expected = NUM_DIMS * np.repeat([ones, zeros], [100, 50])
    assert found.distortion == pytest.approx(expected.mean(), rel=1e-5)
    assert found.elbo_error == pytest.approx(expected.std(ddof=1) / math.sqrt(150), rel=1e-4)


@pytest.mark.parametrize(
    "likelihood", [n for n, make in LIKELIHOODS.items() if isinstance(make(), GreyLikelihood)]
)
@torch.no_grad()
def test_bits_of_grey_values_are_their_code_length(likelihood: str) -> None:
    vae = silent_vae(likelihood)
    images = array_of(vae.likelihood, 30)
    found = evaluate(vae, images, CPU)
    maps = torch.zeros(vae.likelihood.num_maps(3), 1, 1)
    pixels = torch.from_numpy(images).movedim(1, -1).reshape(-1, 3, 1, 1) / 255
    code_length = -vae.likelihood(maps).log_prob(pixels) / math.log(2)
    assert found.rate == 0
    assert found.bits_per_dim == pytest.approx(code_length.mean().item() / 3, rel=1e-5)


def test_densities_are_scored_at_dequantised_pixels() -> None:
    images = np.full((40, *IMAGE_SHAPE), 200, np.uint8)
    square = (200.5 / 256) ** 2 + 1 / 12 / 256**2
    log_density = -(square / 0.3**2 + math.log(2 * math.pi * 0.3**2)) / 2
    found = [evaluate(silent_vae("Normal"), images, CPU, seed=seed).elbo for seed in range(12)]
    assert scipy.stats.ttest_1samp(found, NUM_DIMS * log_density).pvalue > FALSE_ALARM
    assert np.std(found) < 0.05  # scoring at 200 / 255 would give 0.87 nats less
    assert len(set(found)) == 12


@every_likelihood
def test_the_baseline_follows_the_seed_and_changes_no_randomness(likelihood: str) -> None:
    part = LIKELIHOODS[likelihood]()
    train, test = array_of(part, 130), array_of(part, 110)
    state = torch.get_rng_state()
    first = evaluate_without_latent(part, train, test, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert first == evaluate_without_latent(part, train, test, seed=2)
    assert first.num_images == 110 and first.rate == 0 and first.elbo == -first.distortion
    assert first.bits_per_dim == part.bits_per_dim(first.elbo, NUM_DIMS)


def skewed_images(count: int) -> np.ndarray:
    """Grey images whose pixels have different means and variances."""
    level = torch.linspace(30, 200, NUM_DIMS).reshape(IMAGE_SHAPE)
    noise = torch.randn(count, *IMAGE_SHAPE) * level / 5
    return (level + noise).round().clamp(0, 255).byte().numpy()


def test_the_baseline_of_a_density_is_the_closed_form() -> None:
    train, test = skewed_images(150), skewed_images(120)
    train[:, 0, 0, 0] = test[:, 0, 0, 0] = 77  # a pixel that never varies

    def expected(rng: np.random.Generator) -> float:
        """Both splits with noise of one grey level, as densities see them."""
        seen = (train + rng.uniform(size=train.shape)) / 256
        oracle = scipy.stats.norm(seen.mean(0), np.maximum(seen.std(0), 1 / 256 / 12**0.5))
        noisy = (test + rng.uniform(size=test.shape)) / 256
        return float(oracle.logpdf(noisy).sum((1, 2, 3)).mean())

    found = mean_evaluation(Normal(), train, test)
    exact = [expected(np.random.default_rng(seed)) for seed in range(12)]
    assert scipy.stats.ttest_ind(found, exact, equal_var=False).pvalue > FALSE_ALARM
    assert np.mean(found) == pytest.approx(np.mean(exact), rel=1e-3)


@pytest.mark.parametrize("level", [0, 255])
def test_the_baseline_of_a_constant_image_is_that_of_the_noise(level: int) -> None:
    """The noise is uniform; the best Normal for it takes 0.2546 bits a pixel.

    Over 128,000 drawn pixels the standard error is 0.0018 bits.
    """
    images = np.full((2000, 1, 8, 8), level, np.uint8)
    found = evaluate_without_latent(Normal(), images, images)
    best = math.log2(2 * math.pi * math.e / 12) / 2
    assert found.bits_per_dim == pytest.approx(best, abs=0.01)


def test_the_baseline_of_grey_values_is_the_closed_form() -> None:
    train, test = skewed_images(150), skewed_images(120)
    train[:, 0, 0, 0] = test[:, 0, 0, 0] = 77
    scale = np.maximum((train / 255).std(0), 1 / 256) * math.sqrt(3) / math.pi
    oracle = scipy.stats.logistic((train / 255).mean(0), scale)
    high = np.where(test == 255, 1, oracle.cdf((test + 0.5) / 255))
    low = np.where(test == 0, 0, oracle.cdf((test - 0.5) / 255))
    code_length = -np.log2(high - low).mean()
    found = evaluate_without_latent(Categorical(), train, test)
    assert found.bits_per_dim == pytest.approx(code_length, rel=1e-4)


def test_the_baseline_of_binary_pixels_is_the_closed_form() -> None:
    train, test = skewed_images(150), skewed_images(120)
    train[:, 0, 0, 0] = 255
    share = (train > 127).mean(0).clip(1e-4, 1 - 1e-4)
    log_probability = np.where(test > 127, np.log(share), np.log(1 - share)).sum((1, 2, 3))
    found = evaluate_without_latent(Bernoulli(ThresholdBinarization(0.5)), train, test)
    assert found.elbo == pytest.approx(log_probability.mean(), rel=1e-5)
    assert found.elbo_error == pytest.approx(
        log_probability.std(ddof=1) / math.sqrt(120), rel=1e-4
    )
    assert found.bits_per_dim is None


@pytest.mark.parametrize(
    ("draw", "same"),
    [(lambda: torch.rand(3), True), (lambda: torch.Generator().seed(), False)],
)
def test_private_randomness_is_seeded_and_given_back(
    draw: Callable[[], object], same: bool
) -> None:
    state, drawn = torch.get_rng_state(), []
    for _ in range(2):
        with private_randomness(5, torch.device("cpu")):
            drawn.append(str(draw()))
    assert (drawn[0] == drawn[1]) == same
    assert torch.equal(torch.get_rng_state(), state)


def test_an_evaluation_prints_on_one_line() -> None:
    found = Evaluation(-1234.56, 30.0, 1204.56, 3.25, 100, 2.0)
    assert str(found) == "3.250 bits/dim  ELBO -1,234.6 ± 2.0  rate 30.0  distortion 1,204.6"
    found = Evaluation(-1234.56, 30.0, 1204.56, None, 100, 2.0)
    assert str(found) == "ELBO -1,234.6 ± 2.0  rate 30.0  distortion 1,204.6"
