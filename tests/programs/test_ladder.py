"""The ladder VAE: densities, exact posteriors, shared networks, options, free bits and errors."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import MultivariateNormal

from pyrovae import (
    VAE,
    DiagonalNormal,
    Engine,
    FreeBits,
    InputError,
    LadderVAE,
    LayerFreeBits,
    Normal,
    ProbabilisticPCA,
    Recipe,
    StandardNormal,
    Trainer,
)
from pyrovae.inspection.sections.calibration import section as calibration
from pyrovae.inspection.spread_sweep import sweep_spread
from pyrovae.networks import ResidualBlock
from pyrovae.posterior.elbo import evaluate, terms
from pyrovae.programs.pair import run_both
from tests.support.programs import ladder_vae
from tests.support.small import small_data, small_vae
from tests.support.subjects import EFFORT, subject

X = torch.rand(5, 3, 16, 16)


def linear(seed: int = 0) -> LadderVAE:
    """Two layers of one latent each, and linear networks: the model is Gaussian."""
    torch.manual_seed(seed)
    vae = LadderVAE(
        prior=StandardNormal(1),
        likelihood=Normal(scale=0.3),
        posterior=DiagonalNormal(1),
        image_shape=(1, 2, 2),
        channels=[2],
        latents=[1],
        blocks=0,
    ).double()
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
            if name.endswith(("head.weight", "head.bias")) and "stages" in name:
                parameter[1:] = 0.2 * (parameter.ndim == 1)  # A scale that does not vary.
    return vae


def gaussian(vae: LadderVAE) -> tuple[MultivariateNormal, Tensor, Tensor]:
    """p(z2, z1) of a linear model, and weight and bias of x given them."""

    def maps(z: Tensor) -> Tensor:
        given = {"z2": z[:1], "z1": z[1:, None, None]}
        model = poutine.condition(vae.model, {n: v[None] for n, v in given.items()})
        node = poutine.trace(model).get_trace(num_images=1).nodes
        return torch.cat([node["z1"]["fn"].mean.flatten(), node["x"]["fn"].mean.flatten()])

    zero = torch.zeros(2, dtype=torch.float64)
    slopes, bias = torch.autograd.functional.jacobian(maps, zero), maps(zero).detach()
    trace = poutine.trace(vae.model).get_trace(num_images=1)
    scale = trace.nodes["z1"]["fn"].base_dist.scale.flatten().detach()
    factor = torch.stack([torch.tensor([1.0, 0.0]).double(), torch.cat([slopes[0, :1], scale])])
    loc = torch.stack([zero[0], bias[0]])
    return MultivariateNormal(loc, scale_tril=factor), slopes[1:], bias[1:]


@torch.no_grad()
def set_exact(
    vae: LadderVAE,
    weight: Tensor,
    bias: Tensor,
    prior: MultivariateNormal,
    inflation: float = 1.0,
) -> None:
    """Sets the guide to the exact posterior of the linear model, its spread times a factor."""
    guide, noise = vae.guide, 0.3**2
    precision = prior.precision_matrix + weight.T @ weight / noise
    covariance = precision.inverse()
    start = prior.precision_matrix @ prior.loc - weight.T @ bias / noise
    conv = guide.encoder.levels[0].layers[0]
    conv.weight.zero_()
    conv.weight[:, 0, 1:, 1:] = (weight.T / noise).unflatten(-1, (2, 2))
    conv.bias.copy_(start)  # The two features: the natural parameters of z2 and z1.
    log = lambda scale: 7 * torch.atanh((inflation * scale).log() / 7)  # noqa: E731
    top = guide.top.layers[-1]
    top.weight.copy_(torch.stack([covariance[0], torch.zeros(2)]))
    top.bias.copy_(torch.stack([torch.zeros(()), log(covariance[0, 0].sqrt())]))
    stage = vae.model.decoder.stages[0].module
    slope, offset = stage.inject[0].weight[:, 0], stage.inject[0].bias
    head = stage.head.weight[0, :, 0, 0]
    # q(z1 | z2) has mean (natural - L10 z2) / L11; the merge gives it relative to p(z1 | z2).
    scale = stage_scale(stage)
    mixed = torch.zeros(2, 4, dtype=torch.float64)
    mixed[0, 1] = 1 / precision[1, 1]
    mixed[0, 2] = -precision[1, 0] / precision[1, 1] / slope[0]
    shift = -mixed[0, 2] * offset[0] - stage.head.bias[0]
    mixed[0, 2:] -= head
    both, last = guide.merges[0].maps.layers
    both.weight.copy_(mixed[:, :, None, None])
    both.bias.copy_(torch.stack([shift, torch.zeros(())]))
    last.weight.zero_()
    last.weight[0, 0] = 1 / scale
    last.bias.copy_(torch.stack([torch.zeros(()), log(precision[1, 1].rsqrt() / scale)]))


def stage_scale(stage: Any) -> Tensor:
    return (7 * torch.tanh(stage.head.bias[1] / 7)).exp()


@pytest.mark.parametrize("inflation", [0.5, 2.0])
def test_the_factor_of_the_spread_undoes_an_inflation(inflation: float) -> None:
    """Lower layers follow the scaled draws of upper ones: the guide is exact at that factor."""
    vae = linear()
    prior, weight, bias = gaussian(vae)
    images = torch.randint(0, 256, (200, 1, 2, 2), dtype=torch.uint8).numpy()
    tables = []
    for own in (1.0, inflation):
        set_exact(vae, weight, bias, prior, own)
        table, found = sweep_spread(vae, images, Engine("cpu", "fp32"), num_draws=20)
        tables.append(table)
        assert found.factor == pytest.approx(1 / own, rel=0.02)
    assert tables[1]["elbo"][1 / inflation] == pytest.approx(tables[0]["elbo"][1.0], rel=1e-9)
    assert found.gain > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_with_the_exact_posterior_the_elbo_is_the_log_evidence(seed: int) -> None:
    vae = linear(seed)
    prior, weight, bias = gaussian(vae)
    set_exact(vae, weight, bias, prior)
    x = torch.rand(20, 1, 2, 2, dtype=torch.float64)
    covariance = weight @ prior.covariance_matrix @ weight.T + 0.3**2 * torch.eye(4)
    exact = MultivariateNormal(weight @ prior.loc + bias, covariance).log_prob(x.flatten(1))
    guide, model = run_both(vae.model, vae.guide, x)
    sites = ("z2", "z1")
    log_q, log_p = (
        sum(trace.nodes[n]["fn"].log_prob(trace.nodes[n]["value"]) for n in names)
        for trace, names in ((guide, sites), (model, (*sites, "x")))
    )
    assert torch.allclose(log_p - log_q, exact)  # Whatever is drawn.


@pytest.mark.parametrize("precision_weighted", [False, True])
def test_model_and_guide_share_one_run_that_changes_no_value(precision_weighted: bool) -> None:
    vae = ladder_vae(precision_weighted)
    runs: list[int] = []
    for stage in vae.model.decoder.stages:
        stage.module.register_forward_hook(lambda *_: runs.append(1))
    guide, model = run_both(vae.model, vae.guide, X)
    assert len(runs) == 2
    again = poutine.trace(poutine.replay(vae.model, trace=guide)).get_trace(X)
    assert len(runs) == 4
    for name in ("z3", "z2", "z1", "x"):
        assert torch.equal(model.nodes[name]["fn"].mean, again.nodes[name]["fn"].mean)


def test_a_shared_run_ends_when_weights_or_gradients_change() -> None:
    vae = ladder_vae()
    with torch.no_grad():
        guide = poutine.trace(vae.guide).get_trace(X)
    replayed = poutine.trace(poutine.replay(vae.model, trace=guide)).get_trace(X)
    assert replayed.nodes["x"]["fn"].mean.requires_grad
    before = replayed.nodes["z1"]["fn"].mean
    guide = poutine.trace(vae.guide).get_trace(X)
    with torch.no_grad():
        vae.model.decoder.stages[0].module.head.bias.add_(1)
    after = poutine.trace(poutine.replay(vae.model, trace=guide)).get_trace(X)
    expected = copy.deepcopy(vae)
    same = poutine.trace(poutine.replay(expected.model, trace=guide)).get_trace(X)
    assert torch.equal(after.nodes["z2"]["fn"].mean, same.nodes["z2"]["fn"].mean)
    assert before.shape == after.nodes["z1"]["fn"].mean.shape


def test_precision_weighting_is_the_product_of_two_normals() -> None:
    vae = ladder_vae(precision_weighted=True)
    merge, p = (
        vae.guide.merges[0],
        torch.distributions.Normal(torch.tensor(0.3), torch.tensor(0.5)),
    )
    merge.maps.forward = lambda x: torch.stack([x, torch.full_like(x, 0.7)], -3)
    q = merge(torch.full((1, 1), 2.0), torch.zeros(1), p)
    grid = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    own = torch.distributions.Normal(2.0, float((7 * torch.tanh(torch.tensor(0.7 / 7))).exp()))
    product = (own.log_prob(grid) + p.log_prob(grid)).exp()
    mean = (grid * product).sum() / product.sum()
    spread = ((grid - mean).square() * product).sum() / product.sum()
    assert q.loc.item() == pytest.approx(mean.item(), rel=1e-5)
    assert q.scale.item() == pytest.approx(spread.sqrt().item(), rel=1e-5)


def test_the_rate_is_the_sum_over_layers_and_a_collapsed_layer_has_none() -> None:
    vae = ladder_vae()
    found = terms(vae.model, vae.guide, X)
    parts = [found[f"rate_{name}"] for name in ("z3", "z2", "z1")]
    assert torch.allclose(sum(parts), found["rate"])
    with torch.no_grad():  # A top layer that no image reaches.
        for parameter in vae.guide.top.parameters():
            parameter.zero_()
    whole = evaluate(vae, small_data().split("val").images, Engine("cpu", "fp32"))
    assert list(whole.rates) == ["z3", "z2", "z1"]
    assert whole.rates["z3"] == pytest.approx(0, abs=1e-6)
    assert sum(whole.rates.values()) == pytest.approx(whole.rate)


@torch.no_grad()
def test_upper_layers_of_an_image_are_kept_and_the_others_drawn_from_the_prior() -> None:
    """The prior's draws of the lower layers do not depend on the image."""
    vae = ladder_vae().eval()
    with pytest.raises(InputError, match="no latent site z4; sites are z3, z2, z1$"):
        vae.reconstruct(X, sites=["z4"])
    found = []
    for sites in ((), ("z3", "z2", "z1"), ("z3",)):
        torch.manual_seed(0)
        found.append(vae.reconstruct(X, sites=sites))
    assert torch.equal(found[0], found[1]) and not torch.allclose(found[0], found[2])
    torch.manual_seed(0)
    guide = poutine.trace(vae.guide).get_trace(X)
    top = {"z3": guide.nodes["z3"]["value"], "x": torch.zeros(())}
    trace = poutine.trace(poutine.condition(vae.model, data=top)).get_trace(num_images=len(X))
    assert torch.allclose(found[2], vae.likelihood.to_images(trace.nodes["x"]["fn"]), atol=1e-6)


