"""Guides that draw the sites in another order than the model: their rate is no sum of KLs."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae import ArrayData, Engine, FreeBits, InputError, LayerFreeBits, Recipe, Trainer
from pyrovae.likelihoods import Normal
from pyrovae.posterior.elbo import image_terms
from pyrovae.posterior.encoding import encode
from pyrovae.programs import ModelGuidePair
from tests.support.oracles import assert_mean

#: The model: top ~ N(0, 1), z ~ N(B top, T^2), x ~ N(z, S^2).
B, T, S = 0.8, 0.2, 0.5
CPU = Engine("cpu", "fp32")


def prior() -> torch.distributions.MultivariateNormal:
    """p(top, z)."""
    cov = torch.tensor([[1.0, B], [B, B * B + T * T]])
    return torch.distributions.MultivariateNormal(torch.zeros(2), cov)


def posterior(x: Tensor) -> torch.distributions.MultivariateNormal:
    """p(top, z given x) for x `(*)`."""
    cov = prior().covariance_matrix
    gain = cov[:, 1] / (cov[1, 1] + S * S)
    mean = x[..., None] * gain
    return torch.distributions.MultivariateNormal(mean, cov - torch.outer(gain, cov[1]))


class Model(PyroModule):
    """Two levels of one number each, and images of one pixel."""

    def __init__(self, likelihood: Normal) -> None:
        super().__init__("ordered_model")
        self.weight, self.likelihood = nn.Parameter(torch.tensor(B)), likelihood

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        with pyro.plate("images", num_images if x is None else len(x), dim=-1):
            top = pyro.sample("top", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            z = pyro.sample("z", dist.Normal(self.weight * top, T).to_event(1))
            return pyro.sample("x", self.likelihood(z[..., None, None]), obs=x)


class Guide(PyroModule):
    """The exact posterior, as q(first) q(second given first)."""

    def __init__(self, first: str) -> None:
        super().__init__("ordered_guide")
        self.shift = nn.Parameter(torch.zeros(()))
        self.places = [0, 1] if first == "top" else [1, 0]

    def forward(self, x: Tensor, num_images: int = 1) -> None:
        exact = posterior(x.flatten())
        (a, b), mean, cov = self.places, exact.mean + self.shift, exact.covariance_matrix[0]
        names = ["top", "z"]
        with pyro.plate("images", len(x), dim=-1):
            q = dist.Normal(mean[:, [a]], cov[a, a].sqrt())
            drawn = pyro.sample(names[a], q.to_event(1))
            slope, rest = cov[a, b] / cov[a, a], cov[b, b] - cov[a, b] ** 2 / cov[a, a]
            loc = mean[:, [b]] + slope * (drawn - mean[:, [a]])
            pyro.sample(names[b], dist.Normal(loc, rest.sqrt()).to_event(1))


def programs(first: str) -> ModelGuidePair:
    likelihood = Normal(S)
    return ModelGuidePair(Model(likelihood), Guide(first), likelihood)


def images(count: int = 4000) -> np.ndarray:
    greys = torch.randint(0, 256, (count, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    return greys.to(torch.uint8).numpy()


def observations() -> Tensor:
    """The mean of the dequantised images, `(N,)`."""
    return (torch.tensor(images()).flatten() + 0.5) / 256


def log_evidence(x: Tensor) -> Tensor:
    scale = math.sqrt(B * B + T * T + S * S)
    return torch.distributions.Normal(0.0, scale).log_prob(x)


both_orders = pytest.mark.parametrize("first", ["top", "z"])


@both_orders
def test_an_exact_guide_has_the_evidence_as_its_elbo(first: str) -> None:
    found = image_terms(programs(first), images(), CPU)
    elbo = -(found["rate"] + found["distortion"])
    assert_mean(elbo - log_evidence(observations()).double(), 0.0)
    assert_mean(
        found["rate"] - torch.distributions.kl_divergence(posterior(observations()), prior()), 0.0
    )


@both_orders
def test_encodings_have_the_joint_rate(first: str) -> None:
    found = encode(programs(first), images(), CPU)
    expected = torch.distributions.kl_divergence(posterior(observations()), prior()).numpy()
    for own in (found.rate, found.log_q - found.log_p, found.kl.sum(1)):
        assert_mean(torch.tensor(own - expected), 0.0)
    assert found.exact.tolist() == ([True, True] if first == "top" else [False, True])
    assert_mean(torch.tensor(sum(found.site_rates.values()) - expected), 0.0)


@both_orders
@pytest.mark.parametrize("make", [FreeBits, LayerFreeBits])
@pytest.mark.parametrize("vectorize", [True, False])
def test_free_bits_of_zero_are_the_elbo(first: str, make: type[FreeBits], vectorize: bool) -> None:
    pair, x = programs(first), observations().reshape(-1, 1, 1, 1)
    objective = make(0.0, num_particles=2, vectorize_particles=vectorize)
    draws = torch.tensor([objective.loss(pair.model, pair.guide, x) / len(x) for _ in range(40)])
    assert_mean(draws, -log_evidence(x).mean())


@both_orders
def test_the_mean_field_elbo_of_pyro_is_refused_where_it_is_wrong(first: str) -> None:
    data = ArrayData(images(60), channels_last=False)
    for objective in (Trace_ELBO(), TraceMeanField_ELBO()):
        recipe = Recipe(objective=objective)
        if first == "z" and isinstance(objective, TraceMeanField_ELBO):
            with pytest.raises(InputError, match="needs a guide that draws the latent sites in"):
                Trainer(epochs=1, batch_size=20).fit(programs(first), data, recipe)
        else:
            Trainer(epochs=1, batch_size=20).fit(programs(first), data, recipe)
