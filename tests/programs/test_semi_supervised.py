"""The sums over classes in closed form, and draws of given classes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor

from pyrovae import (
    DiagonalNormal,
    FlowPrior,
    HypersphericalUniform,
    InputError,
    MLPEncoder,
    Normal,
    SemiSupervisedVAE,
    StandardNormal,
    VonMisesFisher,
)
from pyrovae.objectives import ScaleLatents, as_objective
from pyrovae.priors import Prior
from pyrovae.programs.few_labels import FewLabels
from pyrovae.programs.mixture import MixtureModel
from pyrovae.programs.semi_supervised import SemiSupervisedGuide, SemiSupervisedModel
from tests.support.classes import SHAPE, both, mixture, small
from tests.support.matrix import POSTERIORS, same_space


def explicit(
    vae: SemiSupervisedVAE, x: Tensor, labels: Tensor | None, beta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the rate and the ELBO by a plain sum over classes, at the draws of seed 3."""
    log_q = vae.guide.class_logits(x).log_softmax(-1)
    classes = log_q.shape[-1]
    y = torch.eye(classes)[:, None].expand(classes, len(x), classes)
    torch.manual_seed(3)
    q = vae.guide.z_dist(x, y)
    z = q.rsample()
    rate = q.log_prob(z) - vae.model.prior().log_prob(z) + math.log(classes)
    both = torch.cat([z, y], -1)
    distortion = -vae.likelihood(vae.model.decoder(both)).log_prob(x)
    weights, extra = log_q.exp(), torch.zeros(len(x))
    entropy = -(weights * log_q).sum(-1)
    for row, label in enumerate([] if labels is None else labels.tolist()):
        if label >= 0:
            known = torch.eye(classes)[int(label)]
            extra[row] = -vae.guide.alpha * log_q[row, int(label)]
            weights = torch.where(torch.arange(len(x))[:, None] == row, known, weights)
            entropy = torch.where(torch.arange(len(x)) == row, 0.0, entropy)
    rates = (weights.T * rate).sum(0) - entropy
    distortions = (weights.T * distortion).sum(0)
    loss = (distortions + beta * rates + extra).sum()
    return loss, rates.mean(), -(rates + distortions).mean()


