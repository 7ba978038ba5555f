"""Programs with another prior: the other parts stay, and the given programs do not change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from pyrovae import (
    VAE,
    ArrayData,
    FlowPrior,
    GaussianMixture,
    InputError,
    ModelGuidePair,
    Prior,
    Recipe,
    StandardNormal,
    Trainer,
    VampPrior,
    evaluate,
    with_prior,
)
from pyrovae.utils.arguments import Writer
from tests.support.programs import CLASSES, TRAINED, conditional_vae, two_latents
from tests.support.small import small_data, small_vae
from tests.support.tables import (
    IMAGE_SHAPE,
    LATENT_DIM,
    PRIORS,
    changed,
    make_vae,
    snapshot,
    without_guide,
)

MADE = {name: make for name, make in {**TRAINED, **CLASSES}.items() if name != "two latents"}


@pytest.mark.parametrize("prior", PRIORS)
def test_the_new_prior_scores_as_in_programs_that_were_made_with_it(prior: str) -> None:
    make = PRIORS[prior]
    if prior == "HypersphericalUniform":
        with pytest.raises(ValueError, match="prior"):
            with_prior(make_vae(), make())
        return
    vae = make_vae().eval()
    found = with_prior(vae, own := without_guide(make()))
    assert found.model.prior is own and found is not vae
    z = torch.rand(5, LATENT_DIM)
    torch.testing.assert_close(found.model.z_dist().log_prob(z), own().log_prob(z))
    images = torch.randint(0, 256, (3, *IMAGE_SHAPE), dtype=torch.uint8)
    torch.testing.assert_close(found.encode(images).mean, vae.encode(images).mean)
    torch.testing.assert_close(found.show(z), vae.show(z))


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_programs_keep_their_weights_and_the_given_ones_stay(
    make: Callable[[], ModelGuidePair],
) -> None:
    programs = make().double()
    with torch.no_grad():  # Neither new weights nor new buffers may be taken for the old ones.
        for own in (*programs.parameters(), *programs.buffers()):
            if own.is_floating_point():
                own.uniform_(0.1, 0.2)
    before = snapshot(programs)
    dim = Writer.given(programs)["prior"].latent_dim
    found = with_prior(programs, GaussianMixture(dim, num_components=2))
    assert not changed(before, snapshot(programs))
    kept = {n: w for n, w in programs.state_dict().items() if ".prior." not in n}
    new = found.state_dict()
    assert kept and all(torch.equal(new[name], w) for name, w in kept.items())
    assert all(w.dtype == torch.float64 for w in found.parameters())
    with torch.no_grad():
        for p in found.parameters():
            p.zero_()
    assert not changed(before, snapshot(programs))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [partial(FlowPrior, 4), partial(VampPrior, 4, (3, 16, 16), num_components=20)]
)
def test_the_prior_learns_and_the_frozen_parts_stay(make: Callable[[], Prior]) -> None:
    data = small_data()
    vae = small_vae()
    fast = partial(torch.optim.Adam, lr=0.01)
    Trainer(epochs=30, batch_size=16).fit(vae, data, Recipe(optimizer=fast))
    torch.manual_seed(0)
    found = with_prior(vae, make())
    assert found.fitted
    start = evaluate(found, data.split("train")).rate
    frozen = [name for name in found.trained_parts() if name != "prior"]
    Trainer(epochs=30, batch_size=16).fit(found, data, Recipe(optimizer=fast, freeze=frozen))
    assert evaluate(found, data.split("train")).rate < start
    old, new = vae.state_dict(), found.state_dict()
    assert all(torch.equal(new[n], w) for n, w in old.items() if ".prior." not in n)


def test_what_cannot_be_replaced_is_refused() -> None:
    with pytest.raises(InputError, match="prior: has 3 latent dimensions, allowed is 4$"):
        with_prior(small_vae(), StandardNormal(3))
    with pytest.raises(InputError, match="called without the argument prior"):
        with_prior(two_latents(), StandardNormal(4))
    with pytest.raises(TypeError, match="prior"):
        with_prior(conditional_vae(), "FlowPrior")  # type: ignore[arg-type]


class Named(VAE):
    """A VAE of a user whose constructor passes its arguments on."""

    def __init__(self, *, prior: Prior, **rest: Any) -> None:
        super().__init__(prior=prior, **rest)
        self.register_buffer("count", torch.tensor(3))


def test_constructors_may_pass_arguments_on_and_data_is_not_copied() -> None:
    usual = make_vae()
    given = Writer.given(usual)
    vae = Named(**{name: copy.deepcopy(own) for name, own in given.items()}).double()
    vae.data = Uncopied((np.zeros((30, *IMAGE_SHAPE), np.uint8)), channels_last=False)
    found = with_prior(vae, GaussianMixture(LATENT_DIM, num_components=2))
    assert found.data is vae.data and int(found.count) == 3
    assert found.model.decoder is not vae.model.decoder
    assert all(p.dtype == torch.float64 for p in found.parameters())


class Uncopied(ArrayData):
    """Images that refuse to be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError
