"""Programs that are built in Python open again with their sizes, whichever parts they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

import pyrovae
from pyrovae import (
    DiagonalNormal,
    InputError,
    MLPDecoder,
    MLPEncoder,
    ModelGuidePair,
    SharedScaleNormal,
    Trainer,
)
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Decoder, Encoder
from pyrovae.posteriors import Posterior
from tests.support.programs import MAKERS
from tests.support.small import small_data, small_vae

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]

SHAPE = (3, 16, 16)


class Plain(PyroModule):
    """A standard Normal prior of D dimensions."""

    def __init__(self, decoder: nn.Module, likelihood: Likelihood, dim: int) -> None:
        super().__init__("plain_model")
        self.decoder, self.likelihood, self.dim = decoder, likelihood, dim

    def forward(self, x: Tensor | None = None, num_images: int = 1) -> Tensor:
        with pyro.plate("images", num_images if x is None else len(x), dim=-1):
            zero = next(self.parameters()).new_zeros(self.dim)
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)


class OwnGuide(PyroModule):
    """A posterior of the usual kind."""

    def __init__(self, encoder: nn.Module, posterior: Posterior) -> None:
        super().__init__("own_guide")
        self.encoder, self.posterior = encoder, posterior

    def forward(self, x: Tensor, num_images: int = 1) -> None:
        with pyro.plate("images", len(x), dim=-1):
            pyro.sample("z", self.posterior(self.encoder(x)))


class WithoutPrior(ModelGuidePair):
    """Its sizes follow from the posterior."""

    def __init__(
        self, encoder: Encoder, decoder: Decoder, likelihood: Likelihood, posterior: Posterior
    ) -> None:
        model = Plain(decoder, likelihood, posterior.latent_dim)
        super().__init__(model, OwnGuide(encoder, posterior), likelihood, [encoder, decoder])


class NetworksAlone(ModelGuidePair):
    """Its sizes follow from the decoder."""

    def __init__(
        self, encoder: Encoder, decoder: Decoder, likelihood: Likelihood, dim: int = 5
    ) -> None:
        guide = OwnGuide(encoder, DiagonalNormal(dim))
        model = Plain(decoder, likelihood, dim)
        super().__init__(model, guide, likelihood, [encoder, decoder])


def networks(num_outputs: int = 10) -> dict[str, nn.Module]:
    return {
        "encoder": MLPEncoder(SHAPE, num_outputs=num_outputs, hidden=[8]),
        "decoder": MLPDecoder(SHAPE, latent_dim=5, num_maps=3, hidden=[8]),
    }


def without_prior() -> ModelGuidePair:
    posterior = DiagonalNormal(5)
    return WithoutPrior(**networks(), likelihood=SharedScaleNormal(), posterior=posterior)  # type: ignore[arg-type]


def networks_alone() -> ModelGuidePair:
    return NetworksAlone(**networks(), likelihood=SharedScaleNormal())  # type: ignore[arg-type]


#: Programs of the package, and some of a user. `ModelGuidePair` itself records no parts.
CASES: dict[str, Callable[[], ModelGuidePair]] = {
    **{name: make for name, make in MAKERS.items() if name not in ("two latents", "numbered")},
    "without prior": without_prior,
    "networks alone": networks_alone,
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_they_open_with_the_very_weights(
    make: Callable[[], ModelGuidePair], tmp_path: Path
) -> None:
    programs = make()
    pyrovae.save(programs, tmp_path / "saved", small_data())
    opened = pyrovae.load(tmp_path / "saved", trust=True)
    assert type(opened) is type(programs)
    kinds = [[(n, type(m)) for n, m in own.named_modules()] for own in (programs, opened)]
    assert kinds[0] == kinds[1]
    for name, own in opened.state_dict().items():
        assert torch.equal(own, programs.state_dict()[name]), name
    # Once more, from the opened programs.
    pyrovae.save(opened, tmp_path / "again")
    first, second = ((tmp_path / n / "config.yaml").read_text() for n in ("saved", "again"))
    assert first == second


@pytest.mark.parametrize("make", [without_prior, networks_alone])
def test_a_run_of_theirs_opens(make: Callable[[], ModelGuidePair], tmp_path: Path) -> None:
    programs = make()
    Trainer(epochs=1, batch_size=16).fit(programs, small_data(), run=tmp_path)
    opened = pyrovae.load(tmp_path, "last", trust=True)
    for name, own in opened.state_dict().items():
        assert torch.equal(own, programs.state_dict()[name]), name


def test_sizes_that_would_be_lost_are_named(tmp_path: Path) -> None:
    programs = NetworksAlone(**networks(12), likelihood=SharedScaleNormal())  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match="encoder.num_outputs is 12, but --posterior makes it 10$"
    ):
        pyrovae.save(programs, tmp_path / "saved", small_data())
    pair = MAKERS["two latents"]()
    with pytest.raises(InputError, match="^cannot be saved: program.model: "):
        pyrovae.save(pair, tmp_path / "saved", small_data())
    assert not any(tmp_path.iterdir())


def test_a_part_that_was_replaced_cannot_be_saved(tmp_path: Path) -> None:
    vae = small_vae()
    vae.model.prior = pyrovae.priors.Laplace(4)
    with pytest.raises(
        InputError, match="model.prior is of the class Laplace, but .* with StandardNormal"
    ):
        pyrovae.save(vae, tmp_path / "saved", small_data())
    with pytest.raises(InputError, match="is torch.float64, allowed is torch.float32$"):
        pyrovae.save(small_vae().double(), tmp_path / "saved", small_data())
    ladder = MAKERS["ladder"]()
    with pytest.raises(
        InputError, match=r"program.image_shape is \(3, 16, 16\), but --data makes it"
    ):
        pyrovae.save(ladder, tmp_path / "saved", small_data(image_size=32))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("part", [None, nn.Identity(), 3])
def test_programs_may_give_other_objects_the_names_of_parts(part: object) -> None:
    class Own(WithoutPrior):
        def __init__(self, prior: object = None, **parts: object) -> None:
            super().__init__(**parts)  # type: ignore[arg-type]

    programs = Own(
        prior=part, **networks(), likelihood=SharedScaleNormal(), posterior=DiagonalNormal(5)
    )
    history = Trainer(epochs=1, batch_size=16).fit(programs, small_data())
    assert len(history) == 1
