from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from pyrovae import MLPDecoder, MLPEncoder, Normal, priors
from pyrovae.distributions import Mixture
from pyrovae.posteriors import DiagonalNormal
from pyrovae.priors import FlowPrior, GaussianMixture, Prior, StandardNormal, VampPrior
from pyrovae.programs.vae import VAE
from tests.support.tables import (
    FALSE_ALARM,
    FLOWS,
    IMAGE_SHAPE,
    LATENT_DIM,
    POSTERIORS,
    changed,
    make_vae,
    shake,
    snapshot,
    vamp_prior,
)

#: Priors of any number of dimensions, from how many on, and how exact quadrature is for them.
SIZED: dict[str, tuple[Callable[[int], Prior], int, float]] = {
    "StandardNormal": (StandardNormal, 1, 1e-9),
    "GaussianMixture": (lambda d: GaussianMixture(d, 3), 1, 1e-9),
    "VampPrior": (lambda d: vamp_prior(d, 3), 1, 1e-9),
    "Laplace": (priors.Laplace, 1, 1e-3),
    "StudentT": (lambda d: priors.StudentT(d, df=3.0), 1, 1e-6),
    "StudentT-Cauchy": (lambda d: priors.StudentT(d, df=1.0), 1, 1e-4),
    "FlowPrior-RealNVP": (lambda d: FlowPrior(d, FLOWS["RealNVP"]), 2, 2e-3),
    "FlowPrior-NeuralSpline": (lambda d: FlowPrior(d, FLOWS["NeuralSpline"]), 2, 1e-2),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "latent_dim"),
    [(name, dim) for name, (_, least, _) in SIZED.items() for dim in range(least, 3)],
)
@torch.no_grad()
def test_a_prior_integrates_to_one(name: str, latent_dim: int) -> None:
    """By the trapezoidal rule at z = 2 sinh t, which reaches far out."""
    make, _, error = SIZED[name]
    prior = make(latent_dim).double()
    shake(prior, 0.2)
    t = torch.linspace(-12, 12, 801, dtype=torch.float64)
    weight = 2 * t.cosh() * (t[1] - t[0])
    z, weight = (torch.cartesian_prod(*[x] * latent_dim) for x in (2 * t.sinh(), weight))
    z, weight = (x.reshape(-1, latent_dim) for x in (z, weight))
    total = (prior().log_prob(z).exp() * weight.prod(-1)).sum()
    assert total.item() == pytest.approx(1, abs=error)


SCIPY = {
    "StandardNormal": (StandardNormal(3), scipy.stats.norm()),
    "Laplace": (priors.Laplace(3), scipy.stats.laplace()),
    "StudentT": (priors.StudentT(3, df=2.5), scipy.stats.t(2.5)),
}


@pytest.mark.parametrize("name", SCIPY)
def test_priors_of_independent_dimensions_equal_scipy(name: str) -> None:
    prior, oracle = SCIPY[name]
    z = 3 * torch.randn(10, 3, dtype=torch.float64)
    expected = oracle.logpdf(z.numpy()).sum(1)
    assert prior.double()().log_prob(z).numpy() == pytest.approx(expected)


@torch.no_grad()
def test_a_gaussian_mixture_is_that_of_torch() -> None:
    prior = GaussianMixture(3, 4).double()
    shake(prior, 1.0)
    components = torch.distributions.Normal(prior.loc, (7 * torch.tanh(prior.raw_scale / 7)).exp())
    oracle = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=prior.logits),
        torch.distributions.Independent(components, 1),
    )
    z = 2 * torch.randn(20, 3, dtype=torch.float64)
    assert torch.allclose(prior().log_prob(z), oracle.log_prob(z))
    assert torch.allclose(prior().mean, oracle.mean)


