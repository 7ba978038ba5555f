from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import pyro
import pytest
import scipy.stats
import torch
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO
from pyro.infer.inspect import get_model_relations
from torch import Tensor

from pyrovae.likelihoods import Normal
from pyrovae.networks import MLPDecoder, MLPEncoder
from pyrovae.posteriors import DiagonalNormal, Posterior
from pyrovae.priors import Prior, StandardNormal
from pyrovae.programs.vae import VAE
from pyrovae.utils.modes import evaluation_mode
from tests.support.tables import (
    DEFAULTS,
    ENCODERS,
    FALSE_ALARM,
    IMAGE_SHAPE,
    IN_TURN,
    LATENT_DIM,
    OBJECTIVES,
    PAIRS,
    POSTERIORS,
    PRIORS,
    changed,
    make_images,
    make_vae,
    snapshot,
    without_guide,
)


def test_a_copy_trains_beside_the_original() -> None:
    vae = make_vae()
    observed = vae.observe(make_images(vae.likelihood, 6))
    for program in (vae, copy.deepcopy(vae)):
        before = [p.clone() for p in program.parameters()]
        optimizer = pyro.optim.Adam({"lr": 0.01})
        svi = pyro.infer.SVI(program.model, program.guide, optimizer, Trace_ELBO())
        svi.step(observed)
        moved = [bool((p != b).any()) for p, b in zip(program.parameters(), before, strict=True)]
        assert all(moved)


NETWORKS = [name.replace("Encoder", "") for name in ENCODERS]
every_network = pytest.mark.parametrize("networks", NETWORKS)

#: Each likelihood, prior, posterior and network once, and beside these each prior with each
#: posterior that it fits.
WHOLE = [(*names, "MLP") for names in IN_TURN] + [(*DEFAULTS, net) for net in NETWORKS]
PAIRED = [("Normal", *pair, "MLP") for pair in PAIRS]
every_part = pytest.mark.parametrize("parts", dict.fromkeys(WHOLE), ids="-".join)
every_part_and_pair = pytest.mark.parametrize(
    "parts", dict.fromkeys([*WHOLE, *PAIRED]), ids="-".join
)


def images_of(vae: VAE, *batch: int) -> Tensor:
    return make_images(vae.likelihood, *batch)


def train(vae: VAE, x: Tensor, steps: int = 3) -> list[float]:
    """Stock SVI with stock Adam, on the store that is there."""
    adam = pyro.optim.Adam({"lr": 1e-2})
    svi = pyro.infer.SVI(vae.model, vae.guide, adam, Trace_ELBO())
    return [svi.step(x) for _ in range(steps)]