@pytest.mark.slow
def test_free_bits_per_layer_leave_a_small_layer_alone() -> None:
    vae, losses = ladder_vae(), []
    for threshold in (0.0, 1e3):
        torch.manual_seed(0)
        vae.zero_grad()
        losses.append(LayerFreeBits(threshold).loss_and_grads(vae.model, vae.guide, X))
    rate = losses[1] - losses[0]
    torch.manual_seed(0)
    found = sum(terms(vae.model, vae.guide, X)["rate"]).detach()
    assert rate == pytest.approx(3 * 1e3 * len(X) - float(found), rel=1e-4)
    torch.manual_seed(0)
    per_dimension = FreeBits(1e3).loss_and_grads(vae.model, vae.guide, X)
    assert per_dimension - losses[0] == pytest.approx((2 + 4 + 16) * 1e3 * len(X), rel=1e-2)


OPTIONS: dict[str, dict[str, Any]] = {
    "channels": {"channels": [4, 4, 8]},
    "latents": {"latents": [1, 1, 1]},
    "strides": {"strides": [2, 1, 2]},
    "blocks": {"blocks": 2},
    "block": {"block": ResidualBlock},
    "precision_weighted": {"precision_weighted": True},
    "shortcut": {"shortcut": True},
}


@pytest.mark.parametrize("given", OPTIONS.values(), ids=OPTIONS.keys())
def test_each_option_changes_the_networks(given: dict[str, Any]) -> None:
    plain, other = ladder_vae(), ladder_vae(**given)
    shapes = [[p.shape for p in vae.parameters()] for vae in (plain, other)]
    assert shapes[0] != shapes[1]
    assert other.sample(2).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"latents": [1]}, "latents must have the length of channels"),
        ({"latents": [0, 0, 0]}, "latents must have a level above 0"),
        ({"latents": [0, -1, 1]}, "latents must be at least 0"),
        ({"strides": [2, 3, 2]}, "strides must be 1 or 2"),
        ({"blocks": -1}, "blocks must be at least 0"),
        ({"channels": [4] * 6, "latents": [1] * 6}, "can be halved 4 times, but channels"),
        ({"channels": [], "latents": []}, "channels must be a list of positive numbers"),
    ],
)
def test_levels_that_do_not_fit_are_refused_in_one_line(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ladder_vae(**given)


@pytest.mark.slow
def test_the_metrics_have_a_rate_per_layer() -> None:
    recipe = Recipe(optimizer=partial(torch.optim.Adam, lr=1e-3), objective=LayerFreeBits())
    history = Trainer(epochs=1).fit(ladder_vae(), small_data(), recipe, Engine("cpu", "fp32"))
    parts = [history[f"val_rate_{name}"].item() for name in ("z3", "z2", "z1")]
    assert sum(parts) == pytest.approx(history["val_rate"].item(), rel=1e-4)


def test_a_guide_that_runs_its_networks_per_draw_is_ranked_among_fewer_draws() -> None:
    budget = replace(EFFORT, rank_draws=19)
    for programs, count in ((ladder_vae(), 19), (small_vae(), 99)):
        found = calibration(subject(programs, budget))
        assert f"{count} draws of the guide" in found.figures["ranks"].caption


def test_it_starts_at_probabilistic_pca_as_a_vae_does() -> None:
    data, cpu = small_data(), Engine("cpu", "fp32")
    images, split = data.split("train").images, data.split("val")
    levels = {"channels": [4, 4], "latents": [1, 1], "shortcut": True}
    ladder = LadderVAE.for_images(data, 4, prior=StandardNormal, **levels)
    plain = VAE.for_images(data, 4, prior=StandardNormal)
    for vae in (ladder, plain):
        assert "starts from probabilistic PCA" in ProbabilisticPCA()(vae, images, False)
    found = evaluate(ladder, split, cpu)
    below = found.rates["z2"] + found.rates["z1"]
    # The lower latents change no image yet, and cost almost nothing.
    assert below < 0.1
    assert found.elbo + below == pytest.approx(evaluate(plain, split, cpu).elbo, rel=1e-5)


def test_without_shortcuts_it_does_not_start_at_probabilistic_pca() -> None:
    with pytest.raises(InputError, match="set --program.shortcut true; use RandomStart instead"):
        ProbabilisticPCA()(ladder_vae(), small_data().split("train").images, False)
