from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyro import infer
from torch import Tensor

import pyrovae
from pyrovae import (
    Beta,
    InputError,
    Normal,
    ProbabilisticPCA,
    RandomStart,
    Recipe,
    RunDirectory,
    Trainer,
)
from pyrovae.likelihoods import Likelihood
from pyrovae.runs.state import TrainingState
from pyrovae.training.callbacks import Callback, Epoch
from pyrovae.utils.signals import Diverged, Interrupted
from tests.support.small import (
    LATENT_DIM,
    adam,
    rows,
    same_weights,
    small_data,
    small_vae,
    train,
)
from tests.support.steps import at_step
from tests.support.tables import LIKELIHOODS

pytestmark = pytest.mark.usefixtures("without_pages")

BATCH = 16


@pytest.mark.slow
def test_training_raises_the_elbo(tmp_path: Path) -> None:
    train(Trainer(epochs=6, batch_size=BATCH), run=tmp_path / "run")
    elbos = [float(row["val_elbo"]) for row in rows(tmp_path / "run")]
    assert len(elbos) == 6
    assert elbos[-1] > elbos[0] + 100


@pytest.mark.slow
def test_same_seed_gives_the_same_numbers_and_another_seed_does_not() -> None:
    first, _ = train(Trainer(epochs=2, batch_size=BATCH, seed=1))
    torch.manual_seed(0)
    second, _ = train(Trainer(epochs=2, batch_size=BATCH, seed=1))
    other, _ = train(Trainer(epochs=2, batch_size=BATCH, seed=2))
    assert same_weights(first, second)
    assert not same_weights(first, other)


@pytest.mark.slow
def test_two_vaes_in_one_process_train_independently() -> None:
    alone, _ = train(Trainer(epochs=1, batch_size=BATCH))
    first, second = small_vae(0), small_vae(1)
    train(Trainer(epochs=1, batch_size=BATCH), vae=first)
    torch.manual_seed(0)
    before = [p.clone() for p in second.parameters()]
    train(Trainer(epochs=1, batch_size=BATCH), vae=second)
    assert all((p != b).any() for p, b in zip(second.parameters(), before, strict=True))
    assert alone.state_dict().keys() == first.state_dict().keys()


@pytest.mark.slow
def test_two_processes_do_not_train_in_one_run(tmp_path: Path) -> None:
    train(Trainer(epochs=1, batch_size=BATCH), run=tmp_path)
    before = (tmp_path / "metrics.csv").read_bytes()
    with RunDirectory(tmp_path).lock(), pytest.raises(InputError, match="another process"):
        train(Trainer(epochs=2, batch_size=BATCH), run=tmp_path, resume=True)
    assert (tmp_path / "metrics.csv").read_bytes() == before
    _, state = train(Trainer(epochs=2, batch_size=BATCH), run=tmp_path, resume=True)
    assert state.epoch == 2


