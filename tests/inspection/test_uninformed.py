"""Guides that are the prior, whatever the image: nothing is active, and no rate is told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyrovae import Engine, ModelGuidePair, Normal
from pyrovae.data import Split
from pyrovae.distributions.moments import MIXED
from pyrovae.evaluation import latents as surgery
from pyrovae.evaluation.latents import aggregate
from pyrovae.inspection.collapse import dimension_table
from pyrovae.inspection.measures.latents import of_encoding
from pyrovae.posterior.encoding import encode
from pyrovae.posterior.view import PosteriorView
from tests.support.tables import Z_LIMIT

CPU = Engine("cpu", "fp32")
COUNT = 600
IMAGE_SHAPE = (1, 4, 4)


class Unknown(dist.Normal):
    """A Normal that does not tell its moments, as flows do."""

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError

    def expand(self, shape: Any, _instance: Any = None) -> Unknown:
        return Unknown(self.loc.expand(shape), self.scale.expand(shape))


def single(attributes: Tensor | None, shape: tuple[int, ...], shift: Tensor) -> None:
    loc = torch.zeros(shape[-1], 4) + shift
    pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


def without_moments(attributes: Tensor | None, shape: tuple[int, ...], shift: Tensor) -> None:
    loc = torch.zeros(shape[-1], 4) + shift
    pyro.sample("z", Unknown(loc, torch.full_like(loc, 1.5)).to_event(1))


def hierarchical(attributes: Tensor | None, shape: tuple[int, ...], shift: Tensor) -> None:
    top = pyro.sample("top", dist.Normal(torch.zeros(2) + shift, 1.0).to_event(1))
    pyro.sample("low", dist.Normal(top, 0.5).to_event(1))


def conditional(attributes: Tensor | None, shape: tuple[int, ...], shift: Tensor) -> None:
    assert attributes is not None
    loc = 3 * attributes.expand(shape[-1], 2) + shift
    pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


class Model(PyroModule):
    def __init__(self, latents: Callable[..., None]) -> None:
        super().__init__("uninformed_model")
        self.latents, self.likelihood = latents, Normal(0.3)

    def forward(
        self, x: Tensor | None = None, num_images: int = 1, attributes: Tensor | None = None
    ) -> Tensor:
        count = num_images if x is None else len(x)
        with pyro.plate("images", count, dim=-1):
            self.latents(attributes, (count,), torch.zeros(()))
            maps = torch.full((count, *IMAGE_SHAPE), 0.5)
            return pyro.sample("x", self.likelihood(maps), obs=x)


class Guide(PyroModule):
    def __init__(self, latents: Callable[..., None], told: float) -> None:
        super().__init__("uninformed_guide")
        self.latents, self.told = latents, told
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, attributes: Tensor | None = None) -> None:
        seen = self.told * (x.flatten(1).mean(1, keepdim=True) - 0.5) / 0.29 + self.shift
        with pyro.plate("images", len(x), dim=-1):
            self.latents(attributes, (len(x),), seen)


def split_of(count: int, names: tuple[str, ...]) -> Split:
    """Images of one grey level each, and attributes of -1 and 1."""
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, count).astype(np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (count, *IMAGE_SHAPE)).copy()
    attributes = 2 * rng.integers(0, 2, (count, len(names))).astype(np.float32) - 1
    return Split(images, [str(i) for i in range(count)], attributes, names)


def programs(latents: Callable[..., None], told: float) -> tuple[ModelGuidePair, Split]:
    names = ("a", "b") if latents is conditional else ()
    made = ModelGuidePair(Model(latents), Guide(latents, told), Normal(0.3), attributes=names)
    return made, split_of(COUNT, names)


PRIORS = [single, without_moments, hierarchical, conditional]
every_prior = pytest.mark.parametrize("latents", PRIORS, ids=lambda made: made.__name__)


@every_prior
@pytest.mark.parametrize(("told", "active"), [(0.0, False), (0.5, True)])
def test_units_are_active_where_the_guide_tells(
    latents: Callable[..., None], told: float, active: bool
) -> None:
    made, split = programs(latents, told)
    view = PosteriorView(made, split, CPU)
    table = dimension_table(view.encoded)
    # The lower site of two follows its prior given the upper one, and carries nothing itself.
    telling = [not name.startswith("low") and active for name in table.index]
    assert table["active"].tolist() == telling and view.encoded.active.sum() == sum(telling)
    if not active:
        assert (table["variance_of_mean"] < 0.005).all()
        assert of_encoding(view.encoded)["carriers"] <= len(table)


def test_moments_of_a_site_are_those_over_draws_of_the_others() -> None:
    made, split = programs(hierarchical, 0.5)
    found = encode(made, split, CPU)
    low = [i for i, name in enumerate(found.names) if name.startswith("low")]
    assert found.scale[:, low] == pytest.approx(1.25**0.5, rel=0.5)
    assert found.scale[:, low].mean() == pytest.approx(1.25**0.5, rel=0.01)
    levels = (split.images[:, 0, 0, 0] / 255 - 0.5) / 0.29 * 0.5
    off = found.loc[:, low] - levels[:, None]
    # Each mean is one of some draws; of so many squares the relative error is small.
    assert np.square(off).mean() == pytest.approx(1 / MIXED, rel=0.25)
    assert found.noise[:, low].mean() == pytest.approx(1 / MIXED, rel=0.1)


@pytest.mark.slow
def test_few_draws_of_several_sites_give_the_aggregate_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = PosteriorView(*programs(hierarchical, 0.5), CPU)
    some = aggregate(view)
    monkeypatch.setattr(surgery, "SOME", COUNT)
    every = aggregate(view)
    for found in (some, every):
        parts = found["mutual_information"].value + found["aggregate_kl"].value
        rates = view.encoded.log_q - view.encoded.log_p
        assert parts == pytest.approx(rates.mean(), rel=1e-4)
    for name in ("mutual_information", "aggregate_kl"):
        one, whole = some[name], every[name]
        assert one.error is not None and whole.error is not None
        # A subset of the same draws: its error is the larger one.
        assert 0 < abs(one.value - whole.value) < Z_LIMIT * one.error
        assert one.error > 1.3 * whole.error


@pytest.mark.slow
def test_the_aggregate_of_a_conditional_guide_is_compared_with_all_priors() -> None:
    made, split = programs(conditional, 0.0)
    found = aggregate(PosteriorView(made, split, CPU))
    kl = found["aggregate_kl"]
    # Both mixtures are of the same components: nothing is apart, not even by chance.
    assert abs(kl.value) < 1e-4
    # The attributes, of two bits, are known but for overlaps of Normals 6 apart.
    assert 1.3 < found["mutual_information"].value < 2 * np.log(2) + Z_LIMIT * 0.01
