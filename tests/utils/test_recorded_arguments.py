"""A run that is begun from Python is opened as one of the command line."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
import yaml
from torch import nn

import pyrovae
from pyrovae import (
    VAE,
    Beta,
    ConvDecoder,
    ConvEncoder,
    Cosine,
    DiagonalNormal,
    Encoder,
    Engine,
    FlowPrior,
    InputError,
    MLPDecoder,
    MLPEncoder,
    Normal,
    ProbabilisticPCA,
    RandomStart,
    RealNVP,
    Recipe,
    SharedScaleNormal,
    StandardNormal,
    SyntheticFaces,
    Trainer,
    Warmup,
)
from pyrovae.utils.arguments import Recorded, Writer
from tests.support.commands import TINY, execute
from tests.support.small import small_vae

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]


def begun(root: Path, **recipe: Any) -> VAE:
    """What the command line makes of `TINY` and the default preset, from Python."""
    data = SyntheticFaces(num_train=64, num_val=16, num_test=16, image_size=16)
    torch.manual_seed(1265)
    prior, likelihood = StandardNormal(4), SharedScaleNormal()
    posterior = DiagonalNormal(prior.latent_dim)
    maps = likelihood.num_maps(data.image_shape[0])
    decoder = ConvDecoder(data.image_shape, 4, maps, [8, 4], shortcut=True)
    encoder = ConvEncoder(data.image_shape, posterior.num_params, (4, 8), shortcut=True)
    vae = VAE(
        encoder=encoder,
        decoder=decoder,
        prior=prior,
        likelihood=likelihood,
        posterior=posterior,
    )
    usual = {
        "optimizer": partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.0, fused=True),
        "schedule": Warmup(0.1, Cosine()),
        "start": ProbabilisticPCA(fallback=RandomStart()),
    }
    trainer = Trainer(epochs=1, batch_size=16, clip_norm=1000)
    trainer.fit(vae, data, Recipe(**usual | recipe), Engine("cpu", "fp32"), run=root)
    return vae


def test_python_and_the_command_line_write_the_same_run(tmp_path: Path) -> None:
    vae = begun(tmp_path / "python")
    whole = ["--trainer.patience=null", "--trainer.restore_best=false"]
    execute("train", *TINY, *whole, f"--run_dir={tmp_path}/line")
    ours, theirs = (
        yaml.safe_load((tmp_path / name / "config.yaml").read_text())
        for name in ("python", "line")
    )
    listed = theirs.pop("callbacks") + theirs.pop("loggers")
    assert theirs.pop("freeze") is None and theirs.pop("init_from") is None
    # Pyro's objectives keep another value than the default that this argument has.
    for config in (ours, theirs):
        config["objective"]["init_args"].pop("jit_options", None)
    assert ours == theirs and [*ours] == [*theirs] and len(listed) == 3
    opened = pyrovae.load(tmp_path / "python")
    assert all(torch.equal(t, vae.state_dict()[n]) for n, t in opened.state_dict().items())
    execute("evaluate", f"{tmp_path}/python", "--sections=elbo")
    execute("sample", f"{tmp_path}/python", "--num=4", f"--out={tmp_path}/s.png")
    quick = ["--quick", "--num_images=8", "--sections", "program"]
    execute("inspect_posterior", f"{tmp_path}/python", *quick)
    gone_on = execute("train", f"--resume={tmp_path}/python", "--trainer.epochs=2").stdout
    assert "epoch 2/2" in gone_on


def test_arguments_are_written_as_the_options_name_them() -> None:
    writer = Writer()
    flow = writer.part(FlowPrior(4, partial(RealNVP, hidden=[8])), "prior")
    assert flow["class_path"] == "pyrovae.FlowPrior" and flow["init_args"]["latent_dim"] == 4
    assert flow["init_args"]["flow"] == {
        "class_path": "pyrovae.RealNVP",
        "init_args": {"num_layers": 4, "hidden": [8]},
    }
    assert (
        writer.part(pyrovae.priors.Laplace(2), "prior")["class_path"] == "pyrovae.priors.Laplace"
    )
    network = MLPEncoder((1, 4, 4), 2, [8], partial(nn.LeakyReLU, 0.3))
    assert writer.missing == [] and writer.part(network, "encoder")
    assert writer.missing == [
        "encoder.activation: a partial with positional arguments cannot be named"
    ]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda part: pickle.loads(pickle.dumps(part))])
def test_copies_remember_their_arguments(copied: Any) -> None:
    parts = [Normal(0.3), StandardNormal(3), Warmup(0.2), Beta(4.0), SyntheticFaces(num_train=8)]
    for part in [*parts, small_vae()]:
        assert Writer().part(copied(part), "part") == Writer().part(part, "part")
        assert Writer.given(copied(part)).keys() == Writer.given(part).keys() != set()


class Local(Encoder):
    """An encoder that can be imported, unlike one within a function."""

    def __init__(self, size: int, scale: Any = None) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(3 * 16 * 16, size), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(-3))


def encoders() -> dict[str, tuple[nn.Module, str]]:
    class Hidden(Local):
        pass

    plain = nn.Sequential(nn.Flatten(-3), nn.Linear(3 * 16 * 16, 8))
    return {
        "lambda": (Local(8, lambda x: x), "encoder.scale: a lambda"),
        "within a function": (Hidden(8), "encoder: no other process can import"),
        "no encoder": (plain, "encoder: Sequential does not record its arguments"),
        "tensor": (Local(8, torch.ones(3)), "encoder.scale: "),
    }


@pytest.mark.parametrize("name", encoders())
def test_what_cannot_be_written_is_named_and_only_opening_is_refused(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder, expected = encoders()[name]
    data = SyntheticFaces(num_train=16, num_val=8, num_test=8, image_size=16)
    vae = VAE(
        encoder=encoder,
        decoder=MLPDecoder((3, 16, 16), 4, 3, [8]),
        prior=StandardNormal(4),
        likelihood=Normal(0.3),
        posterior=DiagonalNormal(4),
    )
    with caplog.at_level(logging.WARNING, "pyrovae"):
        state = Trainer(epochs=1, batch_size=8).fit(vae, data, run=tmp_path / "run").state
    assert state.epoch == 1 and len(caplog.messages) == 1
    assert expected in caplog.messages[0] and "\n" not in caplog.messages[0]
    with pytest.raises(InputError, match="For a run made from Python") as caught:
        pyrovae.load(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert vae.load_state_dict(pyrovae.RunDirectory(tmp_path / "run").weights())
    longer = Trainer(epochs=2, batch_size=8).fit(vae, data, run=tmp_path / "run", resume=True)
    assert len(longer) == 2


class Named(Protocol):
    """What has a name: classes do, too."""

    __name__: str


Factory = Callable[..., Any]


class Takes(Recorded):
    """Arguments whose annotations allow classes."""

    def __init__(
        self,
        made: Factory,
        named: Named,
        any: object,
        kind: type[Exception],
        names: Sequence[int] | str,
    ) -> None:
        self.given = made, named, any, kind, names


class Numbers(Recorded):
    def __init__(self, rate: float | None = None, count: int = 1, name: str = "") -> None:
        self.given = rate, count, name


def test_classes_are_taken_where_they_are_allowed() -> None:
    assert Takes(dict, dict, dict, OSError, "12").given == (dict, dict, dict, OSError, "12")
    assert Numbers(name="1").given == (None, 1, "1")
    with pytest.raises(TypeError, match="^Numbers: rate must be a number, got the text '1e-3'$"):
        Numbers("1e-3")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^Numbers: count must be an integer, got the text '3'$"):
        Numbers(count="3")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^Numbers: count must be an object, such as dict\(\), "):
        Numbers(count=dict)  # type: ignore[arg-type]
