"""Which parts of programs train: frozen parts stay as they are, clashing names are refused."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae import InputError, Likelihood, ModelGuidePair, SharedScaleNormal, Trainer
from pyrovae.utils.modes import training_mode
from tests.support.small import small_data, small_vae, train

SIZE = 3 * 16 * 16


class OwnModel(PyroModule):
    def __init__(self, likelihood: Likelihood, name: str = "", network: str = "net") -> None:
        super().__init__(name)
        self.likelihood, self.network = likelihood, network
        setattr(self, network, nn.Linear(2, SIZE))

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        with pyro.plate("images", num_images if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            maps = getattr(self, self.network)(z).unflatten(-1, (3, 16, 16))
            return pyro.sample("x", self.likelihood(maps), obs=x)


class OwnGuide(PyroModule):
    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.net = nn.Sequential(nn.Linear(SIZE, 2), nn.BatchNorm1d(2))

    def forward(self, x: Tensor, num_images: int = 1) -> Tensor:
        with pyro.plate("images", len(x), dim=-1):
            return pyro.sample("z", dist.Normal(self.net(x.flatten(1)), 1.0).to_event(1))


def own_programs(
    model: str = "model", guide: str = "guide", network: str = "net"
) -> ModelGuidePair:
    likelihood = SharedScaleNormal()
    return ModelGuidePair(OwnModel(likelihood, model, network), OwnGuide(guide), likelihood)


def fit(programs: ModelGuidePair) -> None:
    Trainer(epochs=1, batch_size=16).fit(programs, small_data())


def test_a_frozen_guide_does_not_drift_while_the_decoder_is_tuned() -> None:
    programs = own_programs()
    programs.guide.requires_grad_(False)
    before = {name: value.clone() for name, value in programs.state_dict().items()}
    fit(programs)
    changed = {
        n for n, value in programs.state_dict().items() if not torch.equal(value, before[n])
    }
    assert changed == {"model.net.weight", "model.net.bias", "model.likelihood.scale.raw"}


def test_a_guide_that_trains_updates_its_statistics() -> None:
    programs = own_programs()
    fit(programs)
    assert programs.guide.net[1].running_mean.abs().max() > 0
    programs.guide.net[0].requires_grad_(False)
    training_mode(programs)
    assert programs.guide.training and programs.guide.net[1].training
    assert not programs.guide.net[0].training


def test_a_frozen_encoder_of_a_vae_is_kept_bit_for_bit() -> None:
    vae = small_vae()
    vae.guide.requires_grad_(False)
    before = [value.clone() for value in vae.guide.state_dict().values()]
    train(Trainer(epochs=1, batch_size=16), vae=vae)
    after = vae.guide.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("name", ["", "same"])
def test_programs_that_share_a_name_are_refused_in_a_line(name: str) -> None:
    with pytest.raises(InputError, match=r"both have a parameter net.*rename net .*__init__"):
        own = own_programs(name, name)
        own.guide.net = nn.Linear(SIZE, 2)
        fit(own)


@pytest.mark.slow
def test_programs_whose_names_differ_train() -> None:
    for programs in (own_programs("", "", "decoder"), own_programs()):
        before = [p.detach().clone() for p in programs.parameters()]
        fit(programs)
        after = list(programs.parameters())
        assert all((a != b).any() for a, b in zip(after, before, strict=True))


def test_a_parameter_that_no_program_uses_is_named() -> None:
    programs = own_programs()
    programs.guide.idle = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"^guide\.idle\.weight \(and 1 more\): neither program"):
        fit(programs)
    programs.guide.idle.requires_grad_(False)
    fit(programs)