def test_a_directory_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("prior: {}")
    with pytest.raises(InputError, match="holds a run already"):
        small_run = Trainer(epochs=1, batch_size=BATCH)
        small_run.fit(small_vae(), small_data(), run=tmp_path)
    with pytest.raises(InputError, match="needs a run directory"):
        small_run.fit(small_vae(), small_data(), resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("damaged", ["prior: {}", "prior: {", ""])
def test_resuming_from_python_writes_the_configuration_again(damaged: str, tmp_path: Path) -> None:
    train(Trainer(epochs=1, batch_size=BATCH), run=tmp_path)
    (tmp_path / "config.yaml").write_text(damaged)
    vae, _ = train(Trainer(epochs=2, batch_size=BATCH), run=tmp_path, resume=True)
    assert same_weights(pyrovae.load(tmp_path, "last"), vae)


def test_the_number_of_images_changes_where_pca_starts() -> None:
    weights = []
    for count in (20, 80):
        vae = small_vae(shortcut=True)
        ProbabilisticPCA(num_images=count)(vae, small_data().split("train").images, False)
        weights.append(vae.model.decoder.shortcut.weight)
    assert not torch.equal(*weights)


def test_too_few_images_for_probabilistic_pca_start_as_told() -> None:
    vae, images = small_vae(shortcut=True), small_data().split("train").images[:LATENT_DIM]
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    line = ProbabilisticPCA(fallback=RandomStart())(vae, images, False)
    assert line.startswith("starts from random weights: ProbabilisticPCA of 4 latent dimensions")
    assert line.endswith("got 4 and 768")
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    with pytest.raises(
        InputError, match=r"needs more than .*; use RandomStart instead .--start RandomStart.$"
    ):
        ProbabilisticPCA()(vae, images, False)


@pytest.mark.slow
@pytest.mark.parametrize("opened", [False, True])
def test_a_second_fit_says_what_becomes_of_the_weights(
    opened: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: Any
) -> None:
    data, vae = small_data(), small_vae(shortcut=True)
    still = Recipe(partial(torch.optim.SGD, lr=0.0))
    Trainer(epochs=1, batch_size=BATCH).fit(vae, data, run=tmp_path)
    vae = pyrovae.load(tmp_path, "last") if opened else vae
    before = vae.model.decoder.shortcut.weight.detach().clone()
    capsys.readouterr()
    Trainer(epochs=1, batch_size=BATCH).fit(vae, data, still, progress=True)
    known = "starts from the weights of the VAE, which was trained before"
    assert f"{known} (RandomStart is for new VAEs)" in capsys.readouterr().out
    pca = replace(still, start=ProbabilisticPCA())
    Trainer(epochs=1, batch_size=BATCH).fit(vae, data, pca, progress=True)
    assert f"{known} (ProbabilisticPCA is for new VAEs)" in capsys.readouterr().out
    assert torch.equal(vae.model.decoder.shortcut.weight, before) and not caplog.messages


@pytest.mark.slow
def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    mine = [tmp_path / ".notes.tmp", tmp_path / "sub" / ".last.safetensors.1.tmp"]
    for path in mine:
        path.write_text("mine")
    train(Trainer(epochs=1, batch_size=BATCH), run=tmp_path)
    assert all(path.exists() for path in mine)


def test_frozen_parameters_stay_and_the_rest_trains() -> None:
    vae = small_vae()
    vae.guide.encoder.layers[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in vae.named_parameters()}
    train(Trainer(epochs=1, batch_size=BATCH), vae=vae)
    for name, value in vae.named_parameters():
        assert torch.equal(value, before[name]) == (not value.requires_grad), name


def test_fit_ends_in_evaluation_mode_also_when_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = small_vae()
    at_step(2, lambda: os.kill(os.getpid(), signal.SIGINT), monkeypatch)
    with pytest.raises(Interrupted):
        train(Trainer(epochs=1, batch_size=BATCH), vae=vae)
    assert not vae.training


def test_an_elbo_that_is_no_number_is_never_the_best() -> None:
    state = TrainingState(epoch=1)
    assert not state.record_best(math.nan) and not state.record_best(-math.inf)
    state.epoch = 2
    assert state.record_best(-5.0)
    state.epoch = 3
    assert state.record_best(-4.0)
    assert [epoch for _, epoch in state.best] == [3, 2]


@pytest.mark.slow
def test_best_weights_are_those_of_the_best_validation_elbo(tmp_path: Path) -> None:
    train(Trainer(epochs=4, batch_size=BATCH), adam(0.5), tmp_path)
    elbos = {int(row["epoch"]): float(row["val_elbo"]) for row in rows(tmp_path)}
    kept = {int(p.stem[-4:]) for p in (tmp_path / "checkpoints").glob("best_*")}
    assert kept == set(sorted(elbos, key=elbos.__getitem__)[-2:])
    best = RunDirectory(tmp_path).weights("best")
    last = RunDirectory(tmp_path).weights("last")
    differ = any(not torch.equal(best[name], last[name]) for name in best)
    assert differ == (max(elbos, key=elbos.__getitem__) != 4)


@pytest.mark.slow
def test_patience_stops_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = Trainer(epochs=50, batch_size=BATCH, patience=2)
    state = trainer.fit(small_vae(), small_data(), adam(1.0), run=tmp_path, progress=True).state
    assert "stopped early" in capsys.readouterr().out
    elbos = [float(row["val_elbo"]) for row in rows(tmp_path)]
    assert state.epoch < 50
    assert int(np.argmax(elbos)) == len(elbos) - 3


@pytest.mark.slow
@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("restores", [True, False])
def test_training_ends_with_the_best_weights_if_asked(
    writes: bool, restores: bool, tmp_path: Path
) -> None:
    vae, data, epochs = small_vae(), small_data(), dict[int, dict[str, Tensor]]()

    class Keeping(Callback):
        def end_epoch(self, epoch: Epoch) -> None:
            epochs[epoch.row.epoch] = {k: v.clone() for k, v in vae.state_dict().items()}

    trainer = Trainer(epochs=6, batch_size=BATCH, patience=3, restore_best=restores)
    run = tmp_path if writes else None
    history = trainer.fit(vae, data, adam(1.0), run=run, callbacks=[Keeping()])
    best, last = int(history.set_index("epoch")["val_elbo"].idxmax()), max(epochs)
    wanted = epochs[best if restores else last]
    assert best < last, "a learning rate of 1 must make the last epoch worse"
    assert all(torch.equal(value, wanted[name]) for name, value in vae.state_dict().items())


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_skipped_counted_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vae = small_vae()
    original, calls = vae.likelihood.observe, []

    def observe(images: Tensor) -> Tensor:
        calls.append(1)
        return original(images) * (math.nan if len(calls) == 4 else 1)

    monkeypatch.setattr(vae.likelihood, "observe", observe)
    data, trainer = small_data(), Trainer(epochs=1, batch_size=BATCH)
    trainer.fit(vae, data, adam(), run=RunDirectory(tmp_path), progress=True)
    assert "step 3 skipped" in capsys.readouterr().out
    assert rows(tmp_path)[0]["skipped_steps"] == "1"
    assert all(value.isfinite().all() for value in vae.state_dict().values())


@pytest.mark.slow
def test_a_run_of_steps_that_are_not_finite_stops_and_names_the_site() -> None:
    vae = small_vae()
    calls: list[int] = []

    def break_after_two_steps(module: torch.nn.Module, z: Any, h: Tensor) -> Tensor:
        calls.append(1)
        return h * math.inf if len(calls) > 3 else h

    vae.model.decoder.register_forward_hook(break_after_two_steps)
    with pytest.raises(Diverged, match="3 consecutive steps .* site 'x' in the model"):
        train(Trainer(epochs=1, batch_size=BATCH, max_skipped=3), vae=vae)


def test_a_run_stops_also_where_its_steps_are_read_late() -> None:
    vae = small_vae()
    vae.model.decoder.register_forward_hook(lambda module, z, h: h * math.inf)
    with pytest.raises(Diverged, match="3 consecutive steps .* the last one was step 3;"):
        # 5 steps an epoch, and no report before the twentieth.
        train(Trainer(epochs=50, batch_size=BATCH, max_skipped=3), vae=vae)


@pytest.mark.slow
def test_beta_lowers_the_rate_and_metrics_stay_at_beta_one(tmp_path: Path) -> None:
    for beta in (1.0, 50.0):
        recipe = adam()
        recipe.beta = Beta(beta)
        train(Trainer(epochs=5, batch_size=BATCH), recipe, tmp_path / str(beta))
    plain, heavy = (rows(tmp_path / str(beta))[-1] for beta in (1.0, 50.0))
    assert float(heavy["val_rate"]) < float(plain["val_rate"])
    assert float(heavy["beta"]) == 50
    for row in (plain, heavy):
        total = float(row["val_rate"]) + float(row["val_distortion"])
        assert float(row["val_elbo"]) == pytest.approx(-total)
        objective = -float(row["train_elbo"]) + (float(row["beta"]) - 1) * float(row["train_rate"])
        assert float(row["train_loss"]) == pytest.approx(objective)


@pytest.mark.slow
def test_clipping_changes_the_run() -> None:
    free, _ = train(Trainer(epochs=1, batch_size=BATCH))
    clipped, _ = train(Trainer(epochs=1, batch_size=BATCH, clip_norm=1e-3), vae=small_vae())
    assert not same_weights(free, clipped)


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        partial(torch.optim.Adam, lr=0.01),
        partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
        partial(torch.optim.Adamax, lr=0.01),
        partial(torch.optim.SGD, lr=1e-6, momentum=0.9),
        partial(torch.optim.Adagrad, lr=0.01),
    ],
    ids=["Adam", "AdamW", "Adamax", "SGD", "Adagrad"],
)
def test_optimisers_train_and_resume(optimizer: Any, tmp_path: Path) -> None:
    recipe = Recipe(optimizer=optimizer)
    whole, _ = train(Trainer(epochs=2, batch_size=BATCH), recipe)
    assert not same_weights(whole, small_vae())
    train(Trainer(epochs=1, batch_size=BATCH), recipe, tmp_path)
    resumed, _ = train(Trainer(epochs=2, batch_size=BATCH), recipe, tmp_path, resume=True)
    assert same_weights(whole, resumed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        infer.Trace_ELBO(num_particles=2),
        infer.Trace_ELBO(num_particles=2, vectorize_particles=True, max_plate_nesting=1),
        infer.TraceMeanField_ELBO(),
        infer.TraceGraph_ELBO(),
        infer.RenyiELBO(alpha=0.0, num_particles=3),
    ],
    ids=lambda objective: type(objective).__name__,
)
def test_stock_objectives_train(objective: infer.ELBO) -> None:
    recipe = adam()
    recipe.objective = objective
    vae, state = train(Trainer(epochs=1, batch_size=BATCH), recipe)
    assert state.step == 5
    assert not same_weights(vae, small_vae())


