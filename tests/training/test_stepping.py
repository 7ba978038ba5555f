"""Every way to take steps takes the same steps; no GPU is needed to see it."""

from __future__ import annotations

import gc
import importlib
import weakref
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pyro
import pyro.infer
import pytest
import torch
from torch import Tensor

from pyrovae import GECO, SVI, VAE, Capacity, GroupedOptimizer, Warmup
from pyrovae.data import Batches, Colour, Crop, Rotate, Shift
from pyrovae.data.feed import DeviceFeed, Feed, HostFeed
from pyrovae.objectives import Objective, Progress
from pyrovae.training import compiling
from pyrovae.training.recording import Recorder, Replayed
from pyrovae.training.stepping import Stepper
from tests.support.matrix import LIKELIHOODS, OBJECTIVES, POSTERIORS, PRIORS, in_turn, make
from tests.support.pretended import DEVICE, pretending
from tests.support.recorders import RefusingRecorder, TracingRecorder
from tests.support.tables import IMAGE_SHAPE, make_vae

STEPS = 12
#: The for-each form of Adam corrects its bias in single precision, which loses digits at 0.999.
BETAS = (0.5, 0.5)
#: What waits for the device, beside parts that do not.
WAITING = [
    ("StandardNormal", "Normal", "DiagonalNormal", "RenyiELBO"),
    ("HypersphericalUniform", "Normal", "VonMisesFisher", "Trace_ELBO"),
]
CASES = list(in_turn(left_out={"RenyiELBO", "VonMisesFisher", "HypersphericalUniform"}))
OPTIMIZERS: dict[str, Any] = {
    "Adam": partial(torch.optim.Adam, lr=0.02, betas=BETAS),
    "AdamW": partial(torch.optim.AdamW, lr=0.02, betas=BETAS, weight_decay=0.1, amsgrad=True),
    "SGD": partial(torch.optim.SGD, lr=1e-4, momentum=0.9),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.01),
}
#: Convolutions of one layer: the time of tracing grows with their number.
NETWORKS: dict[str, Callable[[], VAE]] = {
    "MLP": make_vae,
    "Conv": partial(make, "StandardNormal", "Normal", "DiagonalNormal", IMAGE_SHAPE, layers=1),
}
RISING = partial(Capacity, 50.0, schedule=Warmup(0.5))
#: Those whose update can be part of the compiled graph.
WHOLE = ("Adam", "AdamW")