@pytest.mark.parametrize("shape", [(), (5,), (7, 5)], ids=str)
def test_a_mixture_that_a_batch_shares_is_scored_by_matrix_products(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In plates too, where Pyro expands it; value and gradient against doubles one by one."""
    loc, raw = torch.randn(2, 6, 3, requires_grad=True)
    one = Mixture(dist.Categorical(logits=torch.zeros(6)), dist.Normal(loc, raw.exp()).to_event(1))
    wide = torch.distributions.Normal(loc.double(), raw.double().exp())
    oracle = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=torch.zeros(6).double()),
        torch.distributions.Independent(wide, 1),
    )
    whole = one.expand(shape[1:]).expand(shape) if shape else one
    for z in (torch.randn(7, 5, 3), 1000 * torch.randn(3)):
        monkeypatch.setattr(dist.Independent, "log_prob", None)
        found = whole.log_prob(z)
        monkeypatch.undo()
        expected = oracle.log_prob(z.double()).expand(torch.broadcast_shapes(z.shape[:-1], shape))
        assert found.shape == expected.shape
        assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5)
        slopes = [
            torch.autograd.grad(own.sum(), (loc, raw), retain_graph=True)
            for own in (found, expected)
        ]
        for own, exact in zip(*slopes, strict=True):
            assert torch.allclose(own, exact.float(), rtol=1e-4, atol=1e-4)


def test_mixtures_that_differ_in_a_batch_or_are_no_normals_are_those_of_torch() -> None:
    logits, loc, z = torch.randn(4, 4), torch.randn(4, 4, 3), torch.rand(4, 3)
    families = [dist.Normal(loc, 1.0), dist.LogNormal(loc, 1.0), dist.StudentT(3.0, loc)]
    for parts in [own.to_event(1) for own in families] + [dist.LogNormal(loc[..., 0], 1.0)]:
        value = z if parts.event_shape else z[:, 0]
        mixing = dist.Categorical(logits=logits)
        expected = torch.distributions.MixtureSameFamily(mixing, parts).log_prob(value)
        found = Mixture(mixing, parts)
        assert torch.allclose(found.log_prob(value), expected)
        assert torch.allclose(found.expand((2, 4)).log_prob(value), expected.expand(2, 4))


@pytest.mark.slow
@torch.no_grad()
def test_a_gaussian_mixture_starts_near_the_standard_normal() -> None:
    z = GaussianMixture(50, 400)().sample((4000,))
    assert z.mean(0).abs().max() < 0.15
    assert torch.allclose(z.var(0), torch.ones(50), atol=0.2)


@pytest.mark.parametrize("raw", [1e30, -1e30, math.inf, -math.inf])
def test_no_raw_scale_makes_a_gaussian_mixture_nan(raw: float) -> None:
    prior = GaussianMixture(2, 3)
    nn.init.constant_(prior.raw_scale, raw)
    p = prior()
    p.log_prob(p.sample((10,))).sum().backward()
    assert prior.raw_scale.grad is not None and prior.raw_scale.grad.isfinite().all()


def vamp_vae(posterior: str = "DiagonalNormal", networks: str = "Conv") -> VAE:
    vae = make_vae("Normal", "VampPrior", posterior, networks)
    shake(vae)
    return vae


@pytest.mark.parametrize("posterior", POSTERIORS)
@torch.no_grad()
def test_a_vamp_prior_is_the_mean_of_the_posteriors_of_its_pseudo_inputs(posterior: str) -> None:
    vae = vamp_vae(posterior).double()
    p, q_z = vae.model.z_dist(), vae.guide.posterior
    vae.eval()
    inputs = torch.sigmoid(vae.model.prior.raw_inputs)
    parts = [q_z(vae.guide.encoder(image[None])) for image in inputs]
    z = torch.cat([q.sample() for q in parts])
    expected = torch.stack([q.log_prob(z) for q in parts]).logsumexp(0) - math.log(len(inputs))
    assert torch.allclose(p.log_prob(z), expected, rtol=1e-6)
    assert torch.equal(vae.model.prior.pseudo_inputs, inputs)


class Spots(nn.Module):
    """A guide that takes an image to a narrow Normal around its first pixels, times 100."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))

    def z_dist(self, x: Tensor) -> dist.TorchDistribution:
        loc = 100 * x.flatten(-3)[..., :LATENT_DIM] + self.shift
        return dist.Normal(loc, 1e-3).to_event(1)


@torch.no_grad()
def test_samples_of_a_vamp_prior_come_from_all_components_alike() -> None:
    guide, prior = Spots(), VampPrior(LATENT_DIM, IMAGE_SHAPE, 8)
    prior.use_guide(guide)
    z = prior().sample((4000,))
    spots = guide.z_dist(prior.pseudo_inputs).mean
    distance, nearest = torch.cdist(z, spots).min(1)
    assert distance.max() < 1
    counts = torch.bincount(nearest, minlength=8).numpy()
    assert scipy.stats.chisquare(counts).pvalue > FALSE_ALARM


@torch.no_grad()
def test_samples_of_a_vamp_prior_follow_the_encoder() -> None:
    guide, prior = Spots(), VampPrior(LATENT_DIM, IMAGE_SHAPE, 8)
    prior.use_guide(guide)
    before = prior().sample((100,))
    guide.shift.fill_(1000.0)
    after = prior().sample((100,))
    assert before.max() < 101 and after.min() > 999


def test_samples_of_a_vae_use_its_vamp_prior() -> None:
    vae = make_vae("Normal", "VampPrior")
    nn.init.zeros_(vae.guide.encoder.layers[-1].weight)
    nn.init.constant_(vae.guide.encoder.layers[-1].bias, -30.0)  # z is -30, the scale near 0
    shown = vae.sample(50)
    expected = vae.show(torch.full((50, LATENT_DIM), -30.0))
    assert torch.allclose(shown, expected, atol=0.02)


def test_gradients_of_a_vamp_prior_reach_pseudo_inputs_and_encoder() -> None:
    vae = vamp_vae()
    vae.model.z_dist().log_prob(torch.randn(10, LATENT_DIM)).sum().backward()
    parts = (vae.model.prior, vae.guide.encoder)
    for name, parameter in [named for part in parts for named in part.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in vae.model.decoder.parameters())


@torch.no_grad()
def test_pseudo_inputs_leave_no_trace_in_batch_norm() -> None:
    vae = vamp_vae().train()
    vae.guide.posterior.eval()
    modes, before = [module.training for module in vae.modules()], snapshot(vae)
    in_training = vae.model.z_dist().component_distribution.mean
    assert [module.training for module in vae.modules()] == modes
    assert not changed(before, snapshot(vae))
    assert torch.equal(in_training, vae.eval().model.z_dist().component_distribution.mean)


def test_the_parameters_of_a_guide_are_not_those_of_its_vamp_prior() -> None:
    vae = vamp_vae()
    assert [name for name, _ in vae.model.prior.named_parameters()] == ["raw_inputs"]
    assert list(vae.model.prior.state_dict()) == ["raw_inputs"]
    names = [name for name in vae.state_dict() if "encoder" in name]
    assert names and all(name.startswith("guide.encoder.") for name in names)
    tensors = [id(parameter) for _, parameter in vae.named_parameters(remove_duplicate=False)]
    assert len(tensors) == len(set(tensors))


@torch.no_grad()
def test_a_copy_of_a_vamp_prior_uses_the_copy_of_the_guide() -> None:
    first = vamp_vae()
    second = copy.deepcopy(first)
    z = torch.randn(10, LATENT_DIM)
    log_prob = first.model.z_dist().log_prob(z)
    assert torch.equal(second.model.z_dist().log_prob(z), log_prob)
    shake(second.guide)
    assert torch.equal(first.model.z_dist().log_prob(z), log_prob)
    assert not torch.allclose(second.model.z_dist().log_prob(z), log_prob)


@torch.no_grad()
def test_the_state_of_a_vamp_prior_goes_to_another_vae() -> None:
    first, second = vamp_vae(), vamp_vae()
    z = torch.randn(10, LATENT_DIM)
    assert not torch.allclose(first.model.z_dist().log_prob(z), second.model.z_dist().log_prob(z))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.model.z_dist().log_prob(z), second.model.z_dist().log_prob(z))


