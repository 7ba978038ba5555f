"""Runs that are resumed, or go on for longer, are those that nothing stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
import yaml

from pyrovae import (
    IWAE,
    VAE,
    ArrayData,
    Beta,
    Cosine,
    DiscretizedLogistic,
    InputError,
    ProbabilisticPCA,
    Recipe,
    RunDirectory,
    Shift,
    Trainer,
    Warmup,
)
from pyrovae.utils.plain import flat
from pyrovae.utils.signals import MORE, Interrupted, signals
from tests.support.small import (
    VARYING,
    adam,
    rows,
    same_weights,
    small_data,
    small_vae,
    train,
)
from tests.support.steps import at_step

pytestmark = pytest.mark.usefixtures("without_pages")

BATCH = 16


def varied() -> tuple[Trainer, Recipe]:
    """A trainer and a recipe with a state of every kind."""
    recipe = Recipe(
        optimizer=partial(torch.optim.AdamW, lr=0.01, fused=True),
        schedule=Warmup(0.3, Cosine()),
        beta=Beta(2.0, Warmup(0.5)),
        start=ProbabilisticPCA(),
    )
    return Trainer(epochs=2, batch_size=BATCH, clip_norm=100.0), recipe


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[VAE, Path, str]:
    """A run that nothing stopped: its VAE, its folder and its precision."""
    folder, precision = tmp_path_factory.mktemp("whole") / "run", request.param
    with pyro.get_param_store().scope():
        own = small_vae(shortcut=True)
        vae, _ = train(*varied(), folder, vae=own, precision=precision)
    return vae, folder, precision


@pytest.fixture
def heard() -> Iterator[None]:
    """Signals as a shell leaves them: the tests may run under `nohup`, which ignores SIGHUP."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in MORE}
    yield
    for number, own in before.items():
        signal.signal(number, own)


