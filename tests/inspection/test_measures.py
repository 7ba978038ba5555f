"""The measurements of the judge, on programs and images whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pyrovae import VAE, Bernoulli, DiagonalNormal, Normal, StandardNormal, ThresholdBinarization
from pyrovae.data import Split
from pyrovae.evaluation.baselines import shortfall, simpler_models
from pyrovae.inspection import Budget, Encoding, Subject, assess, gather
from pyrovae.inspection.judge.advice import Options
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.measures import MEASURES, data, history, latents, memory, noise, scores
from pyrovae.inspection.measures.history import from_rows
from pyrovae.inspection.subject import QUICK
from pyrovae.posterior import image_terms
from tests.support.oracles import LinearDecoder, LinearEncoder
from tests.support.programs import CLASSES
from tests.support.small import small_data, small_vae
from tests.support.subjects import CPU

BUDGET = Budget(400, 2, 300, 2, 20, 2, 30, 3)
SIZE, SHAPE = 48, (1, 6, 8)


def split_of(images: np.ndarray) -> Split:
    names = [str(place) for place in range(len(images))]
    return Split(images.astype(np.uint8), names, np.zeros((len(images), 0), np.float32))


def linear(used: int = 3, told: int = 3, sigma: float = 0.05) -> VAE:
    """x = 1/2 + W z + noise with orthogonal columns, and its posterior; three latents.

    Args:
        used: the columns that are not zero.
        told: the latents whose posterior is narrow.
        sigma: the scale of the noise.
    """
    torch.manual_seed(0)
    weight = 0.5 * torch.linalg.qr(torch.randn(SIZE, 3))[0]
    shrunk = 0.25 / (0.25 + sigma**2)
    to_mean = shrunk * weight.T / 0.25
    scale = torch.full((3,), math.sqrt(1 - shrunk))
    scale[told:], to_mean[told:] = 1.0, 0.0
    seen = weight.clone()
    seen[:, used:] = 0
    rest = 7 * torch.atanh(scale.log() / 7)
    bias = torch.full((SIZE,), 0.5)
    return VAE(
        encoder=LinearEncoder(to_mean, bias, rest),
        decoder=LinearDecoder(seen, bias, SHAPE),
        prior=StandardNormal(3),
        likelihood=Normal(sigma),
        posterior=DiagonalNormal(3),
    )


def drawn(vae: VAE, count: int, seed: int) -> np.ndarray:
    """Images of the model with all columns of the weight."""
    torch.manual_seed(seed)
    full = linear()
    with torch.no_grad():
        x = full.model.decoder(torch.randn(count, 3)) + 0.05 * torch.randn(count, *SHAPE)
    return (x * 255).round().clamp(0, 255).numpy()


def subject(vae: VAE, **changed: Any) -> Subject:
    test, train = (split_of(drawn(vae, count, seed)) for count, seed in ((400, 1), (600, 2)))
    own = Subject(vae, test, CPU, shown=test.take([0, 1]), train=train, budget=BUDGET)
    return replace(own, **changed)


@pytest.fixture(scope="module")
def exact() -> Evidence:
    """The evidence of a model that is right, from the images that it draws."""
    return gather(subject(linear()))


@pytest.mark.slow
def test_an_exact_model_has_nothing_to_gain(exact: Evidence) -> None:
    found = exact
    assert found.dims == found.active == 3 and found.num_ignored == 0
    assert found.weight == pytest.approx(1, abs=0.2) and found.spread_gain < 0.1
    assert not found.beyond_chance(found.overfit)
    assert found.dispersion == pytest.approx(1, abs=0.05) and found.noise_cost < 0.1
    # A mixture fitted to few draws is worse than the prior, which is right.
    assert -0.5 < found.prior_gain < 0.1
    assert found.residual_gain < 0.5 and found.duplicates == 0 and found.distinct == 1
    assert 0.8 < found.memorised < 1.25 and found.shift_p > 1e-3
    # PCA of three latents is this model, and is fitted to 600 images.
    assert found.ppca == pytest.approx(found.elbo, abs=1.0) and found.no_latent < found.elbo


@pytest.mark.slow
def test_latents_that_the_decoder_does_not_use_are_ignored(exact: Evidence) -> None:
    found = latents.measure(subject(linear(used=1)))
    assert found["num_ignored"] == 2
    assert found["ignored"] == pytest.approx(2 / 3 * exact.rate, rel=0.1)


def test_the_gain_of_another_prior_is_its_divergence() -> None:
    random = np.random.default_rng(0)
    z = 2 * random.standard_normal((4000, 2)) + 1
    log_p = -0.5 * np.square(z).sum(1) - math.log(2 * math.pi)
    zeros, flat = np.zeros_like(z), np.zeros(len(z))
    known = np.ones(2, bool)
    encoded = Encoding(
        *(["z[0]", "z[1]"], z, zeros, z, zeros, zeros, known, flat, flat, z, flat, log_p),
        prior_scale=zeros[0],
        discrete=~known,
    )
    truth = 2 * 0.5 * (4 - 1 - math.log(4) + 1)  # KL of N(1, 2) and N(0, 1), in each dimension
    gain = latents._better_prior(encoded, 0)
    assert gain["prior_gain"] == pytest.approx(truth, abs=4 * gain["prior_gain_error"] + 0.02)


def test_the_gain_of_another_prior_is_unknown_with_classes() -> None:
    split = small_data(num_test=120).split("test")
    vae = CLASSES["mixture"]()
    own = Subject(vae, split, CPU, shown=split.take([0]), budget=QUICK)
    assert own.encoded.discrete.sum() == 2 and len(own.encoded) >= latents.LEAST
    assert latents._better_prior(own.encoded, 0) == {}
    assert latents._better_prior(replace(own.encoded, discrete=own.encoded.discrete & False), 0)


def test_residuals_with_structure_could_be_encoded() -> None:
    whole, poor = linear(), linear(used=1, told=1)
    assert noise.measure(subject(whole))["residual_gain"] < 0.5
    # Each missing axis has the variance 0.25 beside a noise of 0.05^2.
    assert noise.measure(subject(poor))["residual_gain"] > 2 * 0.5 * math.log(100) - 1


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_noise_costs_what_the_formula_says(factor: float, exact: Evidence) -> None:
    wrong = gather(subject(linear(sigma=0.05 * factor)))
    ratio = 1 / factor**2
    assert wrong.dispersion == pytest.approx(ratio, rel=0.25)  # A wide noise has wide posteriors.
    assert wrong.fixed_scale == pytest.approx(0.05 * factor)
    cost = SIZE / 2 * (ratio - 1 - math.log(ratio))
    assert wrong.noise_cost == pytest.approx(cost, rel=0.25)
    assert exact.elbo - wrong.elbo == pytest.approx(cost, rel=0.35)


@pytest.mark.slow
def test_images_of_another_source_are_told_from_others() -> None:
    vae = linear()
    usual = subject(vae)
    darker = split_of(np.clip(usual.split.images.astype(float) - 12, 0, 255))
    assert data.measure(usual)["shift_p"] > 1e-3
    assert data.measure(replace(usual, split=darker))["shift_p"] < 1e-3


@pytest.mark.slow
def test_copies_and_constant_images_are_counted() -> None:
    vae, own = linear(), subject(linear())
    assert own.train is not None
    images = own.split.images.copy()
    images[:40] = own.train.images[100:140]
    images[40:60] = 128
    found = data.measure(replace(own, split=split_of(images)))
    assert found["duplicates"] == pytest.approx(0.1) and found["constant"] == pytest.approx(0.05)
    assert math.isfinite(found["duplicate_gain"])
    again = split_of(np.repeat(own.train.images[:60], 10, 0))
    assert data.measure(replace(own, train=again))["distinct"] == pytest.approx(0.1)
    assert vae.training


def square(grey: float, left: int = 3) -> np.ndarray:
    """A square of 5x5 pixels on a black background of 32x32."""
    image = np.zeros((32, 32))
    image[4:9, left : left + 5] = grey
    return image


NOISE = np.random.default_rng(0).integers(-1, 2, (32, 32))


@pytest.mark.parametrize(
    ("image", "twin", "copied"),
    [
        (square(160), square(160), True),
        (square(160), square(160) + NOISE, True),  # As of JPEG files.
        (square(160), square(160) + 1, True),
        (square(160), square(164), False),  # A root mean square of 0.6 grey levels.
        (square(20), square(20, left=4), False),  # 2.0 grey levels.
        (square(10), square(10, left=4), False),
        (square(0) + 9, square(0) + 9, False),  # Constant.
    ],
)
def test_a_copy_differs_by_the_error_of_a_file(
    image: np.ndarray, twin: np.ndarray, copied: bool
) -> None:
    assert data._are_copies(image.reshape(1, -1), twin.reshape(1, -1)) == [copied]


def test_one_image_many_times_is_told() -> None:
    own = subject(linear())
    equal = split_of(np.full((50, *SHAPE), 77))
    found = data.measure(replace(own, split=equal, train=equal, shown=equal))
    assert found["constant"] == 1 and found["distinct"] == pytest.approx(0.02)
    assert "shift_p" not in found


def test_samples_that_repeat_training_images_are_near_them() -> None:
    own = subject(linear())
    with own.quietly(3):
        shown = own.space.show(own.prior_draws(200)[0])
    copies = split_of((shown * 255).round().clamp(0, 255).numpy())
    found = memory.measure(replace(own, train=copies))
    assert found["memorised"] < 0.1


def test_clusters_of_binary_images_are_a_baseline() -> None:
    random = np.random.default_rng(0)
    prototypes = random.integers(0, 2, (3, *SHAPE))
    images = prototypes[random.integers(0, 3, 500)]
    flipped = np.where(random.random(images.shape) < 0.05, 1 - images, images)
    vae = linear()
    binary = VAE(
        encoder=vae.guide.encoder,
        decoder=vae.model.decoder,
        prior=vae.model.prior,
        likelihood=Bernoulli(ThresholdBinarization()),
        posterior=vae.guide.posterior,
    )
    test, train = split_of(255 * flipped[:200]), split_of(255 * flipped[200:])
    own = Subject(binary, test, CPU, shown=test.take([0]), train=train, budget=BUDGET)
    found = scores.measure(own)
    entropy = SIZE * (0.05 * math.log(0.05) + 0.95 * math.log(0.95)) - math.log(3)
    assert entropy - 4 < found["clusters"] < entropy + 2
    assert found["no_latent"] < found["clusters"] - 5


def test_the_evidence_compares_with_the_models_that_training_names() -> None:
    vae = linear()
    images = drawn(vae, 300, 3)
    own = subject(vae, split=split_of(images[:100]), train=split_of(images[100:]), flip=False)
    found = Evidence().with_symptoms(scores.measure(own))
    terms = image_terms(vae, own.split, CPU, seed=own.seed)
    both = vae.likelihood, images[100:], images[:100]
    models = simpler_models(*both, own.space.continuous_size, seed=own.seed)
    name, below = shortfall(-(terms["rate"] + terms["distortion"]), models)
    assert (found.simpler, found.below, found.below_error) == (name, below.value, below.error)
    assert found.ppca == float(next(iter(models.values())).mean()) and not found.is_below


def test_the_history_tells_how_the_run_went() -> None:
    rows = pd.DataFrame(
        {
            "epoch": [1, 2, 3, 4],
            "step": [10, 20, 30, 40],
            "val_elbo": [0.0, 60.0, 100.0, 90.0],
            "train_elbo": [0.0, 80.0, 140.0, 150.0],
            "skipped_steps": [0, 0, 1, 3],
        }
    )
    assert from_rows(rows) == {
        "epochs": 4.0,
        "steps": 40.0,
        "val_fall": 10.0,
        "train_fall": 0.0,
        "rise": 20.0,
        "skipped": 0.1,
    }
    assert from_rows(rows.head(1).assign(val_elbo=10.0))["rise"] == 5.0


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({"likelihood": {"class_path": "Masked", "init_args": {"drop": 0.5}}}, False),
        ({"likelihood": {"class_path": "Masked", "init_args": {"drop": 0.0}}}, True),
        ({"objective": {"class_path": "pyrovae.Denoising"}}, False),
        ({}, True),
    ],
)
def test_a_training_elbo_of_changed_images_shows_no_rise(
    options: dict[str, Any], known: bool
) -> None:
    row = {"epoch": 1, "step": 10, "val_elbo": 9.0, "train_elbo": 1.0, "skipped_steps": 0}
    own = subject(linear())
    for count in (1, 2):
        told = replace(own, options=Options(options), history=pd.DataFrame([row] * count))
        assert np.isfinite(history.measure(told)["rise"]) == (known or count > 1)


@pytest.mark.parametrize("name", MEASURES)
def test_every_measurement_needs_no_training_images(name: str) -> None:
    split = small_data().split("test")
    own = Subject(small_vae(), split, CPU, shown=split.take([0]), budget=BUDGET)
    found = MEASURES[name](own)
    assert all(math.isfinite(value) for value in found.values()) or name == "latents"


@pytest.mark.slow
def test_a_measurement_that_raises_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(subject: Subject) -> dict[str, Any]:
        raise ValueError("no such thing")

    monkeypatch.setitem(MEASURES, "noise", broken)
    split = small_data().split("test")
    own = Subject(small_vae(), split, CPU, shown=split.take([0]), budget=BUDGET)
    found = gather(own)
    assert found.failed == {"noise": "ValueError: no such thing"}
    assert math.isnan(found.dispersion) and math.isfinite(found.elbo)
    report = assess(own, "nowhere")
    assert report.failed == {"measurement of noise": "ValueError: no such thing"}


@pytest.mark.slow
def test_held_out_images_are_scored_too() -> None:
    own = subject(linear())
    assert "held_elbo" not in scores.measure(own)
    found = scores.measure(replace(own, held_out=own.train))
    assert found["held_elbo"] == found["train_elbo"] and found["held_error"] > 0
    assert "held_elbo" not in scores.measure(replace(own, held_out=own.train, name="train"))
    test = own.split
    for number, known in ((1, False), (19, False), (30, True)):
        groups = np.arange(len(test)) % number
        grouped = replace(own, held_out=replace(test, groups=groups))
        found = scores.measure(grouped)
        assert ("held_elbo" in found) == known and found.get("groups") == (30 if known else None)