@torch.no_grad()
def loss_of_the_same_draws(vae: VAE, x: Tensor) -> float:
    """Two of these differ by the weights, not by noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Trace_ELBO().loss(vae.model, vae.guide, x)


@every_part_and_pair
def test_sites_and_shapes(parts: tuple[str, ...]) -> None:
    vae = make_vae(*parts)
    x = vae.observe(images_of(vae, 4))
    guide = poutine.trace(vae.guide).get_trace(x)
    model = poutine.trace(poutine.replay(vae.model, trace=guide)).get_trace(x)
    assert set(guide.stochastic_nodes) - {"images"} == {"z"}
    assert set(model.stochastic_nodes) - {"images"} == {"z"}
    assert model.observation_nodes == ["x"]
    for trace, name in ((guide, "z"), (model, "z"), (model, "x")):
        fn, frames = trace.nodes[name]["fn"], trace.nodes[name]["cond_indep_stack"]
        assert fn.batch_shape == (4,)
        assert fn.event_shape == ((LATENT_DIM,) if name == "z" else IMAGE_SHAPE)
        assert [(frame.name, frame.dim, frame.size) for frame in frames] == [("images", -1, 4)]
    assert model.nodes["z"]["value"] is guide.nodes["z"]["value"]


@every_part
def test_the_model_draws_as_many_images_as_asked(parts: tuple[str, ...]) -> None:
    vae = make_vae(*parts)
    trace = poutine.trace(vae.model).get_trace(num_images=5)
    x = trace.nodes["x"]
    assert x["value"].shape == (5, *IMAGE_SHAPE) and not x["is_observed"]
    assert x["fn"].support.check(x["value"]).all()
    assert trace.nodes["z"]["value"].shape == (5, LATENT_DIM)


@pytest.mark.slow
@every_part_and_pair
def test_stock_svi_trains_every_parameter(parts: tuple[str, ...]) -> None:
    vae = make_vae(*parts)
    x, before = vae.observe(images_of(vae, 16)), snapshot(vae)
    first = loss_of_the_same_draws(vae, x)
    train(vae, x, steps=10)
    assert loss_of_the_same_draws(vae, x) < first
    after = snapshot(vae)
    for name, _ in vae.named_parameters():
        assert not torch.equal(before[name], after[name]), name


@every_part_and_pair
def test_an_elbo_module_finds_every_parameter(parts: tuple[str, ...]) -> None:
    vae = make_vae(*parts)
    elbo = Trace_ELBO()(vae.model, vae.guide)
    assert {id(p) for p in elbo.parameters()} == {id(p) for p in vae.parameters()}
    elbo(vae.observe(images_of(vae, 4))).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_stock_objectives_take_every_pair_of_prior_and_posterior(
    pair: tuple[str, str], objective: str
) -> None:
    vae = make_vae("Normal", *pair)
    x = vae.observe(images_of(vae, 4))
    for vectorize in (False, True):
        elbo = OBJECTIVES[objective](
            num_particles=2, vectorize_particles=vectorize, max_plate_nesting=1
        )
        assert math.isfinite(elbo.loss_and_grads(vae.model, vae.guide, x))
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("vectorize", [False, True])
@every_network
def test_plates_are_found_without_help(vectorize: bool, networks: str) -> None:
    vae = make_vae(networks=networks)
    elbo = Trace_ELBO(num_particles=2, vectorize_particles=vectorize)
    assert math.isfinite(elbo.loss(vae.model, vae.guide, vae.observe(images_of(vae, 4))))


LATENTS = [names for names in IN_TURN if names[0] == "Normal"]


@pytest.mark.slow
@pytest.mark.parametrize("parts", LATENTS, ids="-".join)
@torch.no_grad()
def test_sequential_and_vectorised_particles_agree(parts: tuple[str, ...]) -> None:
    """As all images count, many at once give much for little."""
    vae = make_vae(*parts)
    x, found = vae.observe(images_of(vae, 16)), []
    for vectorize in (False, True):
        elbo = Trace_ELBO(num_particles=3, vectorize_particles=vectorize, max_plate_nesting=1)
        found.append([elbo.loss(vae.model, vae.guide, x) for _ in range(20)])
    assert scipy.stats.ttest_ind(*found, equal_var=False).pvalue > FALSE_ALARM


@every_network
def test_predictive_draws_latents_and_images(networks: str) -> None:
    vae = make_vae(networks=networks).eval()
    x = vae.observe(images_of(vae, 4))
    drawn = Predictive(vae.model, guide=vae.guide, num_samples=6)(x)
    assert drawn["z"].shape == (6, 4, LATENT_DIM)
    free = poutine.uncondition(vae.model)
    drawn = Predictive(free, guide=vae.guide, num_samples=6)(x)
    assert drawn["x"].shape == (6, 4, *IMAGE_SHAPE)
    assert not torch.equal(drawn["x"][0], drawn["x"][1])
    prior = Predictive(vae.model, num_samples=6)(num_images=2)
    assert prior["x"].shape == (6, 2, *IMAGE_SHAPE)


def test_pyro_sees_the_graphical_model() -> None:
    vae = make_vae()
    found = get_model_relations(vae.model, model_args=(vae.observe(images_of(vae, 4)),))
    assert found["sample_sample"] == {"z": [], "x": ["z"]}
    assert found["plate_sample"] == {"images": ["z", "x"]}
    assert found["observed"] == ["x"]


def test_pyro_draws_the_graphical_model() -> None:
    pytest.importorskip("graphviz")
    vae = make_vae()
    graph = pyro.render_model(vae.model, model_args=(vae.observe(images_of(vae, 4)),))
    assert "z -> x" in graph.source


@pytest.mark.slow
def test_two_vaes_in_one_store_both_train_as_if_alone() -> None:
    def seeded(seed: int) -> VAE:
        torch.manual_seed(seed)
        return make_vae(networks="Conv")

    x = torch.rand(4, *IMAGE_SHAPE)
    alone = []
    for seed in (1, 2):
        with pyro.get_param_store().scope():
            vae = seeded(seed)
            losses = train(vae, x)
            alone.append((losses, snapshot(vae)))
    pair = [seeded(1), seeded(2)]
    for vae, (losses, after), seed in zip(pair, alone, (1, 2), strict=True):
        before = snapshot(vae)
        seeded(seed)  # leaves the random state where the first training began
        assert train(vae, x) == losses
        assert not changed(snapshot(vae), after) and changed(before, after)


@every_part_and_pair
@torch.no_grad()
def test_encode_and_decode_are_the_programs_distributions(parts: tuple[str, ...]) -> None:
    vae = make_vae(*parts).eval()
    x = vae.observe(images_of(vae, 2, 4))
    q = vae.encode(x)
    assert q.batch_shape == (2, 4) and q.event_shape == (LATENT_DIM,)
    z = q.sample()
    p = vae.decode(z)
    assert p.batch_shape == (2, 4) and p.event_shape == IMAGE_SHAPE
    guide = poutine.trace(vae.guide).get_trace(x[0])
    assert torch.allclose(guide.nodes["z"]["fn"].log_prob(z[0]), q.log_prob(z)[0], atol=1e-5)
    conditioned = poutine.condition(vae.model, data={"z": z[0]})
    model = poutine.trace(conditioned).get_trace(x[0])
    # A sum over pixels may be near zero.
    assert torch.allclose(model.nodes["x"]["fn"].log_prob(x[0]), p.log_prob(x)[0], atol=1e-5)


@every_part
def test_encode_takes_8_bit_and_observed_images(parts: tuple[str, ...]) -> None:
    vae = make_vae(*parts)
    images = images_of(vae, 4)
    torch.manual_seed(1)
    first = vae.encode(images)
    torch.manual_seed(1)
    second = vae.encode(vae.observe(images))
    z = first.sample()
    assert torch.equal(first.log_prob(z), second.log_prob(z))


@every_part_and_pair
def test_drawing_changes_neither_modes_nor_statistics(parts: tuple[str, ...]) -> None:
    vae = make_vae(*parts)
    images = images_of(vae, 4)
    vae.train()
    vae.model.decoder.eval()
    modes = [module.training for module in vae.modules()]
    before = snapshot(vae)
    for drawn in (vae.sample(4), vae.reconstruct(images)):
        assert drawn.shape == (4, *IMAGE_SHAPE) and drawn.dtype == torch.float32
        assert drawn.min() >= 0 and drawn.max() <= 1 and not drawn.requires_grad
    assert [module.training for module in vae.modules()] == modes
    assert not changed(before, snapshot(vae))


@pytest.mark.parametrize("draw", [lambda v, x: v.sample(3), lambda v, x: v.reconstruct(x)])
def test_drawing_is_random_and_follows_the_seed(draw: Callable[[VAE, Tensor], Tensor]) -> None:
    vae = make_vae()
    images, drawn = images_of(vae, 3), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(draw(vae, images))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_evaluation_mode_goes_back_after_an_error() -> None:
    vae = make_vae(networks="Conv").train()
    vae.guide.encoder.layers.eval()
    modes = [module.training for module in vae.modules()]
    with pytest.raises(RuntimeError, match="inside"), evaluation_mode(vae):
        assert not any(module.training for module in vae.modules())
        raise RuntimeError("inside")
    assert [module.training for module in vae.modules()] == modes


def whole(prior: Prior, posterior: Posterior, to: torch.dtype | str = "cpu") -> VAE:
    """A VAE of these two and networks that fit, all of one type or on one device."""
    return VAE(
        encoder=MLPEncoder(IMAGE_SHAPE, posterior.num_params, [8]).to(to),
        decoder=MLPDecoder(IMAGE_SHAPE, prior.latent_dim, 3, [8]).to(to),
        prior=prior.to(to),
        likelihood=Normal(),
        posterior=posterior.to(to),
    )


def test_prior_and_posterior_must_have_the_same_size() -> None:
    with pytest.raises(ValueError, match="same latent_dim, got 3 and 4$"):
        whole(StandardNormal(3), DiagonalNormal(4))


APART = [pair for pair in itertools.product(PRIORS, POSTERIORS) if pair not in PAIRS]


@pytest.mark.parametrize(("prior", "posterior"), APART)
def test_prior_and_posterior_must_live_in_the_same_space(prior: str, posterior: str) -> None:
    spaces = ("sphere", "real") if prior == "HypersphericalUniform" else ("real", "sphere")
    p_z, q_z = without_guide(PRIORS[prior]()), POSTERIORS[posterior]()
    names = type(p_z).__name__, type(q_z).__name__
    text = f"{names[0]} is over {spaces[0]} vectors, {names[1]} over {spaces[1]} vectors$"
    with pytest.raises(ValueError, match=text) as caught:
        whole(p_z, q_z)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("prior", "posterior"), PAIRS)
def test_a_vae_can_be_built_of_parts_that_have_been_moved(prior: str, posterior: str) -> None:
    vae = whole(without_guide(PRIORS[prior]()), POSTERIORS[posterior](), torch.float64)
    assert vae.sample(2).dtype == torch.float64
    x = torch.rand(2, *IMAGE_SHAPE, dtype=torch.float64)
    assert math.isfinite(Trace_ELBO().loss(vae.model, vae.guide, x))
    with pyro.validation_enabled(False):  # for which the device without numbers has none
        vae = whole(without_guide(PRIORS[prior]()), POSTERIORS[posterior](), "meta")
    assert all(tensor.is_meta for tensor in (*vae.parameters(), *vae.buffers()))


@every_network
def test_state_goes_to_another_vae(networks: str) -> None:
    first, second = make_vae(networks=networks), make_vae(networks=networks)
    train(first, first.observe(images_of(first, 4)))
    second.load_state_dict(first.state_dict())
    assert not changed(snapshot(first), snapshot(second))


def test_networks_are_what_may_compute_in_lower_precision() -> None:
    vae = make_vae()
    assert vae.networks() == [vae.guide.encoder, vae.model.decoder]


def test_making_and_using_a_vae_seeds_nothing_and_keeps_the_store() -> None:
    pyro.param("mine", torch.ones(1))
    torch.manual_seed(1)
    vae = make_vae()
    assert torch.initial_seed() == 1
    state = torch.get_rng_state()
    vae.encode(torch.zeros(2, *IMAGE_SHAPE)).log_prob(torch.zeros(2, LATENT_DIM))
    assert torch.equal(torch.get_rng_state(), state)
    assert list(pyro.get_param_store()) == ["mine"]