@pytest.mark.slow
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("step", "number"),
    [(1, signal.SIGINT), (3, signal.SIGTERM), *zip((5, 7), MORE, strict=False)],
)
def test_resumed_run_reaches_the_same_weights_bit_for_bit(
    step: int,
    number: int,
    whole: tuple[VAE, Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, folder, precision = whole
    cut, (trainer, recipe) = tmp_path / "cut", varied()
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as stopped:
        at_step(step, lambda: os.kill(os.getpid(), number), patch)
        train(trainer, recipe, cut, vae=small_vae(shortcut=True), precision=precision)
    assert stopped.value.signal == number
    assert list(stopped.value.history["epoch"]) == list(range(1, step // 5 + 1))
    assert f"--resume {cut}" in str(stopped.value)
    other = small_vae(seed=9, shortcut=True)
    resumed, state = train(trainer, recipe, cut, vae=other, resume=True, precision=precision)
    assert state.step == 10
    assert same_weights(expected, resumed)
    same_rows(rows(folder), rows(cut))


def same_rows(first: list[dict[str, str]], second: list[dict[str, str]]) -> None:
    kept = [[{k: v for k, v in r.items() if k not in VARYING} for r in t] for t in (first, second)]
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_epochs_after_the_checkpoint_leave_no_trace(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(Trainer(epochs=2, batch_size=BATCH), run=run)
    checkpoint = (run / "checkpoints" / "last.safetensors").read_bytes()
    train(Trainer(epochs=3, batch_size=BATCH), run=run, resume=True)
    (run / "checkpoints" / "last.safetensors").write_bytes(checkpoint)
    (run / "checkpoints" / ".last.safetensors.1.tmp").write_bytes(b"half")
    (run / "checkpoints" / "best_epoch_0009.safetensors").write_bytes(b"old")
    train(Trainer(epochs=3, batch_size=BATCH), run=run, resume=True)
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3"]
    assert len(list((run / "checkpoints").iterdir())) == 3


@pytest.mark.slow
def test_a_run_that_goes_on_from_python_keeps_its_options(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def options() -> dict[str, Any]:
        return flat(RunDirectory(tmp_path).options())

    train(Trainer(epochs=1, batch_size=BATCH), adam(), tmp_path)
    train(Trainer(epochs=2, batch_size=BATCH), adam(), tmp_path, resume=True)
    assert options()["trainer.epochs"] == 2 and not caplog.text
    lr = adam().optimizer
    changes: list[tuple[Recipe, dict[str, Any], str]] = [
        (adam(1e-6), {}, "optimizer.lr was 0.01, now 1e-06"),
        (adam(), {"batch_size": BATCH // 2}, f"trainer.batch_size was {BATCH}, now {BATCH // 2}"),
        (Recipe(optimizer=lr, freeze=["encoder"]), {}, r"freeze was None, now \['encoder'\]"),
        (Recipe(optimizer=lr, objective=IWAE()), {}, "objective was pyro.infer.Trace_ELBO, now"),
        (Recipe(optimizer=lr, beta=Beta(1.0, Warmup())), {}, "beta.schedule was None, now pyro"),
    ]
    before = (tmp_path / "config.yaml").read_bytes()
    for recipe, own, message in changes:
        trainer = Trainer(epochs=3, **{"batch_size": BATCH, **own})
        with pytest.raises(InputError, match=f"a resumed run keeps its options .{message}"):
            train(trainer, recipe, tmp_path, resume=True)
    with pytest.raises(InputError, match=r"likelihood was pyrovae.Sha.*; only epochs"):
        vae = small_vae(likelihood=DiscretizedLogistic())
        train(Trainer(epochs=3, batch_size=BATCH), adam(), tmp_path, vae=vae, resume=True)
    assert (tmp_path / "config.yaml").read_bytes() == before


@pytest.mark.slow
def test_a_run_with_a_lambda_keeps_its_other_options(tmp_path: Path) -> None:
    def recipe(**own: Any) -> Recipe:
        return Recipe(optimizer=lambda p: torch.optim.Adam(p, lr=0.01), **own)

    train(Trainer(epochs=1, batch_size=BATCH), recipe(), tmp_path)
    before = (tmp_path / "config.yaml").read_text()
    assert all(line.startswith("#") for line in before.splitlines() if line)
    changes: list[tuple[Trainer, Recipe, str]] = [
        (Trainer(epochs=2, batch_size=BATCH // 2), recipe(), "trainer.batch_size was "),
        (Trainer(epochs=2, batch_size=BATCH), recipe(objective=IWAE()), "objective was pyro"),
        (Trainer(epochs=2, batch_size=BATCH), recipe(freeze=["encoder"]), "freeze was None"),
    ]
    for trainer, own, message in changes:
        with pytest.raises(InputError, match=f"a resumed run keeps its options .{message}"):
            train(trainer, own, tmp_path, resume=True)
    _, state = train(Trainer(epochs=2, batch_size=BATCH), recipe(), tmp_path, resume=True)
    assert state.epoch == 2 and (tmp_path / "config.yaml").read_text() == before


@pytest.mark.slow
def test_a_resumed_run_keeps_the_changes_of_its_images(tmp_path: Path) -> None:
    images = small_data().split("train").images
    changes: list[dict[str, Any]] = [{}, {"flip": True}, {"augment": Shift(1)}]
    for own in changes:
        data = ArrayData(images, **own)
        fit = partial(Trainer(epochs=1).fit, small_vae(), data, run=tmp_path, resume="auto")
        if own:
            with pytest.raises(InputError, match=rf"options .data.{next(iter(own))} was "):
                fit()
        else:
            fit()


@pytest.mark.slow
def test_a_resumed_run_keeps_the_callbacks_of_the_command_line(tmp_path: Path) -> None:
    train(Trainer(epochs=1, batch_size=BATCH), adam(), tmp_path)
    options = RunDirectory(tmp_path).options()
    options["callbacks"] = [{"class_path": "pyrovae.inspection.PosteriorMonitor"}]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(options))
    train(Trainer(epochs=2, batch_size=BATCH), adam(), tmp_path, resume=True)
    assert RunDirectory(tmp_path).options()["callbacks"] == options["callbacks"]


@pytest.mark.slow
def test_auto_starts_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    for epochs in (1, 1, 2):
        trainer = Trainer(epochs=epochs, batch_size=BATCH)
        _, state = train(trainer, adam(), tmp_path, resume="auto")
        assert state.epoch == epochs == len(rows(tmp_path))


def test_what_cannot_be_resumed_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="new: no such directory$"):
        train(Trainer(epochs=1), adam(), tmp_path / "new", resume=True)
    with pytest.raises(ValueError, match="^resume must be True, False or 'auto', got 'yes'"):
        train(Trainer(epochs=1), adam(), tmp_path / "new", resume="yes")
    with pytest.raises(TypeError, match="^run must be of the kind"):
        small = small_data(num_train=40)
        Trainer(epochs=1).fit(small_vae(), small, run=True)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_run_is_not_resumed_on_other_images(tmp_path: Path) -> None:
    images = small_data(num_train=96).split("train").images
    trainer, run = Trainer(epochs=1, batch_size=BATCH), RunDirectory(tmp_path)
    trainer.fit(small_vae(), ArrayData({"train": images[:80], "val": images[:9]}), run=run)
    splits = {"train": images, "val": images[:9]}
    with pytest.raises(InputError, match=r"\(86 images\) is not the one .* \(72 images\)"):
        trainer.fit(small_vae(), ArrayData(splits), run=run, resume=True)
    with pytest.raises(InputError, match="is not the one"):
        splits["train"] = images[16:]
        trainer.fit(small_vae(), ArrayData(splits), run=run, resume=True)
    with pytest.raises(InputError, match="is not the one"):
        trainer.fit(small_vae(), small_data(seed=5), run=run, resume=True)


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    whole, _ = train(Trainer(epochs=4, batch_size=BATCH))
    train(Trainer(epochs=2, batch_size=BATCH), run=tmp_path)
    longer, state = train(Trainer(epochs=4, batch_size=BATCH), run=tmp_path, resume=True)
    assert state.epoch == 4
    assert same_weights(whole, longer)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_a_signal_that_is_ignored_stays_so() -> None:
    """`nohup` sets SIGHUP so, and a run that outlives its terminal goes on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals() as seen:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not seen
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("step", "error", "free"),
    [
        (1, torch.OutOfMemoryError, True),
        (1, KeyboardInterrupt, False),
        (2, torch.OutOfMemoryError, False),
    ],
)
def test_a_run_that_fails_before_its_first_step_leaves_the_directory_free(
    step: int,
    error: type[BaseException],
    free: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that the same command works with a smaller batch."""

    def fails() -> None:
        raise error

    at_step(step, fails, monkeypatch)
    (other := tmp_path / "checkpoints" / "mine.safetensors").parent.mkdir()
    other.touch()
    with pytest.raises(error):
        train(*varied(), tmp_path, vae=small_vae(shortcut=True))
    other.unlink()  # It was left alone.
    monkeypatch.undo()
    again = RunDirectory(tmp_path, config="seed: 2\n")
    if free:
        again.check_free()
        train(*varied(), tmp_path, vae=small_vae(shortcut=True))
        assert len(rows(tmp_path)) == 2
    else:
        with pytest.raises(InputError, match="holds a run already"):
            again.check_free()
