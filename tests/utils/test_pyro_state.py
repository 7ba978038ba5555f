"""Programs leave nothing behind in Pyro's state, which all threads share."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.infer
import pytest
import torch
from pyro.distributions import Normal, constraints
from pyro.nn import PyroModule, PyroParam

from pyrovae import VAE, Engine, InputError, ModelGuidePair, Trainer, evaluate
from pyrovae.evaluation.evidence import log_evidence
from pyrovae.evaluation.scoring import Options, Scorer
from pyrovae.inspection import PosteriorView, encode, inspect
from pyrovae.training.callbacks import Callback
from pyrovae.training.callbacks.base import Epoch
from tests.support.oracle_subjects import small_subject
from tests.support.small import small_data, small_vae

pytestmark = pytest.mark.usefixtures("without_pages")

CPU = Engine("cpu", "fp32")
DATA = small_data(num_train=48, num_val=24, num_test=24)
SPLIT = DATA.split("val")
IMAGES = torch.tensor(SPLIT.images[:4])

USES: dict[str, Callable[[VAE], Any]] = {
    "sample": lambda vae: vae.sample(2),
    "reconstruct": lambda vae: vae.reconstruct(IMAGES),
    "encode": lambda vae: vae.encode(IMAGES),
    "show": lambda vae: vae.show(torch.zeros(1, 4)),
    "evaluate": lambda vae: evaluate(vae, SPLIT),
    "encoding": lambda vae: encode(vae, SPLIT, CPU),
    "space": lambda vae: PosteriorView(vae, SPLIT, CPU).space,
    "prior": lambda vae: PosteriorView(vae, SPLIT, CPU).prior_draws(3),
    "evidence": lambda vae: log_evidence(vae, SPLIT.take(range(3)), 5),
    "scores": lambda vae: Scorer(vae, DATA, Options(num_samples=5), CPU).section("latents"),
    "fit": lambda vae: Trainer(epochs=1).fit(vae, DATA, engine=CPU),
}


@pytest.mark.parametrize("use", USES)
def test_the_parameter_store_and_the_parameters_stay_as_they_were(use: str) -> None:
    with pyro.get_param_store().scope():
        pyro.param("mine", torch.ones(2))
        vae = small_vae()
        USES[use](vae)
        assert list(pyro.get_param_store().keys()) == ["mine"]
        copy = pickle.loads(pickle.dumps(vae))
    own, same = vae.state_dict(), copy.state_dict()
    assert all(torch.equal(own[name], same[name]) for name in own)


class WithParam(PyroModule):
    """A model with a parameter that only Pyro's store holds."""

    def __init__(self, model: PyroModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor | None = None, num_images: int = 1) -> torch.Tensor:
        pyro.factor("reward", -pyro.param("weight", torch.zeros(())))
        return self.model(x, num_images)


def test_values_of_the_store_are_those_of_the_user() -> None:
    vae = small_vae()
    programs = ModelGuidePair(WithParam(vae.model), vae.guide, vae.likelihood, vae.networks())
    with pyro.get_param_store().scope():
        pyro.param("weight", torch.tensor(1.0))
        before = evaluate(programs, SPLIT).elbo
        pyro.get_param_store()["weight"] = torch.tensor(3.0)
        assert evaluate(programs, SPLIT).elbo == pytest.approx(before - 2)


class Shifted(PyroModule):
    """A guide with a constrained parameter of its own."""

    def __init__(self, guide: PyroModule, shift: float) -> None:
        super().__init__()
        self.guide = guide
        self.shift = PyroParam(torch.tensor(shift), constraint=constraints.positive)

    def forward(self, x: torch.Tensor, num_images: int = 1) -> None:
        with pyro.plate("images", len(x), dim=-1):
            pyro.sample("z", Normal(self.shift, 1.0).expand([4]).to_event(1))


def test_programs_keep_their_parameters_where_the_store_has_others() -> None:
    def made(shift: float) -> ModelGuidePair:
        vae = small_vae()
        return ModelGuidePair(vae.model, Shifted(vae.guide, shift), vae.likelihood, [])

    first, second = made(1.0), made(5.0)
    with pyro.get_param_store().scope():
        expected = encode(second, SPLIT, CPU).loc
        pyro.infer.Trace_ELBO().loss(first.model, first.guide, first.scored(IMAGES))
        assert any("shift" in name for name in pyro.get_param_store().keys())
        assert (encode(second, SPLIT, CPU).loc == expected).all()
        assert second.guide.shift.item() == pytest.approx(5.0)


@pytest.mark.slow
def test_a_report_leaves_nothing_behind(tmp_path: Path) -> None:
    with pyro.get_param_store().scope():
        vae = small_vae()
        inspect(small_subject(vae), tmp_path, ["posterior", "gaps", "program"])
        assert not list(pyro.get_param_store().keys())
        pickle.dumps(vae)


class InThread(Callback):
    """Calls a function in another thread after an epoch, and keeps the error that it raises."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call, self.found = call, ""

    def end_epoch(self, epoch: Epoch) -> None:
        thread = threading.Thread(target=self.run)
        thread.start()
        thread.join()

    def run(self) -> None:
        try:
            self.call()
        except InputError as error:
            self.found = str(error)


@pytest.mark.parametrize("use", [name for name in USES if name not in ("encode", "show")])
def test_another_thread_is_refused_while_one_trains(use: str) -> None:
    other = small_vae(1)
    callback = InThread(lambda: USES[use](other))
    history = Trainer(epochs=1).fit(small_vae(), DATA, engine=CPU, callbacks=[callback])
    assert "another thread of this process trains" in callback.found
    expected = Trainer(epochs=1).fit(small_vae(), DATA, engine=CPU)
    assert list(history.val_elbo) == list(expected.val_elbo)
    USES[use](other)  # It may do so afterwards.


def test_threads_take_turns() -> None:
    vaes = [small_vae(seed) for seed in range(3)]
    expected = [evaluate(vae, SPLIT) for vae in vaes]
    found: dict[int, list[Any]] = {}

    def run(place: int) -> None:
        found[place] = [evaluate(vaes[place], SPLIT) for _ in range(5)]

    threads = [threading.Thread(target=run, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {place: [own] * 5 for place, own in enumerate(expected)}