@torch.no_grad()
def test_one_pseudo_input_is_one_posterior() -> None:
    prior = vamp_prior(num_components=1)
    z = torch.randn(10, LATENT_DIM)
    pixels = 4 * prior.pseudo_inputs.flatten()[: 2 * LATENT_DIM] - 2
    assert torch.allclose(prior().log_prob(z), DiagonalNormal(LATENT_DIM)(pixels).log_prob(z))


def test_one_vampprior_belongs_to_one_vae() -> None:
    prior = VampPrior(LATENT_DIM, IMAGE_SHAPE, 4)
    parts = {
        "prior": prior,
        "likelihood": Normal(),
        "posterior": DiagonalNormal(LATENT_DIM),
        "decoder": MLPDecoder(IMAGE_SHAPE, LATENT_DIM, 3),
    }
    first = VAE(encoder=MLPEncoder(IMAGE_SHAPE, 2 * LATENT_DIM), **parts)
    with pytest.raises(ValueError, match="belongs to another VAE"):
        VAE(encoder=MLPEncoder(IMAGE_SHAPE, 2 * LATENT_DIM), **parts)
    copied = copy.deepcopy(first)
    assert copied.model.prior._guide[0] is copied.guide


def test_pseudo_inputs_of_another_size_are_one_line() -> None:
    with pytest.raises(ValueError, match="VampPrior does not fit the networks: ") as caught:
        VAE(
            encoder=MLPEncoder(IMAGE_SHAPE, 2 * LATENT_DIM),
            decoder=MLPDecoder(IMAGE_SHAPE, LATENT_DIM, 3),
            prior=VampPrior(LATENT_DIM, (1, 4, 4), 4),
            likelihood=Normal(),
            posterior=DiagonalNormal(LATENT_DIM),
        )
    assert "\n" not in str(caught.value)
