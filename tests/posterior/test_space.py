"""The latents of any programs as one vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor

from pyrovae import Engine, ModelGuidePair
from pyrovae.evaluation import log_weights
from pyrovae.posterior.space import LatentSpace, _ends, draw_prior, inputs_of
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.randomness import private_randomness
from tests.support.oracles import LinearGaussian
from tests.support.programs import TwoLatentsModel, conditional, numbered, two_latents
from tests.support.small import small_data, small_vae
from tests.support.spaces import every_program


@contextmanager
def drawn(
    programs: ModelGuidePair, inputs: dict[str, Tensor], compute: Callable[..., Any]
) -> Iterator[tuple[LatentSpace, Tensor, Any, Tensor]]:
    """What a function of latents and images gives, and three draws under the same seed."""
    x = torch.rand(5, 3, 16, 16)
    space = LatentSpace.of(programs, x, **inputs)
    with evaluation_mode(programs), torch.no_grad():
        with private_randomness(0, x.device):
            found = compute(space, x)
        with private_randomness(0, x.device):
            z = space.guide_draws(3, x, **inputs)
        yield space, x, found, z


@every_program
def test_vectors_and_sites_are_the_same_latents(
    make: type[ModelGuidePair], inputs: dict[str, Tensor], names: list[str]
) -> None:
    space = LatentSpace.of(make(), torch.rand(5, 3, 16, 16), **inputs)
    assert space.names == names and space.size == len(names)
    discrete = sum(len(names[space.slices[name]]) for name in space.discrete)
    assert space.continuous_size == space.size - discrete
    z = torch.randn(2, 5, space.size)
    assert torch.equal(space.flatten(space.unflatten(z)), z)
    for name, part in space.slices.items():
        assert all(n.startswith(f"{name}[") for n in names[part])


@every_program
def test_densities_are_those_of_the_programs(
    make: type[ModelGuidePair], inputs: dict[str, Tensor], names: list[str]
) -> None:

    def weighed(space: LatentSpace, x: Tensor) -> Tensor:
        return log_weights(space.programs, 3, x, **inputs)

    with drawn(make(), inputs, weighed) as (space, x, expected, z):
        prior, fit = space.log_joint(z, x, **inputs)
        found = prior + fit - space.log_guide(z, x, **inputs)
        assert torch.allclose(found, expected, rtol=1e-4)
        assert torch.equal(space.log_prior(z, **inputs), prior)
        assert torch.allclose(space.decode(z, **inputs).log_prob(x), fit)
        assert space.show(z, **inputs).shape == (3, 5, 3, 16, 16)


@every_program
def test_a_trace_of_the_guide_holds_the_draws_and_their_densities(
    make: type[ModelGuidePair], inputs: dict[str, Tensor], names: list[str]
) -> None:
    def traced(space: LatentSpace, x: Tensor) -> Any:
        return space.guide_trace(3, x, **inputs)

    with drawn(make(), inputs, traced) as (space, x, trace, z):
        values = {name: trace.nodes[name]["value"] for name in space.shapes}
        assert torch.equal(space.flatten(values), z) and z.shape == (3, 5, len(names))
        nodes = [trace.nodes[name] for name in space.shapes]
        log_q = sum(node["fn"].log_prob(node["value"]) for node in nodes)
        assert torch.allclose(log_q, space.log_guide(z, x, **inputs), rtol=1e-4)


@every_program
def test_prior_draws_follow_the_seed_and_change_nothing(
    make: type[ModelGuidePair], inputs: dict[str, Tensor], names: list[str]
) -> None:
    programs, split, engine = make().train(), small_data().split("test"), Engine("cpu", "fp32")
    before, state = {n: p.clone() for n, p in programs.state_dict().items()}, torch.get_rng_state()
    a, b, c = (draw_prior(programs, split, engine, 7, seed=s)[1] for s in (1, 1, 2))
    assert a.shape == (7, len(names)) and torch.equal(a, b) and not torch.equal(a, c)
    assert programs.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[n]) for n, value in programs.state_dict().items())


def test_what_programs_take_is_that_of_the_rows() -> None:
    split, engine = small_data().split("test"), Engine("cpu", "fp32")
    programs, rows = conditional(), np.array([5, 2])
    places = [list(split.attribute_names).index(name) for name in programs.attributes]
    found = inputs_of(programs, split, rows, engine)["attributes"]
    assert found.tolist() == split.attributes[rows][:, places].tolist()
    assert inputs_of(small_vae(), split, rows, engine) == {}


@pytest.mark.slow
def test_the_joint_density_of_a_linear_model_is_known() -> None:
    oracle = LinearGaussian()
    vae, x = oracle.vae(), oracle.images(6)
    space = LatentSpace.of(vae, x)
    with torch.no_grad():
        z = space.guide_draws(4, x)
        prior, fit = space.log_joint(z, x)
        evidence = prior + fit - space.log_guide(z, x)  # the posterior is exact
    assert torch.allclose(evidence, oracle.log_evidence(x).expand(4, 6))


@every_program
def test_nothing_is_decoded_where_only_latents_are_asked_for(
    make: type[ModelGuidePair], inputs: dict[str, Tensor], names: list[str]
) -> None:
    programs, x = make(), torch.rand(5, 3, 16, 16)
    space = LatentSpace.of(programs, x, **inputs)
    decoded: list[str] = []
    decoder = programs.model.decoder
    hook = decoder.register_forward_hook(lambda *_: decoded.append("once"))
    with hook, evaluation_mode(programs), torch.no_grad():
        z = space.prior_draws(5, **inputs)
        space.log_prior(z, **inputs)
        assert z.shape == (5, len(names)) and not decoded
        space.decode(z, **inputs)
    assert decoded == ["once"] and not am_i_wrapped()


def test_integers_are_the_nearest_ones_of_their_support() -> None:
    space = LatentSpace.of(numbered(), torch.zeros(2, 3, 16, 16))
    z = torch.tensor([[-5.0, 0.5, 0.5, 0.5], [1.6, 0, 0, 0], [9.0, 0, 0, 0]])
    found = space.unflatten(z)
    assert found["y"].tolist() == [0, 2, 3] and torch.equal(found["z"], z[:, 1:])
    assert torch.equal(space.flatten(found)[:, 0], torch.tensor([0.0, 2.0, 3.0]))
    several = dist.Categorical(torch.ones(4)).expand([2]).to_event(1)
    assert _ends(several) == (0, 3) and _ends(dist.Poisson(1.0)) == (0, math.inf)


class Described(TwoLatentsModel):
    """A model that observes a number besides the image: half of it, and noise of 0.1."""

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        found = super().forward(x, num_images)
        count = num_images if x is None else len(x)
        with pyro.plate("described", count, dim=-1):
            mean = found.new_tensor(0.5)
            pyro.sample("side", dist.Normal(mean, 0.1), obs=found.new_full((count,), 0.7))
        return found


def test_further_observed_sites_count_in_the_joint_density() -> None:
    programs = two_latents()
    likelihood = programs.likelihood
    described = ModelGuidePair(Described(likelihood), programs.guide, likelihood)
    described.model.load_state_dict(programs.model.state_dict())
    x = torch.rand(5, 3, 16, 16)
    more = dist.Normal(0.5, 0.1).log_prob(torch.tensor(0.7))
    with torch.no_grad():
        spaces = [LatentSpace.of(own, x) for own in (programs, described)]
        z = spaces[0].guide_draws(3, x)
        plain, found = (own.log_joint(z, x) for own in spaces)
    assert torch.equal(found[0], plain[0])
    assert torch.allclose(found[1], plain[1] + more, atol=1e-4)
