"""Warm starts: which weights are copied, and parts that stay frozen."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from pyrovae import (
    VAE,
    ConvDecoder,
    ConvEncoder,
    DiagonalNormal,
    Engine,
    InputError,
    Recipe,
    RunDirectory,
    SharedScaleNormal,
    StandardNormal,
    Trainer,
    WarmStart,
    load,
)
from pyrovae.runs import load_checkpoint, save_checkpoint
from pyrovae.training import compiling
from pyrovae.training.callbacks import Callback
from tests.support.commands import TINY, refusal, run
from tests.support.small import LATENT_DIM, small_data, small_vae, train

pytestmark = pytest.mark.usefixtures("without_pages")

TRAINER = Trainer(epochs=1, batch_size=16)
IMAGES = small_data().split("train").images
#: The last layers of the small networks.
LAST = ("encoder.layers.7.weight", "encoder.layers.7.bias") + (
    "decoder.layers.8.weight",
    "decoder.layers.8.bias",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source") / "run"
    train(TRAINER, run=root)
    return root


def vae_of(size: int, latent_dim: int = LATENT_DIM, first: int = 4) -> VAE:
    torch.manual_seed(7)
    posterior, shape = DiagonalNormal(latent_dim), (3, size, size)
    return VAE(
        encoder=ConvEncoder(shape, posterior.num_params, [first, 8]),
        decoder=ConvDecoder(shape, latent_dim, 3, [8, 4]),
        prior=StandardNormal(latent_dim),
        likelihood=SharedScaleNormal(),
        posterior=posterior,
    )


def equal(vae: VAE, theirs: dict[str, Tensor]) -> set[str]:
    """The names of the tensors that have the values of the run."""
    own = vae.state_dict()
    return {n for n in own if own[n].shape == theirs[n].shape and torch.equal(own[n], theirs[n])}


@pytest.mark.slow
def test_all_weights_of_the_same_programs_are_copied(source: Path) -> None:
    vae, theirs = small_vae(seed=1), load(source).state_dict()
    said = WarmStart(str(source))(vae, IMAGES, False)
    assert equal(vae, theirs) == set(theirs)
    assert said.startswith(f"starts from {source} (epoch 1): copies {len(theirs)} tensors of ")
    assert "\n" not in said


def test_for_another_image_size_the_convolutions_are_copied(source: Path) -> None:
    vae, theirs = vae_of(24), load(source).state_dict()
    _, left = WarmStart(str(source))(vae, IMAGES, False).splitlines()
    sized = {n for n in theirs if theirs[n].shape != vae.state_dict()[n].shape}
    assert {name.split(".")[1] for name in sized} == {"encoder", "decoder"}
    assert equal(vae, theirs) == set(theirs) - sized
    assert left.startswith("does not copy ")
    assert all(f"{name.partition('.')[2]} (" in left for name in sized)
    assert "(8x128 in the run, 8x288 here)" in left  # 8 maps of 4x4, or of 6x6.


def test_parts_are_chosen_by_name(source: Path) -> None:
    vae, theirs = small_vae(seed=1), load(source).state_dict()
    before = copy.deepcopy(vae.state_dict())
    WarmStart(str(source), parts=["encoder"])(vae, IMAGES, False)
    copied = equal(vae, theirs) - equal(vae, before)
    assert copied and all(name.startswith("guide.encoder.") for name in copied)
    with pytest.raises(InputError, match=r"start\.parts: no weights in encodr; parts are decoder"):
        WarmStart(str(source), parts=["encodr"])(vae, IMAGES, False)


def test_the_checkpoint_is_chosen(source: Path, tmp_path: Path) -> None:
    run = RunDirectory(shutil.copytree(source, tmp_path / "run"))
    tensors, state = load_checkpoint(run.last)
    moved = {n: t + 1 if n.startswith("weights.") else t for n, t in tensors.items()}
    save_checkpoint(run.last, moved, state)
    for which in ("best", "last"):
        vae, theirs = small_vae(seed=1), run.weights(which)
        WarmStart(str(run.root), checkpoint=which)(vae, IMAGES, False)
        assert equal(vae, theirs) == set(theirs), which


def test_what_fits_nothing_or_is_missing_is_refused(source: Path, tmp_path: Path) -> None:
    vae = vae_of(24, latent_dim=3, first=5)
    vae.guide.encoder.layers = vae.guide.encoder.layers[:2]  # Without the second convolution.
    with pytest.raises(InputError, match=r"none of its weights fit: encoder\.layers\.\d.* more$"):
        WarmStart(str(source), parts=["encoder"])(vae, IMAGES, False)
    with pytest.raises(InputError, match="no such directory"):
        WarmStart(str(tmp_path / "none"))(vae, IMAGES, False)


class Lines(Callback):
    """Keeps the lines of the log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, line: str) -> None:
        self.lines.append(line)


def frozen_run(source: Path, vae: VAE, engine: Engine) -> list[str]:
    """Trains with a frozen encoder, and checks that no tensor of it has changed."""
    theirs, log = load(source).state_dict(), Lines()
    assert "guide.encoder.layers.1.running_mean" in theirs
    recipe = Recipe(start=WarmStart(str(source)), freeze=["encoder"])
    TRAINER.fit(vae, small_data(), recipe, engine, callbacks=[log])
    changed = {name.split(".")[1] for name in set(theirs) - equal(vae, theirs)}
    assert changed == {"decoder", "likelihood"}
    assert all(p.requires_grad for p in vae.parameters())
    return log.lines