LABELS = {
    "none": None,
    "some": torch.tensor([0.0, -1.0, 2.0, math.nan, 1.0]),
    "all": torch.tensor([0.0, 1.0, 2.0, 0.0, 1.0]),
}


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("known", LABELS)
def test_the_enumerated_bound_is_the_plain_sum_over_classes(known: str, beta: float) -> None:
    torch.manual_seed(0)
    vae, x, labels = small(alpha=2.0), torch.rand(5, *SHAPE), LABELS[known]
    loss, rate, elbo = explicit(vae, x, labels, beta)
    expected = torch.autograd.grad(loss, list(vae.parameters()))
    torch.manual_seed(3)
    inputs = {} if labels is None else {"labels": labels}
    objective = as_objective(TraceEnum_ELBO(max_plate_nesting=1))
    with ScaleLatents(beta):
        found = objective.terms_and_grads(beta, vae.model, vae.guide, x, **inputs)
    assert torch.allclose(found.loss, loss / len(x), rtol=1e-6)
    # The rate is a difference of numbers of the size of the loss.
    assert torch.allclose(found.rate, rate, rtol=1e-6, atol=1e-6 * abs(loss.item()) / len(x))
    assert torch.allclose(found.elbo, elbo, rtol=1e-6)
    for parameter, grad in zip(vae.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, grad, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@both
@pytest.mark.parametrize("known", LABELS)
def test_stock_svi_trains_it(known: str, make: Callable[..., FewLabels]) -> None:
    torch.manual_seed(0)
    vae, x, labels = make(), torch.rand(5, *SHAPE), LABELS[known]
    optim = pyro.optim.Adam({"lr": 1e-2})
    svi = pyro.infer.SVI(vae.model, vae.guide, optim, TraceEnum_ELBO(max_plate_nesting=1))
    inputs = {} if labels is None else {"labels": labels}
    losses = [svi.step(x, **inputs) for _ in range(30)]
    assert losses[-1] < losses[0] - 10


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("known", LABELS)
def test_the_bound_of_the_mixture_is_that_of_its_density(known: str, beta: float) -> None:
    torch.manual_seed(0)
    vae, x, labels = mixture(alpha=2.0), torch.rand(5, *SHAPE), LABELS[known]
    torch.nn.init.normal_(vae.model.raw)
    torch.manual_seed(3)
    q = vae.guide.z_dist(x)
    z = q.rsample()
    whitening = vae.model.whitening()
    classes = dist.MultivariateNormal(vae.model.loc, precision_matrix=whitening.mT @ whitening)
    each = classes.log_prob(z[:, None])
    log_p, extra = each.logsumexp(-1) - math.log(3), torch.zeros(5)
    for row, label in enumerate([] if labels is None else labels.tolist()):
        if label >= 0:
            own = torch.arange(5) == row
            log_p = torch.where(own, each[row, int(label)] - math.log(3), log_p)
            extra = torch.where(own, -2 * each[row].log_softmax(-1)[int(label)], extra)
    rate = q.log_prob(z) - log_p
    distortion = -vae.likelihood(vae.model.decoder(z)).log_prob(x)
    expected = torch.autograd.grad(
        (distortion + beta * rate + extra).sum(), list(vae.parameters())
    )
    torch.manual_seed(3)
    inputs = {} if labels is None else {"labels": labels}
    objective = as_objective(TraceEnum_ELBO(max_plate_nesting=1))
    with ScaleLatents(beta):
        found = objective.terms_and_grads(beta, vae.model, vae.guide, x, **inputs)
    assert torch.allclose(found.rate, rate.mean(), rtol=1e-5)
    assert torch.allclose(found.elbo, -(rate + distortion).mean(), rtol=1e-5)
    for parameter, grad in zip(vae.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prior", [StandardNormal(2), FlowPrior(2)])
def test_draws_of_a_class_lie_where_the_mixture_has_it(prior: Prior) -> None:
    torch.manual_seed(0)
    model = MixtureModel(prior, torch.nn.Identity(), Normal(), 3, 2)
    model.loc.data = torch.tensor([[-9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    y = torch.eye(3).repeat_interleave(50, 0)
    logits = model.class_logits(model.z_dist(y).sample())
    assert torch.equal(logits.argmax(-1), y.argmax(-1))


def test_a_mixture_draws_the_given_class() -> None:
    vae, seen = mixture(), []
    vae.model.loc.data = torch.tensor([[-99.0, 0.0], [0.0, 99.0], [99.0, 0.0]])
    vae.model.decoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    vae.sample(2, torch.tensor([[2.0], [0.0]]))
    assert seen[0][0, 0] > 50 and seen[0][1, 0] < -50
    with pytest.raises(InputError, match="label 3: allowed are the classes 0 to 2"):
        vae.sample(1, torch.tensor([[3.0]]))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_classifies_or_is_refused(posterior: str) -> None:
    q, prior = POSTERIORS[posterior](2), StandardNormal(2)
    arguments = {"posterior": q, "encoder": MLPEncoder(SHAPE, num_outputs=q.num_params)}
    if not same_space("StandardNormal", posterior):
        with pytest.raises(ValueError, match="must be on the same space"):
            mixture(prior=prior, **arguments)
        return
    found = mixture(prior=prior, **arguments).class_probabilities(torch.rand(5, *SHAPE))
    assert torch.allclose(found["label"].sum(-1), torch.ones(5))


def test_priors_of_a_sphere_have_no_affine_map() -> None:
    sphere = {"prior": HypersphericalUniform(3), "posterior": VonMisesFisher(3)}
    with pytest.raises(
        InputError, match="over sphere vectors; the affine map of each class needs"
    ):
        mixture(**sphere)


@both
def test_other_sizes_of_the_latents_are_refused(make: Callable[..., FewLabels]) -> None:
    with pytest.raises(ValueError, match="must have the same latent_dim, got 4 and 2"):
        make(prior=StandardNormal(4))


class Exact(SemiSupervisedGuide):
    """The exact posterior of images N(w z + b_y, s^2), one pixel each."""

    def __init__(self, weight: float, shifts: Tensor, scale: float) -> None:
        super().__init__(torch.nn.Identity(), DiagonalNormal(1), 1, len(shifts), 1.0)
        self.weight, self.shifts, self.scale = weight, shifts, scale

    def forward(self, x: Tensor, num_images: int = 1, *, labels: Tensor | None = None) -> None:
        variance = self.weight**2 + self.scale**2
        with pyro.plate("images", len(x), dim=-1):
            value = x.flatten(-3)
            marginal = dist.Normal(self.shifts, math.sqrt(variance))
            q = dist.OneHotCategorical(logits=marginal.log_prob(value))
            y = pyro.sample("y", q, infer={"enumerate": "parallel"})
            rest = value - (y * self.shifts).sum(-1, keepdim=True)
            loc, scale = self.weight / variance * rest, self.scale / math.sqrt(variance)
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))


class Line(torch.nn.Module):
    """w z + b_y as an image of one pixel."""

    def __init__(self, weight: float, shifts: Tensor) -> None:
        super().__init__()
        self.weight, self.shifts = weight, shifts

    def forward(self, both: Tensor) -> Tensor:
        value = self.weight * both[..., 0] + (both[..., 1:] * self.shifts).sum(-1)
        return value[..., None, None, None]


def test_with_the_exact_posterior_the_bound_is_the_evidence() -> None:
    weight, shifts, scale = 0.7, torch.tensor([-1.0, 0.5, 2.0, 2.5]), 0.4
    likelihood, x = Normal(scale), torch.linspace(-3, 4, 9).reshape(9, 1, 1, 1)
    model = SemiSupervisedModel(StandardNormal(1), Line(weight, shifts), likelihood, 4)
    each = dist.Normal(shifts, math.hypot(weight, scale)).log_prob(x.flatten(1))
    evidence = (each.logsumexp(-1) - math.log(4)).sum()
    guide = Exact(weight, shifts, scale)
    loss = TraceEnum_ELBO(max_plate_nesting=1).loss(model, guide, x)
    assert loss == pytest.approx(-float(evidence), rel=1e-5)
