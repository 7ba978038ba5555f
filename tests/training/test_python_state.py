"""Steps that change Python state, or call hooks, are neither compiled nor recorded."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyro.infer
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from pyrovae import VAE, Engine, Recipe, Trainer
from pyrovae.objectives import Objective
from pyrovae.training import compiling
from pyrovae.training.recording import NotRecordable, Replayed
from tests.support.recorders import TracingRecorder
from tests.support.small import adam, same_weights, small_data, small_vae

pytestmark = pytest.mark.usefixtures("without_pages")


@pytest.fixture(autouse=True)
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traced graph runs as it is: compiling it takes half a minute."""
    monkeypatch.setattr(compiling, "_compiled", lambda graph, values: graph)


class Changing(nn.Module):
    """Scales by what a function of the module returns."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.change, self.calls, self.seen = change, 0, [0.0]
        self.table: dict[str, int] = {}
        self.running = torch.ones(())
        self.generator, self.random = np.random.default_rng(0), random.Random(0)
        self.array, self.pair, self.last = np.ones(2), (0, 0.5), deque([0.0], maxlen=3)
        self.nested, self.number = {"rows": [[1.0]]}, itertools.count(1)
        self.own, self.known = SimpleNamespace(n=0), {0}

    def forward(self, x: Tensor) -> Tensor:
        return x * self.change(self)


def counted(own: Any) -> float:
    own.calls += 1
    return 1 / float(own.calls)


def appended(own: Any) -> float:
    own.seen.append(0.1)
    return 1 - 0.01 * len(own.seen)


def tabled(own: Any) -> float:
    own.table["n"] = own.table.get("n", 0) + 1
    return 1 / float(own.table["n"])


def averaged(own: Any) -> Tensor:
    own.running = 0.9 * own.running
    found: Tensor = own.running
    return found


def multiplied(own: Any) -> float:
    own.array *= 0.9
    return float(own.array[0])


def paired(own: Any) -> float:
    own.pair = (own.pair[0] + 1, 0.5)
    return 1 / float(own.pair[0])


def remembered(own: Any) -> float:
    own.last.append(own.last[-1] + 1.0)
    return 1 / float(own.last[-1])


def deep(own: Any) -> float:
    own.nested["rows"][0][0] *= 0.9
    return float(own.nested["rows"][0][0])


def named(own: Any) -> float:
    own.own.n += 1
    return 1 / float(own.own.n)


def known(own: Any) -> float:
    own.known.add(len(own.known))
    return 1 / len(own.known)


#: What changes at each step, and what the log says of it.
STATES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "number": (counted, "calls changes from step to step"),
    "list": (appended, "seen changes from step to step"),
    "dict": (tabled, "table changes from step to step"),
    "tensor": (averaged, "running changes from step to step"),
    "array": (multiplied, "array changes from step to step"),
    "tuple": (paired, "pair changes from step to step"),
    "deque": (remembered, "last changes from step to step"),
    "set": (known, "known changes from step to step"),
    "list in a list": (deep, "nested changes from step to step"),
    "object": (named, "own changes from step to step"),
    "counter": (lambda own: 1 / next(own.number), "number changes from step to step"),
    "generator of NumPy": (lambda own: own.generator.random(), "generator changes from step to"),
    "generator of Python": (lambda own: own.random.random(), "random changes from step to step"),
    "Python's generator": (lambda own: random.random(), "Python's or NumPy's random generator"),
    "NumPy's generator": (lambda own: np.random.rand(), "Python's or NumPy's random generator"),
}


#: Objects inside attributes, which tracing advances: the eager steps begin there.
INSIDE = ("list in a list", "object", "counter")


def fit(compile: Any, changed: Callable[[VAE], Any], objective: Any = None) -> VAE:
    random.seed(0)
    np.random.seed(0)
    vae = small_vae(channels=[4]).double()
    changed(vae)
    objective = objective or pyro.infer.Trace_ELBO()
    recipe = Recipe(optimizer=adam().optimizer, objective=objective)
    engine = Engine("cpu", "fp32", compile)
    Trainer(epochs=1, batch_size=16).fit(vae, small_data(), recipe, engine, progress=True)
    return vae


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "cannot be compiled" in line]


@pytest.mark.parametrize("state", STATES)
def test_state_that_changes_runs_eagerly(state: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, said = STATES[state]

    def with_state(vae: VAE) -> None:
        vae.guide.encoder.layers.insert(0, Changing(change))

    found = fit("on", with_state)
    (line,) = lines(capsys)
    assert line.startswith("cannot be compiled, runs eagerly: ") and said in line
    if state not in INSIDE:
        assert same_weights(found, fit("off", with_state))


class Counting(Objective, pyro.infer.Trace_ELBO):
    """An objective that keeps count where no graph looks."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.own = 0

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        self.own += 1
        return super().loss_and_grads(model, guide, *args, **kwargs) * min(1.0, self.own / 3)