@pytest.mark.slow
def test_a_frozen_encoder_keeps_weights_and_statistics(source: Path) -> None:
    frozen_run(source, small_vae(seed=1), Engine("cpu", "fp32"))


@pytest.mark.slow
def test_a_frozen_encoder_keeps_weights_and_statistics_in_compiled_steps(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The traced graph says what changes; compiling it takes half a minute.
    monkeypatch.setattr(compiling, "_compiled", lambda graph, values: graph)
    lines = frozen_run(source, small_vae(seed=1), Engine("cpu", "fp32", compile="on"))
    assert any(line.startswith("compiled in") for line in lines)


def test_frozen_weights_that_are_not_copied_are_named(source: Path) -> None:
    vae, log = vae_of(16, latent_dim=3), Lines()
    recipe = Recipe(start=WarmStart(str(source)), freeze=["encoder"])
    TRAINER.fit(vae, small_data(), recipe, Engine("cpu", "fp32"), callbacks=[log])
    (random,) = [line for line in log.lines if line.startswith("frozen, but not copied")]
    assert "encoder.layers." in random and "decoder" not in random


def test_a_part_that_must_be_whole_is_refused_where_it_does_not_fit(source: Path) -> None:
    start = WarmStart(str(source), whole=["encoder"])
    with pytest.raises(
        InputError, match=r"encoder must be copied completely; does not fit: encoder\."
    ) as refused:
        start(vae_of(16, latent_dim=3), small_data().split("train").images, False)
    assert "decoder" not in str(refused.value)
    assert "copies" in start(vae_of(16), small_data().split("train").images, False)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["encodr"], r"freeze: no part encodr with weights; parts are decoder, likelihood, enc"),
        (["posterior"], "freeze: no part posterior with weights"),
        (["encoder", "decoder", "likelihood"], "nothing is left to train"),
    ],
)
def test_what_cannot_be_frozen_is_refused(names: list[str], message: str) -> None:
    vae = small_vae()
    with pytest.raises(InputError, match=message):
        TRAINER.fit(vae, small_data(), Recipe(freeze=names))
    assert all(p.requires_grad for p in vae.parameters())


@pytest.mark.slow
def test_the_command_freezes_and_a_resumed_run_stays_frozen(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "run"
    options = [*TINY, f"--init_from={source}", f"--run_dir={root}", "--encoder.shortcut=false"]
    options.append("--decoder.shortcut=false")
    assert "--init_from: replaces --start" in refusal(
        "train", [*options, "--start=RandomStart"], monkeypatch, capsys
    )
    assert run("train", [*options, "--freeze", "encoder"], monkeypatch) == 0
    assert "copies" in capsys.readouterr().out
    config = yaml.safe_load((root / "config.yaml").read_text())
    assert (config["init_from"], config["freeze"]) == (str(source), ["encoder"])
    source.rename(tmp_path / "moved")
    assert run("train", [f"--resume={root}", "--trainer.epochs=2"], monkeypatch) == 0
    (tmp_path / "moved").rename(source)
    theirs = load(source).state_dict()
    vae = load(root, "last")
    assert {n.split(".")[1] for n in set(theirs) - equal(vae, theirs)} == {"decoder", "likelihood"}
    capsys.readouterr()
    assert run("train", [*TINY, f"--init_from={root}x"], monkeypatch) == 2
    assert capsys.readouterr().err == f"error: --init_from: {root}x: no such directory\n"


@pytest.mark.slow
@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_run_from_before_the_gain_of_shortcuts_is_what_it_was(
    ema: float | None, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    trainer, more = (Trainer(epochs=n, batch_size=16, ema=ema) for n in (1, 2))
    before, _ = train(trainer, vae=small_vae(shortcut=True), run=root)
    run = RunDirectory(root)
    for path in [run.last, *run.last.parent.glob("best_*")]:
        tensors, state = load_checkpoint(path)
        assert any(name.endswith(".gain") for name in tensors)
        tensors = {name: own for name, own in tensors.items() if not name.endswith(".gain")}
        # The gain is 1 there, so the weights are those of the function.
        for name in [name for name in tensors if name.endswith(LAST)]:
            fan_in = tensors[f"{name.rpartition('.')[0]}.weight"][0].numel()
            tensors[name] = 2 * fan_in**-0.5 * tensors[name]
        save_checkpoint(path, tensors, {**state, "num_tensors": len(tensors)})
    copied = small_vae(seed=1, shortcut=True)
    WarmStart(str(root))(copied, IMAGES, False)
    x = before.observe(torch.tensor(IMAGES[:4]))
    for vae in (load(root), copied):
        assert torch.allclose(vae.eval().encode(x).mean, before.eval().encode(x).mean, atol=1e-5)
        assert vae.guide.encoder.gain == 1
    resumed, state = train(more, vae=small_vae(shortcut=True), run=root, resume=True)
    assert state.epoch == 2 and resumed.guide.encoder.gain == 1
