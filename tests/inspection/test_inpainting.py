"""Completions of images with missing pixels, against the exact Gaussian of linear models."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from pyrovae import InputError, ModelGuidePair
from pyrovae.inspection import inpainting
from pyrovae.inspection.inpainting import complete
from tests.support.oracles import LinearGaussian
from tests.support.programs import MAKERS, numbered
from tests.support.small import small_data, small_vae
from tests.support.tables import IMAGE_SHAPE, IN_TURN, Z_LIMIT, make_vae

SHAPE = (1, 4, 3)
SEEN = torch.tensor([[True, False, True], [False, True, True], [True, False, True], [True] * 3])


def linear() -> LinearGaussian:
    torch.manual_seed(0)
    made = LinearGaussian(sigma=0.03)
    made.shape, made.weight = SHAPE, 0.04 * made.weight  # Pixels stay within [0, 1].
    made.bias = 0.5 + 0.05 * made.bias
    eye = torch.eye(2).double()
    made.covariance = torch.linalg.inv(eye + made.weight.T @ made.weight / made.sigma**2)
    return made


def exact(made: LinearGaussian, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of the decoded unseen pixels given the seen ones, and their covariance."""
    weight, bias = made.weight, made.bias
    seen, unseen = SEEN.flatten(), ~SEEN.flatten()
    own, noise = weight[seen], made.sigma**2
    inverse = torch.linalg.inv(torch.eye(own.shape[1]).double() + own.T @ own / noise)
    mean = inverse @ own.T @ (image.flatten()[seen] - bias[seen]) / noise
    rest = weight[unseen]
    return rest @ mean + bias[unseen], rest @ inverse @ rest.T


@pytest.mark.slow
@pytest.mark.parametrize("mcmc", [False, True])
def test_completions_of_a_linear_model_are_exact(
    mcmc: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Chains run in parallel: many that are short take less time than two of as many draws.
    several = partial(inpainting.sample_posterior, num_chains=96)
    monkeypatch.setattr(inpainting, "sample_posterior", several)
    made = linear()
    image = made.images(1)[0]
    found = complete(made.vae(), 255 * image, SEEN, num_draws=40 if mcmc else 2000, mcmc=mcmc)
    mean, covariance = exact(made, image)
    # Draws of NUTS depend on each other: 96 chains of 20 count as a quarter of as many.
    draws = found.effective if not mcmc else 480.0
    error = (covariance.diagonal() / draws).sqrt()
    gap = (found.mean[:, ~SEEN].flatten().double() - mean).abs()
    assert (gap < Z_LIMIT * error).all()
    spread = found.deviation[:, ~SEEN].flatten().double() / covariance.diagonal().sqrt()
    assert ((spread - 1).abs() < Z_LIMIT / (2 * draws) ** 0.5).all()
    assert mcmc or found.effective > 1990  # The Normal that is fitted is exact.
    assert found.r_hat < 1.05 if mcmc else found.k_hat < 0.7


@pytest.mark.slow
def test_many_latents_of_a_linear_model_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the threshold at 1: then the model of 2 latents has many."""
    monkeypatch.setattr(inpainting, "MANY", 1)
    made = linear()
    image = made.images(1)[0]
    found = complete(made.vae(), 255 * image, SEEN, num_draws=2000)
    mean, covariance = exact(made, image)
    error = (covariance.diagonal() / found.effective).sqrt()
    gap = (found.mean[:, ~SEEN].flatten().double() - mean).abs()
    assert (gap < Z_LIMIT * error).all()
    assert found.effective > 1990 and found.k_hat < 0.7
    with pytest.raises(InputError, match="NUTS would take hours for 2 latent dimensions"):
        complete(made.vae(), 255 * image, SEEN, mcmc=True)


@pytest.mark.slow
def test_few_effective_draws_count_equally(monkeypatch: pytest.MonkeyPatch) -> None:
    made = linear()
    far = torch.linspace(-300, 300, 40).repeat(5)

    def drawn(space: Any, *args: Any) -> Any:
        return inpainting._Drawn(torch.randn(200, 2).double(), far.double(), torch.zeros(200))

    monkeypatch.setattr(inpainting._Task, "weighted", drawn)
    found = complete(made.vae(), 255 * made.images(1)[0], SEEN, num_draws=200)
    assert found.effective < 8
    assert torch.allclose(found.weights, torch.full((200,), 1 / 200).double())


@pytest.mark.slow
@pytest.mark.usefixtures("short_fits")
def test_seen_pixels_stay_and_missing_values_do_not_count() -> None:
    vae, image = small_vae(), torch.tensor(small_data().split("test").images[0])
    seen = torch.ones(16, 16, dtype=torch.bool)
    seen[4:10, 3:12] = False
    other = torch.where(seen, image, 255 - image)
    first, second = (
        complete(vae, own, seen, num_images=3, num_draws=40) for own in (image, other)
    )
    assert torch.equal(first.images[:, :, seen], (image[:, seen] / 255).expand(3, -1, -1))
    assert not first.deviation[:, seen].any()
    torch.testing.assert_close(first.images, second.images)
    again = complete(vae, image, seen, num_images=3, num_draws=40, seed=1)
    assert not torch.equal(again.latents, first.latents)


def half() -> torch.Tensor:
    seen = torch.ones(16, 16, dtype=torch.bool)
    seen[:, 8:] = False
    return seen


@pytest.mark.slow
@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_other_programs_complete_images(make: type) -> None:
    programs, split = make(), small_data().split("test")
    inputs = {}
    if programs.attributes:
        places = [list(split.attribute_names).index(name) for name in programs.attributes]
        inputs = programs.inputs(torch.from_numpy(split.attributes[:1, places]))
    image = torch.tensor(split.images[0])
    found = complete(programs, image, half(), inputs, num_images=2, num_draws=40)
    assert found.images.shape == (2, 3, 16, 16) and found.images.isfinite().all()


def numbered_linear() -> ModelGuidePair:
    """A number of four values, a latent near its centre, and nearly grey images linear in it."""
    torch.manual_seed(1)
    programs = numbered().eval()
    with torch.no_grad():
        programs.model.decoder.weight.mul_(0.03)
        programs.model.decoder.bias.fill_(0.5)
        programs.model.centres.mul_(3)
    return programs


def of_each_number(programs: ModelGuidePair, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The probabilities of the numbers given the seen half, and the means of z, in closed form."""
    model, seen = programs.model.double(), half().expand(3, -1, -1).flatten()
    weight, noise = model.decoder.weight[seen], model.likelihood.scale() ** 2
    covariance = torch.linalg.inv(torch.eye(3).double() + weight.T @ weight / noise)
    evidence, means = [], []
    for centre in model.centres:
        off = x.flatten()[seen] - weight @ centre - model.decoder.bias[seen]
        means.append(centre + covariance @ weight.T @ off / noise)
        root = torch.linalg.cholesky(covariance)
        explained = (root.T @ weight.T @ off / noise).square().sum()
        evidence.append((explained - off.square().sum() / noise) / 2)
    return torch.stack(evidence).softmax(0), torch.stack(means)


@pytest.mark.slow
@torch.no_grad()
def test_each_value_of_a_discrete_latent_has_its_probability() -> None:
    programs = numbered_linear()
    image = 128 + 8 * torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(2))
    found = complete(programs, image, half(), num_draws=4000)
    numbers = found.latents[:, 0].long()
    share = torch.zeros(4).double().index_add(0, numbers, found.weights)
    probabilities, means = of_each_number(programs, programs.observe_greys(image.double()))
    assert probabilities.max() < 0.9 and found.discrete and found.effective > 2000
    error = (probabilities * (1 - probabilities) / found.effective).sqrt()
    assert ((share - probabilities).abs() < Z_LIMIT * error + 1e-3).all()
    decoded = programs.model.decoder((probabilities[:, None] * means).sum(0))
    gap = (found.mean.double() - decoded.unflatten(-1, (3, 16, 16)))[:, ~half()]
    assert gap.abs().max() < Z_LIMIT * 0.03 / found.effective**0.5