def test_an_objective_that_counts_runs_eagerly(capsys: pytest.CaptureFixture[str]) -> None:
    found = fit("on", lambda vae: None, Counting())
    (line,) = lines(capsys)
    assert "objective Counting.own changes from step to step" in line
    assert same_weights(found, fit("off", lambda vae: None, Counting()))


def weight(vae: VAE) -> Any:
    return next(vae.guide.encoder.parameters())


#: Hooks that a graph would leave out, and what the log says of them.
HOOKS: dict[str, tuple[Callable[[VAE, list[int]], Any], str]] = {
    "forward": (
        lambda vae, n: vae.guide.encoder.register_forward_hook(lambda *args: n.append(1)),
        "guide.encoder has a hook that returns nothing",
    ),
    "before": (
        lambda vae, n: vae.model.decoder.register_forward_pre_hook(lambda *args: n.append(1)),
        "model.decoder has a hook that returns nothing",
    ),
    "gradient": (
        lambda vae, n: weight(vae).register_hook(lambda grad: n.append(1)),
        "has a hook on its gradient",
    ),
    "scaled gradient": (
        lambda vae, n: weight(vae).register_hook(lambda grad: n.append(1) or grad * 0),
        "has a hook on its gradient",
    ),
    "accumulated gradient": (
        lambda vae, n: weight(vae).register_post_accumulate_grad_hook(lambda p: n.append(1)),
        "has a hook on its gradient",
    ),
    "backward": (
        lambda vae, n: vae.model.decoder.register_full_backward_hook(lambda *args: n.append(1)),
        "model.decoder has a backward hook",
    ),
}


@pytest.mark.parametrize("kind", HOOKS)
def test_hooks_are_called(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    register, said = HOOKS[kind]
    calls: dict[str, list[int]] = {"on": [], "off": []}
    vaes = {way: fit(way, lambda vae, n=own: register(vae, n)) for way, own in calls.items()}
    (line,) = [line for line in capsys.readouterr().out.splitlines() if said in line]
    assert line.startswith(("cannot be compiled, runs eagerly: ", "the step is not compiled ("))
    assert len(calls["off"]) >= 5 and len(calls["on"]) == len(calls["off"])
    assert same_weights(*vaes.values())


def once(vae: VAE) -> None:
    """Attributes that the first pass sets."""

    def change(own: Any) -> float:
        own.calls = max(own.calls, 1)
        return 0.5

    vae.guide.encoder.layers.insert(0, Changing(change))


def doubled(vae: VAE) -> None:
    vae.model.decoder.register_forward_hook(lambda module, args, h: 2 * h)


def normalised(vae: VAE) -> None:
    spectral_norm(vae.guide.encoder.layers[0])


@pytest.mark.parametrize("harmless", [once, doubled, normalised])
def test_what_a_graph_repeats_is_compiled(
    harmless: Callable[[VAE], None], capsys: pytest.CaptureFixture[str]
) -> None:
    found = fit("on", harmless)
    assert not lines(capsys)
    own, expected = found.state_dict(), fit("off", harmless).state_dict()
    assert all(torch.allclose(own[name], expected[name], atol=1e-6) for name in own)


@pytest.mark.parametrize("step", [0, 1])
def test_work_that_changes_state_is_not_recorded(step: int) -> None:
    own = SimpleNamespace(n=0, once=0)

    def work() -> Tensor:
        own.n, own.once = own.n + step, 1
        return torch.ones(()) * 2

    recorded = Replayed(work, TracingRecorder(), {"guide": own})
    for _ in range(Replayed.WARM_UP):
        recorded()
    if not step:
        recorded()
        return
    with pytest.raises(NotRecordable, match=r"^guide\.n changes from step to step$"):
        recorded()