STARTABLE = [n for n in LIKELIHOODS if type(LIKELIHOODS[n]()).start_at is not Likelihood.start_at]


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTABLE)
def test_every_likelihood_with_a_scale_starts_far_above_random_weights(
    tmp_path: Path, name: str
) -> None:
    recipe = adam(1e-9)
    vae = small_vae(likelihood=LIKELIHOODS[name]())
    train(Trainer(epochs=1, batch_size=BATCH), recipe, tmp_path / "random", vae=vae)
    recipe.start = ProbabilisticPCA()
    vae = small_vae(likelihood=LIKELIHOODS[name](), shortcut=True)
    train(Trainer(epochs=1, batch_size=BATCH), recipe, tmp_path / "pca", vae=vae)
    random, linear = (float(rows(tmp_path / n)[0]["val_elbo"]) for n in ("random", "pca"))
    assert linear > random + 500


def test_a_start_without_shortcuts_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    recipe = adam()
    recipe.start = ProbabilisticPCA()
    with pytest.raises(InputError, match="shortcut true"):
        train(Trainer(epochs=1), recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_parts_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    vae = small_vae()
    vae.model.decoder = torch.nn.Linear(4, 7)
    with pytest.raises(InputError, match="do not fit together"):
        train(Trainer(epochs=1), run=tmp_path / "run", vae=vae)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"clip_norm": -1.0},
        {"clip_norm": 0.0},
        {"patience": 0},
        {"max_skipped": 0},
    ],
)
def test_wrong_numbers_are_refused_by_name(bad: dict[str, Any]) -> None:
    name, value = next(iter(bad.items()))
    with pytest.raises(ValueError, match=f"{name} .*{value}"):
        Trainer(**bad)


def test_a_fixed_scale_starts_from_pca_too() -> None:
    recipe = adam(1e-9)
    recipe.start = ProbabilisticPCA(num_images=40)
    vae = small_vae(likelihood=Normal(0.3), shortcut=True)
    _, state = train(Trainer(epochs=1, batch_size=BATCH), recipe, vae=vae)
    assert math.isfinite(state.best[0][0])
