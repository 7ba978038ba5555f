"""The compiled graph computes what the programs compute."""

from __future__ import annotations

import contextlib
import copy
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.infer
import pytest
import torch
from torch import Tensor

from pyrovae import SVI, VAE, Capacity, Engine, GroupedOptimizer, MLPDecoder, MLPEncoder, Warmup
from pyrovae.objectives import Progress, as_objective
from pyrovae.training import compiling
from pyrovae.training.compiling import CompiledGradients
from pyrovae.training.gradients import Gradients
from tests.support import matrix
from tests.support.matrix import LIKELIHOODS, OBJECTIVES, POSTERIORS, PRIORS, in_turn
from tests.support.tables import make_images, make_vae

pytestmark = pytest.mark.slow

SHAPE = (1, 28, 28)
#: The time of tracing and compiling grows with the number of layers.
make = partial(matrix.make, layers=1)
#: What depends on the values of tensors, and so cannot be replayed.
UNTRACED = {"RenyiELBO"}
#: Draws on spheres, by rejection: these cannot either.
REJECTED = {"VonMisesFisher", "HypersphericalUniform"}
CASES = list(in_turn(left_out=UNTRACED | REJECTED))


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the traced graph as it is: compiling takes half a minute."""
    monkeypatch.setattr(compiling, "_compiled", lambda graph, values: graph)


@pytest.fixture(autouse=True)
def no_validation() -> Any:
    """As in training."""
    with pyro.validation_enabled(False):
        yield


def compiled(vae: VAE, objective: Any, clip_norm: float | None = None) -> CompiledGradients:
    own = as_objective(objective)
    gradients = Gradients(vae.model, vae.guide, own, vae.scored, clip_norm)
    return CompiledGradients(gradients, list(vae.parameters()))


def same(vae: VAE, objective: Any, clip_norm: float | None = None) -> None:
    """The graph's numbers are the programs', at two steps of different beta."""
    images = make_images(vae.likelihood, 4, shape=SHAPE)
    objective = as_objective(objective)
    twin, other = copy.deepcopy(vae), copy.deepcopy(objective)
    graph = compiled(vae, objective, clip_norm)
    twin.to(memory_format=torch.contiguous_format)
    eager = Gradients(twin.model, twin.guide, other, twin.scored, clip_norm)
    for seed, beta in ((1, 0.5), (2, 1.5)):
        twin.zero_grad()
        torch.manual_seed(seed)
        expected, _ = eager(images, beta, {})
        torch.manual_seed(seed)
        found, _ = graph(images, beta, {})
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b.to(a), rtol=1e-12)
        for (name, p), q in zip(vae.named_parameters(), twin.parameters(), strict=True):
            assert torch.allclose(p.grad, q.grad, rtol=1e-9, atol=1e-12), name
        for a, b in zip(vae.buffers(), twin.buffers(), strict=True):
            assert torch.allclose(a, b)
        for name, value in other.state.items():
            own = objective.state[name]
            assert torch.allclose(own, value.to(own), equal_nan=True), name
    assert graph.shapes is not None


def test_the_cases_have_every_part() -> None:
    tables = (PRIORS, LIKELIHOODS, POSTERIORS, OBJECTIVES)
    expected = [set(table) - UNTRACED - REJECTED for table in tables]
    assert list(map(set, zip(*CASES, strict=True))) == expected


@pytest.mark.parametrize(
    ("prior", "likelihood", "posterior", "objective"), CASES, ids=map("-".join, CASES)
)
def test_the_graph_is_the_programs(
    prior: str, likelihood: str, posterior: str, objective: str, traced_only: None
) -> None:
    torch.manual_seed(0)
    vae = make(prior, likelihood, posterior, SHAPE).double()
    vae.to(memory_format=torch.channels_last)  # As in training.
    same(vae, OBJECTIVES[objective](), clip_norm=1.0)


@pytest.mark.parametrize("name", sorted(UNTRACED))
def test_objectives_that_look_at_values_are_refused(name: str, traced_only: None) -> None:
    vae = make("StandardNormal", "Normal", "DiagonalNormal", SHAPE)
    graph = compiled(vae, OBJECTIVES[name]())
    with pytest.raises((NotImplementedError, RuntimeError)):
        graph(make_images(vae.likelihood, 4, shape=SHAPE), 1.0, {})


def test_draws_by_rejection_are_refused(traced_only: None) -> None:
    vae = make("HypersphericalUniform", "Normal", "VonMisesFisher", SHAPE)
    graph = compiled(vae, OBJECTIVES["Trace_ELBO"]())
    with pytest.raises((NotImplementedError, RuntimeError)):
        graph(make_images(vae.likelihood, 4, shape=SHAPE), 1.0, {})


def test_what_changes_over_a_run_stays_live(traced_only: None) -> None:
    vae = make("StandardNormal", "Normal", "DiagonalNormal", SHAPE)
    images = make_images(vae.likelihood, 4, shape=SHAPE)
    objective = Capacity(50.0, schedule=Warmup(0.5))
    graph = compiled(vae, objective)
    losses = []
    for step in (0, 49):
        objective.begin_step(Progress(step, 100, 10))
        torch.manual_seed(0)
        losses.append(float(graph(images, 1.0, {})[0].loss))
    assert abs(losses[0] - losses[1]) > 100
    first, second = (float(graph(images, 1.0, {})[0].loss) for _ in range(2))
    assert first != second


def test_other_batch_sizes_run_the_programs(traced_only: None) -> None:
    vae = make("StandardNormal", "Normal", "DiagonalNormal", SHAPE).double()
    graph = compiled(vae, OBJECTIVES["Trace_ELBO"]())
    images = make_images(vae.likelihood, 4, shape=SHAPE)
    graph(images, 1.0, {})
    kept, graph.graph = graph.graph, None
    terms, _ = graph(images[:3], 1.0, {})
    assert terms.finite == 1
    graph.graph = kept
    assert graph(images, 1.0, {})[0].finite == 1


def test_the_memory_layout_may_differ_from_the_trace(traced_only: None) -> None:
    """The compiler chooses the layout of maps, and flattening them may then need a copy."""
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    vae = VAE.for_images(images.numpy(), 2, encoder=MLPEncoder, decoder=MLPDecoder)
    graph = compiled(vae, OBJECTIVES["Trace_ELBO"]())
    losses = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        losses.append(graph(images.contiguous(memory_format=layout), 1.0, {})[0].loss)
    torch.testing.assert_close(*losses)


def test_tracing_leaves_no_trace(traced_only: None) -> None:
    vae = make("StandardNormal", "OptimalScaleNormal", "DiagonalNormal", SHAPE)
    images = make_images(vae.likelihood, 4, shape=SHAPE)
    pyro.clear_param_store()
    before, random = [b.clone() for b in vae.buffers()], torch.get_rng_state()
    graph = compiled(vae, OBJECTIVES["GECO"]())
    graph.build(images, 1.0, {})
    assert all(torch.equal(a, b) for a, b in zip(vae.buffers(), before, strict=True))
    assert torch.equal(torch.get_rng_state(), random) and not list(pyro.get_param_store())
    assert not any(p.grad is not None for p in vae.parameters())


def test_a_step_that_is_not_finite_changes_nothing(traced_only: None) -> None:
    vae = make("StandardNormal", "Normal", "DiagonalNormal", SHAPE)
    images = make_images(vae.likelihood, 4, shape=SHAPE)
    objective = OBJECTIVES["GECO"]()
    graph = compiled(vae, objective)
    assert graph(images, 1.0, {})[0].finite == 1
    before: list[Tensor] = [b.clone() for b in (*vae.buffers(), *objective.state.values())]
    with torch.no_grad():
        next(iter(vae.parameters())).fill_(float("nan"))
    assert graph(images, 1.0, {})[0].finite == 0
    after = [*vae.buffers(), *objective.state.values()]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_addresses_stay(traced_only: None) -> None:
    """As a recorder of a GPU needs: of weights, buffers, optimiser and objective."""
    vae = make("StandardNormal", "OptimalScaleNormal", "DiagonalNormal", SHAPE)
    images, objective = make_images(vae.likelihood, 4, shape=SHAPE), OBJECTIVES["GECO"]()
    optimizer = GroupedOptimizer(partial(torch.optim.Adam, lr=1e-3), clip_norm=1.0)
    svi = SVI(vae.model, vae.guide, optimizer, objective, observe=vae.scored)
    svi.evaluate_loss(vae.observe(images))
    optimizer.register(p for _, p in pyro.get_param_store().named_parameters())
    svi.compute = CompiledGradients(svi.gradients, optimizer.parameters())
    seen = []
    for _ in range(3):
        assert svi.advance(images).finite
        tensors = [*vae.state_dict().values(), *optimizer.state_tensors().values()]
        tensors += objective.state.values()
        seen.append([tensor.data_ptr() for tensor in tensors])
    assert seen[0] == seen[1] == seen[2]


def test_tensors_that_no_module_registered_are_constants(traced_only: None) -> None:
    vae = make("StandardNormal", "Normal", "DiagonalNormal", SHAPE).double()
    weights = torch.linspace(0.5, 1.5, 784, dtype=torch.float64).reshape(SHAPE)
    vae.model.decoder.register_forward_hook(lambda module, z, h: h * weights)
    same(vae, OBJECTIVES["Trace_ELBO"]())


@pytest.mark.parametrize("networks", ["MLP", "Conv"])
def test_bf16_follows_the_oracle_in_fp64(networks: str) -> None:
    """Of eight bits: the loss to 1%, the direction of the gradient to 8 degrees."""
    torch.manual_seed(0)
    vae = make_vae(networks=networks)
    oracle, images = copy.deepcopy(vae).double(), make_images(vae.likelihood, 64)
    found = []
    for own, precision in ((oracle, "fp32"), (vae, "bf16")):
        with Engine("cpu", precision).running(own, own.networks()):
            gradients = Gradients(
                own.model, own.guide, as_objective(pyro.infer.Trace_ELBO()), own.observe
            )
            torch.manual_seed(1)  # In float64, draws of float32 noise would be other numbers.
            with same_noise():
                terms, _ = gradients(images, 1.0, {})
        flat = torch.cat([p.grad.flatten().double() for p in own.parameters()])
        found.append((float(terms.loss), flat))
    (expected, direction), (loss, rounded) = found
    assert loss == pytest.approx(expected, rel=0.01) and loss != expected
    assert torch.cosine_similarity(direction, rounded, dim=0) > 0.99


@contextlib.contextmanager
def same_noise() -> Any:
    """Draws of Normals from float32 noise, whatever the parameters' precision."""
    normal = torch.distributions.normal._standard_normal

    def drawn(shape: Any, dtype: Any, device: Any) -> Tensor:
        return torch.normal(torch.zeros(shape), torch.ones(shape)).to(dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.distributions.normal, "_standard_normal", drawn)
        yield
    assert torch.distributions.normal._standard_normal is normal


