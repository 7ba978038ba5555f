"""The moving average of the weights: its formula, what has it, and exact resuming."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from pyrovae import VAE, Engine, InputError, RunDirectory, Trainer, load
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.runs.checkpoint import load_checkpoint
from pyrovae.training.averaging import Average
from pyrovae.training.callbacks import Callback, Epoch
from tests.support.small import adam, rows, small_data, small_vae
from tests.support.steps import at_step

pytestmark = pytest.mark.usefixtures("without_pages")

CPU = Engine("cpu", "fp32")


def fit(vae: VAE, run: Path | None = None, epochs: int = 2, **how: object) -> None:
    resume = how.pop("resume", False)
    trainer = Trainer(epochs=epochs, batch_size=20, **how)  # type: ignore[arg-type]
    trainer.fit(vae, small_data(), adam(), CPU, run=run, resume=bool(resume))


def copies(programs: ModelGuidePair) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in programs.state_dict().items()}


def test_the_average_follows_its_formula() -> None:
    vae = small_vae()
    average = Average(vae, 0.8)
    expected = copies(vae)
    for step in (1, 2, 60):
        with torch.no_grad():
            for parameter in vae.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update(step)
        decay = min(0.8, (1 + step) / (10 + step))
        for name, value in copies(vae).items():
            old = expected[name]
            new = decay * old + (1 - decay) * value if value.is_floating_point() else value
            expected[name] = new
    torch.testing.assert_close(average.tensors(), expected)


def test_the_programs_have_the_average_within_the_context_only() -> None:
    vae = small_vae()
    average, before = Average(vae, 0.9), copies(vae)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(1.0)
    after = copies(vae)
    with average.applied():
        torch.testing.assert_close(copies(vae), before)
    torch.testing.assert_close(copies(vae), after)
    average.keep()
    torch.testing.assert_close(copies(vae), before)


def test_a_tensor_of_two_parts_is_averaged_once() -> None:
    vae = small_vae()
    vae.model.again = vae.model.decoder
    average, before = Average(vae, 0.9), copies(vae)
    with torch.no_grad():
        next(vae.model.decoder.parameters()).add_(1.0)
    with average.applied():
        torch.testing.assert_close(copies(vae), before)
    assert set(average.tensors()) == set(vae.state_dict())


class Seen(Callback):
    """Keeps the weights that callbacks see at the end of each epoch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def end_epoch(self, epoch: Epoch) -> None:
        self.weights.append(copies(epoch.programs))


@pytest.mark.slow
def test_validation_checkpoints_and_the_end_have_the_average(tmp_path: Path) -> None:
    vae, seen, root = small_vae(), Seen(), tmp_path / "run"
    Trainer(epochs=2, batch_size=20, ema=0.9).fit(
        vae, small_data(), adam(), CPU, run=root, callbacks=[seen]
    )
    tensors = load_checkpoint(RunDirectory(root).last)[0]
    last = copies(load(root, "last", trust=True))
    torch.testing.assert_close(copies(vae), last)
    torch.testing.assert_close(seen.weights[-1], last)
    name = "model.decoder.layers.0.weight"
    name = name if name in last else next(own for own in last if last[own].is_floating_point())
    assert not torch.equal(tensors[f"raw.{name}"], last[name])
    fit(small_vae(), tmp_path / "other")
    ours, other = (rows(folder) for folder in (root, tmp_path / "other"))
    assert ours[0]["train_elbo"] == other[0]["train_elbo"]
    assert ours[0]["val_elbo"] != other[0]["val_elbo"]


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    torch.manual_seed(3)
    fit(small_vae(), whole, 3, ema=0.9)
    torch.manual_seed(3)
    fit(small_vae(), parts, 1, ema=0.9)
    fit(small_vae(), parts, 3, ema=0.9, resume=True)
    torch.testing.assert_close(
        load_checkpoint(RunDirectory(parts).last)[0],
        load_checkpoint(RunDirectory(whole).last)[0],
        rtol=0,
        atol=0,
    )


@pytest.mark.slow
def test_the_best_weights_in_memory_are_averaged() -> None:
    vae, other = small_vae(), small_vae()
    fit(vae, ema=0.9, restore_best=True)
    fit(other, restore_best=True)
    pairs = zip(vae.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_other_decays_are_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="ema must be between 0 and 1, or null"):
        Trainer(ema=decay)


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 8])
def test_programs_of_an_interrupted_run_have_the_average(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = small_vae()
    at_step(step, lambda: signal.raise_signal(signal.SIGINT), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(vae, tmp_path, ema=0.9)
    torch.testing.assert_close(copies(vae), copies(load(tmp_path, "last", trust=True)))


@pytest.mark.slow
def test_programs_of_a_failed_run_have_the_average(tmp_path: Path) -> None:
    class Fails(Callback):
        def end_epoch(self, epoch: Epoch) -> None:
            self.weights = copies(epoch.programs)
            raise InputError("full disk")

    vae, fails = small_vae(), Fails()
    with pytest.raises(InputError, match="full disk"):
        Trainer(epochs=2, batch_size=20, ema=0.9).fit(
            vae, small_data(), adam(), CPU, callbacks=[fails]
        )
    torch.testing.assert_close(copies(vae), fails.weights)
