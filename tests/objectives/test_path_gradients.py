from __future__ import annotations

from collections.abc import Callable

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyrovae.objectives import (
    IWAE,
    DReG,
    ElboTerms,
    PerImageELBO,
    ScaleLatents,
    StickingTheLanding,
    stop_gradients,
)
from pyrovae.posteriors import FullRankNormal, LowRankNormal, Posterior
from pyrovae.priors import Prior, StandardNormal, VampPrior
from pyrovae.programs.vae import VAE
from tests.support.objectives import assert_equal, double_images, double_vae, gradients
from tests.support.oracles import LinearGaussian, assert_mean, one_dimensional_vae

Weights = Callable[[Tensor], Tensor]
BETAS = [0.05, 0.3, 1.0, 2.5]
#: Few steps with many images see as much as many steps with few, and take less time.
IMAGES, REPEATS = 2000, 20


def doubly_reparameterised(log_w: Tensor, beta: float) -> Tensor:
    """How a particle's path counts: its share, less what its own log q takes from the shares."""
    share = log_w.exp() / log_w.exp().sum(0)
    return share - beta * share * (1 - share)


#: The weight of each particle's path gradient in the guide, of its log weights and beta.
GUIDE_WEIGHTS: dict[type[PerImageELBO], Callable[[Tensor, float], Tensor]] = {
    StickingTheLanding: lambda log_w, beta: torch.full_like(log_w, 1 / len(log_w)),
    DReG: doubly_reparameterised,
}
#: The weight of each particle's gradient in the model.
MODEL_WEIGHTS: dict[type[PerImageELBO], Weights] = {
    StickingTheLanding: lambda log_w: torch.full_like(log_w, 1 / len(log_w)),
    DReG: lambda log_w: log_w.exp() / log_w.exp().sum(0),
}
both_kinds = pytest.mark.parametrize("kind", [StickingTheLanding, DReG])
both_ways = pytest.mark.parametrize("vectorize", [False, True], ids=["in turn", "at once"])


def by_hand(
    kind: type[PerImageELBO], vae: VAE, x: Tensor, num_particles: int, beta: float
) -> list[Tensor]:
    """The estimator's definition: derivatives in z first, then those of z in the guide."""
    q = vae.guide.z_dist(x)
    drawn = torch.stack([q.rsample() for _ in range(num_particles)])
    z = drawn.detach().requires_grad_()
    constant = vae.guide.z_dist(x).log_prob(z)
    joint = vae.model.x_dist(z).log_prob(x) + beta * vae.model.z_dist().log_prob(z)
    log_w = joint - beta * constant
    (in_z,) = torch.autograd.grad(log_w.sum(), z, retain_graph=True)
    path = (GUIDE_WEIGHTS[kind](log_w.detach(), beta).unsqueeze(-1) * in_z * drawn).sum()
    direct = (MODEL_WEIGHTS[kind](log_w.detach()) * joint).sum()
    return [
        -(of_guide + of_model)
        for of_guide, of_model in zip(gradients(path, vae), gradients(direct, vae), strict=True)
    ]


@both_kinds
@both_ways
@pytest.mark.parametrize("beta", BETAS)
def test_gradients_are_those_of_the_definition(
    kind: type[PerImageELBO], vectorize: bool, beta: float, script: Callable[[], None]
) -> None:
    vae, x = double_vae(), double_images()
    with ScaleLatents(beta):
        loss = kind(num_particles=3, vectorize_particles=vectorize).differentiable_loss(
            vae.model, vae.guide, x
        )
    script()
    assert_equal(gradients(loss, vae), by_hand(kind, vae, x, 3, beta))


def drawn_gradients(elbo: PerImageELBO, vae: VAE, x: Tensor, beta: float = 1.0) -> Tensor:
    """One row per draw: the gradients of all parameters, divided by the number of images."""
    rows = []
    for seed in range(REPEATS):
        torch.manual_seed(seed)
        with ScaleLatents(beta):
            loss = elbo.differentiable_loss(vae.model, vae.guide, x) / len(x)
        rows.append(torch.cat([grad.flatten() for grad in gradients(loss, vae)]))
    return torch.stack(rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (DReG(3), IWAE(3)),
        (StickingTheLanding(), IWAE(1)),
        (DReG(1), StickingTheLanding()),
    ],
    ids=["DReG-IWAE", "STL-ELBO", "DReG-STL"],
)
@pytest.mark.parametrize(
    "prior",
    [lambda: StandardNormal(1), lambda: VampPrior(1, (1, 1, 2), num_components=3)],
    ids=["fixed prior", "prior of the guide's parameters"],
)
@pytest.mark.parametrize("beta", [0.3, 2.5])
def test_path_gradients_are_unbiased(
    one: PerImageELBO, other: PerImageELBO, prior: Callable[[], Prior], beta: float
) -> None:
    """On average they are the gradients that go both ways; all parameters in one test."""
    vae = one_dimensional_vae(prior())
    x = torch.rand(1, 1, 1, 2, dtype=torch.float64).expand(IMAGES, 1, 1, 2)
    first, second = (drawn_gradients(elbo, vae, x, beta) for elbo in (one, other))
    differences = first - second
    assert_mean(differences, torch.zeros_like(differences[0]))


class IWAEByPaths(PerImageELBO):
    """IWAE with its score left out as StickingTheLanding does: biased (Tucker et al., 2019)."""

    def objective(self, terms: list[ElboTerms]) -> Tensor:
        (latent,) = terms[0].latents
        rate = stop_gradients(latent.q).log_prob(latent.z) - latent.log_p
        return -(-rate - terms[0].distortion).logsumexp(0).sum()


@pytest.mark.slow
def test_a_bias_would_be_seen() -> None:
    vae = one_dimensional_vae()
    x = torch.rand(1, 1, 1, 2, dtype=torch.float64).expand(IMAGES, 1, 1, 2)
    wrong, right = (drawn_gradients(elbo, vae, x) for elbo in (IWAEByPaths(3), IWAE(3)))
    with pytest.raises(AssertionError):
        assert_mean(wrong - right, torch.zeros_like(wrong[0]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [lambda: FullRankNormal(3), lambda: LowRankNormal(3, 3)], ids=["full", "low rank"]
)
def test_the_guide_has_no_gradient_at_the_exact_posterior(
    family: Callable[[], Posterior],
) -> None:
    linear = LinearGaussian(latent_dim=3)
    vae, x = linear.vae(family()), linear.images(5)

    def largest(elbo: pyro.infer.ELBO) -> float:
        loss = elbo.differentiable_loss(vae.model, vae.guide, x)
        found = torch.autograd.grad(loss, list(vae.guide.parameters()))
        return max(grad.abs().max().item() for grad in found)

    assert largest(StickingTheLanding(2)) < 1e-9 and largest(DReG(3)) < 1e-9
    assert largest(Trace_ELBO()) > 1 and largest(IWAE(3)) > 1