@pytest.mark.slow
@pytest.mark.usefixtures("short_fits")
def test_few_effective_draws_of_each_value_keep_its_probability(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs = numbered_linear()
    usual = inpainting._Task.weighted

    def uneven(*args: Any) -> Any:
        found = usual(*args)
        log_w = torch.full_like(found.log_w, -1e3)
        log_w[0] = 0.0
        return found._replace(log_w=log_w)

    monkeypatch.setattr(inpainting._Task, "weighted", uneven)
    found = complete(programs, torch.full((3, 16, 16), 128.0), half(), num_draws=40)
    assert found.effective < 8
    assert torch.allclose(found.weights, torch.full((40,), 1 / 40).double())


def test_nuts_of_discrete_latents_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="NUTS draws continuous latents, and y is discrete: "):
        complete(numbered_linear(), torch.full((3, 16, 16), 128.0), half(), mcmc=True)


#: Likelihoods of independent pixels score the seen ones; of the other parts those that are not
#: R^D, or slow, once.
PLAIN = ("StandardNormal", "DiagonalNormal")
PARTS = [names for names in IN_TURN if names[1:] == PLAIN or "VonMisesFisher" in names]
PARTS = [names for names in PARTS if names[0] != "AutoregressiveLogistic"]


@pytest.mark.slow
@pytest.mark.usefixtures("short_fits")
@pytest.mark.parametrize("names", PARTS, ids="-".join)
def test_every_part_completes_images(names: tuple[str, str, str]) -> None:
    seen = torch.ones(IMAGE_SHAPE[1:], dtype=torch.bool)
    seen[:2] = False
    image = torch.full(IMAGE_SHAPE, 255, dtype=torch.uint8)
    found = complete(make_vae(*names), image, seen, num_images=2, num_draws=40)
    assert found.images.isfinite().all() and found.deviation.isfinite().all()
    assert float(found.weights.sum()) == pytest.approx(1)


def test_pixels_that_depend_on_each_other_are_refused_in_one_line() -> None:
    vae, seen = make_vae("AutoregressiveLogistic", *PLAIN), torch.ones(IMAGE_SHAPE[1:]).bool()
    seen[:2] = False
    with pytest.raises(InputError, match="AutoregressiveLogistic has no density per pixel"):
        complete(vae, torch.zeros(IMAGE_SHAPE, dtype=torch.uint8), seen)


def test_wrong_masks_are_refused_in_one_line() -> None:
    vae, image = small_vae(), torch.tensor(small_data().split("test").images[0])
    for seen, said in (
        (torch.ones(8, 16, dtype=torch.bool), "the mask is 8x16 .* allowed is 16x16"),
        (torch.ones(16, 16, dtype=torch.bool), "no pixel of the image is missing"),
        (torch.zeros(16, 16, dtype=torch.bool), "every pixel of the image is missing"),
    ):
        with pytest.raises(InputError, match=said):
            complete(vae, image, seen)
    with pytest.raises(InputError, match="at least 1 completion"):
        complete(vae, image, half(), num_draws=5)