def test_a_library_that_a_killed_compiler_left_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor

    plain, wrapped, foreign = (tmp_path / f"{own}.main.so" for own in ("plain", "wrapped", "lib"))
    for library in (plain, wrapped, foreign):
        library.touch()
    for library in (plain, wrapped):
        library.with_suffix(".cpp").touch()
    errors: list[Exception] = [
        ImportError(f"{plain}: file too short"),
        RuntimeError(f"ImportError: {wrapped}: file too short"),
    ]

    def load(*args: Any, **kwargs: Any) -> str:
        if errors:
            raise errors.pop(0)
        return "loaded"

    monkeypatch.setattr(torch._inductor, "compile", load)
    graph = torch.fx.symbolic_trace(torch.nn.Identity())
    assert compiling._compiled(graph, []) == "loaded"
    assert not plain.exists() and not wrapped.exists()
    # The compiler cannot write this one again.
    errors.append(ImportError(f"{foreign}: file too short"))
    with pytest.raises(ImportError, match="file too short"):
        compiling._compiled(graph, [])
    assert foreign.exists()
    errors.append(ImportError(f"{plain}: undefined symbol: f"))
    plain.touch()
    with pytest.raises(ImportError, match="undefined symbol"):
        compiling._compiled(graph, [])
    assert plain.exists()
    errors += [ImportError(f"{plain}: file too short")] * 9
    with pytest.raises(ImportError, match="file too short"):  # Not for ever.
        compiling._compiled(graph, [])
    assert len(errors) == 7
    errors[:] = [RuntimeError("no library is named")]
    with pytest.raises(RuntimeError, match="no library"):
        compiling._compiled(graph, [])