class Run:
    """A few steps with beta, learning rate and objective changing, as over a run."""

    def __init__(
        self,
        way: str = "as it is",
        recorder: Recorder | None = None,
        optimizer: str = "Adam",
        objective: Callable[[], Any] = RISING,
        feed: type[Feed] = DeviceFeed,
        bad: Any = (),
        networks: str = "MLP",
    ) -> None:
        torch.manual_seed(0)
        self.vae: VAE = NETWORKS[networks]().double()
        self.said, self.bad = [], bad
        self.optimizer = GroupedOptimizer(OPTIMIZERS[optimizer], clip_norm=50.0)
        svi = SVI(
            self.vae.model,
            self.vae.guide,
            self.optimizer,
            objective(),
            observe=self.vae.scored,
        )
        self.objective = svi.objective
        images = np.random.default_rng(0).integers(0, 256, (20, *IMAGE_SHAPE), np.uint8)
        batches = Batches(images, 4, seed=0, flip=True)
        self.feed: Any = feed(batches, lambda x: x)
        with pyro.get_param_store().scope(), pyro.validation_enabled(False):
            svi.evaluate_loss(self.vae.observe(torch.from_numpy(images[:4])))
            self.optimizer.register(p for _, p in pyro.get_param_store().named_parameters())
            self.stepper = Stepper(
                svi, self.optimizer, self.feed, self.vae.inputs, recorder, self.said.append
            )
            self.optimizer.make_capturable()  # A learning rate in single precision, in all ways.
            getattr(self.stepper, way, int)()
            torch.manual_seed(1)
            self.rows = torch.stack([self.step(i) for i in range(STEPS)])

    def step(self, i: int) -> Tensor:
        if i % 5 == 0:
            self.feed.begin(i // 5)
        progress = Progress(i, STEPS, 5, 20)
        self.optimizer.scale_learning_rate((i + 1) / STEPS)
        self.objective.begin_step(progress)
        return self.stepper(float("nan") if i in self.bad else 0.1 + i / 10)

    def tensors(self) -> list[Tensor]:
        state = [*self.optimizer.state_tensors().values(), *self.objective.state.values()]
        return [*self.vae.state_dict().values(), *state]


#: An objective whose state follows the losses.
SETTLING = partial(GECO, 0.5)


@cache
def as_it_is(
    optimizer: str = "Adam",
    objective: Callable[[], Any] = RISING,
    bad: tuple[int, ...] = (),
    networks: str = "MLP",
) -> Run:
    """Steps that are neither recorded nor compiled, taken once; tests only read them."""
    return Run(optimizer=optimizer, objective=objective, bad=bad, networks=networks)


@pytest.fixture(autouse=True)
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the traced graph as it is, and takes the CPU for a device that can record."""
    monkeypatch.setattr(compiling, "_compiled", lambda graph, values: graph)
    for name in ("adam", "adamw"):
        # The function of the same name hides the module.
        module = importlib.import_module(f"torch.optim.{name}")
        if hasattr(module, "_get_capturable_supported_devices"):
            monkeypatch.setattr(
                module, "_get_capturable_supported_devices", lambda **kwargs: ["cpu"]
            )


def same(first: Run, second: Run) -> None:
    assert torch.allclose(first.rows, second.rows, rtol=1e-6, atol=1e-5, equal_nan=True)
    # A learning rate in single precision: entries near zero have the error of the largest ones.
    for a, b in zip(first.tensors(), second.tensors(), strict=True):
        rounding = 1e-6 * max(1.0, float(b.double().abs().max()))
        assert torch.allclose(a.double(), b.double(), rtol=1e-5, atol=rounding, equal_nan=True)


def moves_in_place(found: Run) -> None:
    """The optimiser is part of the compiled graph, and what a step changes stays where it is."""
    calls: list[Any] = []
    found.optimizer.apply = lambda *args: calls.append(args)  # type: ignore[method-assign]
    before = [t.clone() for t in found.tensors()]
    addresses = [t.data_ptr() for t in found.tensors()]
    found.feed.begin(7)
    found.step(STEPS - 2)
    assert not calls
    changed = [not torch.equal(a, b) for a, b in zip(found.tensors(), before, strict=True)]
    assert sum(changed) > len(changed) // 2
    assert [t.data_ptr() for t in found.tensors()] == addresses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "optimizer", "feed"),
    [
        *((way, name, DeviceFeed) for way in ("record", "compile") for name in OPTIMIZERS),
        ("record", "Adam", HostFeed),
        ("compile", "Adam", HostFeed),
    ],
)
def test_every_way_takes_the_same_steps(way: str, optimizer: str, feed: type[Feed]) -> None:
    expected = as_it_is(optimizer)
    recorder = TracingRecorder()
    found = Run(way, recorder, optimizer, feed=feed)
    same(found, expected)
    assert expected.rows[:, 1].std() > 1 and expected.rows[:, 0].min() == 1
    replayed = recorder.replays > 0
    assert replayed or optimizer == "RMSprop"  # Which must be told whether to move.
    whole = "compiled without the optimiser" not in " ".join(found.said)
    assert way == "record" or whole == (optimizer in WHOLE)
    if way == "compile" and optimizer == "Adam":
        moves_in_place(found)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["record", "compile"])
def test_buffers_move_as_in_a_step_as_it_is(way: str) -> None:
    """Those of batch norm; biases before it have zero gradients, of which Adam makes noise."""
    expected = as_it_is(networks="Conv")
    found = Run(way, TracingRecorder(), networks="Conv")
    assert torch.allclose(found.rows, expected.rows, rtol=1e-3)
    pairs = zip(found.vae.named_buffers(), expected.vae.buffers(), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for (_, a), b in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["record", "compile"])
def test_steps_that_are_not_finite_are_skipped(way: str) -> None:
    """One while steps warm up, and one that is replayed."""
    bad = (2, 8)
    expected = as_it_is(objective=SETTLING, bad=bad)
    found = Run(way, TracingRecorder(), bad=bad, objective=SETTLING)
    same(found, expected)
    assert found.rows[:, 0].tolist() == [float(i not in bad) for i in range(STEPS)]


@pytest.mark.slow
def test_what_cannot_be_recorded_says_so_once_and_runs() -> None:
    found = Run("record", RefusingRecorder())
    assert len(found.said) == 1 and "not permitted" in found.said[0]
    same(found, as_it_is())


def test_what_waits_is_not_given_to_the_recorder() -> None:
    """A CUDA graph that fails half way can leave the generator unusable."""
    objective = partial(pyro.infer.RenyiELBO, num_particles=2, vectorize_particles=True)
    recorder = TracingRecorder()
    found = Run("record", recorder, objective=objective)
    assert not recorder.replays
    assert len(found.said) == 1 and "waits for the device" in found.said[0]


@pytest.mark.slow
def test_a_compiler_that_fails_loses_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first step of its graph, then at once; steps are recorded as they are after that."""
    expected, recorder, graphs = as_it_is(), TracingRecorder(), []

    def fails(graph: Any, values: Any) -> Any:
        graphs.append(graph)
        if len(graphs) == 2:
            raise NotImplementedError("this machine has no compiler")

        def run(*args: Tensor) -> Any:
            (number,) = (a for a in args if a.dtype == torch.long and a.shape == (1,))
            number.add_(1)
            raise RuntimeError("a kernel cannot be loaded")

        return run

    monkeypatch.setattr(compiling, "_compiled", fails)
    found = Run("compile", recorder)
    assert len(found.said) == len(graphs) == 2
    assert "cannot be loaded" in found.said[0] and "has no compiler" in found.said[1]
    assert recorder.replays > 0
    assert torch.equal(found.feed.number, expected.feed.number)
    same(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_first_steps_that_are_not_finite_keep_no_run_from_being_recorded(bad: int) -> None:
    recorder = TracingRecorder()
    found = Run("record", recorder, bad=range(bad + 1))
    assert recorder.replays > 0 and not found.said
    same(found, Run(bad=range(bad + 1)))


class HalfWayRecorder(RefusingRecorder):
    """Fails after the work was done, which a recording would not have done."""

    def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        raise RuntimeError("the end of a recording")


def test_gradients_of_a_failed_recording_are_dropped() -> None:
    class Fails(HalfWayRecorder):
        def record(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
            for parameter in found.optimizer.parameters():
                parameter.grad = torch.full_like(parameter, 1e6)
            return super().record(work)

    found = Run.__new__(Run)
    found.__init__("record", Fails())  # type: ignore[misc]
    same(found, as_it_is())


@pytest.mark.slow
def test_a_run_that_ends_lets_go_of_graphs_and_images() -> None:
    found = Run("record", TracingRecorder())
    feed = weakref.ref(found.feed)
    gc.collect()
    gc.disable()
    try:
        found.stepper.close()
        del found
        assert feed() is None
    finally:
        gc.enable()


class Hears(Objective, pyro.infer.Trace_ELBO):
    """Keeps what it hears where no recorder looks."""

    weight = 1.0

    def begin_step(self, progress: Any) -> None:
        self.weight = 1.0 + progress.step


def test_what_hears_and_fills_no_state_is_not_recorded() -> None:
    found = Run("record", TracingRecorder(), objective=Hears)
    assert len(found.said) == 1 and "fills no tensor" in found.said[0]


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("part", [(0, 1), (1, 2)])
def test_a_device_gives_the_batches_of_the_host(start: int, part: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (23, 3, 4, 5), np.uint8)
    augment = Shift(), Colour(), Crop(), Rotate()
    batches = Batches(images, 3, seed=5, flip=True, part=part, augment=augment)
    host, device = (kind(batches, lambda x: x) for kind in (HostFeed, DeviceFeed))
    for epoch in range(2):
        host.begin(epoch, start)
        device.begin(epoch, start)
        for _ in range(start, len(batches)):
            host.stage()
            device.stage()
            for a, b, again in zip(host(), device(), device.last(), strict=True):
                assert torch.equal(a, b) and torch.equal(b, again)


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    feed = DeviceFeed(Batches(np.zeros((3, 1, 2, 2), np.uint8), 8, seed=0), lambda x: x)
    feed.begin(0)
    assert feed()[0].shape == (3, 1, 2, 2)


def test_the_cases_have_every_part() -> None:
    tables = (PRIORS, LIKELIHOODS, POSTERIORS, OBJECTIVES)
    assert list(map(set, zip(*CASES, *WAITING, strict=True))) == list(map(set, tables))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "likelihood", "posterior", "objective"), [*CASES, *WAITING], ids=str
)
def test_every_part_gives_the_recorder_work_of_the_device_alone(
    prior: str, likelihood: str, posterior: str, objective: str
) -> None:
    """On a pretended device, with batches that it gathers itself; the recorder then refuses."""
    said: list[str] = []
    with pretending(), pyro.get_param_store().scope(), pyro.validation_enabled(False):
        vae = make(prior, likelihood, posterior, (1, 8, 8)).to(DEVICE)
        optimizer = GroupedOptimizer(OPTIMIZERS["Adam"], clip_norm=50.0)
        svi = SVI(vae.model, vae.guide, optimizer, OBJECTIVES[objective](), observe=vae.scored)
        images = torch.randint(256, (10, 1, 8, 8), dtype=torch.uint8).to(DEVICE)
        svi.evaluate_loss(vae.observe(images[:2]))
        optimizer.register(p for _, p in pyro.get_param_store().named_parameters())
        changes: dict[str, Any] = {"flip": True, "augment": (Shift(), Colour(), Crop(), Rotate())}
        feed = DeviceFeed(Batches(images, 2, seed=0, device=DEVICE, **changes), lambda x: x)
        stepper = Stepper(svi, optimizer, feed, vae.inputs, RefusingRecorder(), said.append)
        stepper.record()
        feed.begin(0)
        for i in range(Replayed.WARM_UP + 2):  # The first step makes the optimiser's state.
            svi.objective.begin_step(Progress(i, 10, 5, 10))
            assert stepper(0.5 + i)[0] == 1
    (line,) = said
    waits = (prior, likelihood, posterior, objective) in WAITING
    assert ("not permitted" in line) == (not waits), line
