"""The scores of a validation split, and the measurements of its encodings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyrovae import Engine, evaluate
from pyrovae.data import Split
from pyrovae.evaluation.reconstruction import reconstructions
from pyrovae.posterior import validation
from pyrovae.posterior.encoding import encode
from pyrovae.posterior.validation import validate
from tests.support.programs import MAKERS
from tests.support.small import small_data, small_vae
from tests.support.tables import IN_TURN, make_vae

CPU = Engine("cpu", "fp32")


def some_images(names: tuple[str, str, str]) -> Split:
    images = 255 * np.random.default_rng(0).integers(0, 2, (120, 3, 6, 5)).astype(np.uint8)
    return Split(images, [str(row) for row in range(120)], np.zeros((120, 0), np.float32))


@pytest.mark.parametrize("names", IN_TURN, ids="-".join)
def test_scores_are_those_of_evaluate_and_every_part_is_measured(names: Any) -> None:
    vae, split = make_vae(*names).eval(), some_images(names)
    found = validate(vae, split, CPU, seed=3)
    assert found.scores == evaluate(vae, split, CPU, seed=3) and not found.reason
    assert found.kl is not None and found.kl.shape == (vae.latent_prior().event_shape[0],)
    assert found.active_units is not None and 0 <= found.active_units <= len(found.kl)
    assert found.psnr is not None and 0 < found.psnr < 60


def test_each_image_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vae, seen = small_vae(), list[int]()
    vae.guide.encoder.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    validate(vae, small_data().split("val"), CPU)
    assert sum(seen) == 20
    monkeypatch.setattr(validation, "evaluate", None)  # It would encode them again.
    assert validate(vae, small_data().split("val"), CPU).active_units is not None


@pytest.mark.slow
def test_measurements_are_those_of_the_encodings() -> None:
    vae, split = small_vae().eval(), small_data(num_val=500).split("val")
    found, encoded = validate(vae, split, CPU), encode(vae, split, CPU)
    assert found.active_units == encoded.active.sum() and found.psnr is not None
    assert np.array_equal(found.kl, encoded.kl.mean(0))
    other = reconstructions(vae, split, CPU, seed=1)["psnr"].mean()  # Of other draws.
    assert found.psnr == pytest.approx(other, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_other_programs_are_measured_on_some_images(make: Any) -> None:
    programs, split = make().eval(), small_data(num_val=300).split("val")
    found = validate(programs, split, CPU)
    assert found.scores == evaluate(programs, split, CPU) and not found.reason
    assert np.array_equal(found.kl, encode(programs, split.spread(200), CPU).kl.mean(0))


def test_what_cannot_be_measured_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no moments")

    monkeypatch.setattr(validation, "encode", fail)
    vae, split = small_vae().eval(), small_data().split("val")
    found = validate(vae, split, CPU)
    assert found.scores == evaluate(vae, split, CPU) and found.reason == "RuntimeError: no moments"
    assert found.active_units is found.kl is found.psnr is None


def test_one_image_has_no_active_units() -> None:
    found = validate(small_vae(), small_data().split("val").take([0]), CPU)
    assert found.active_units is None and found.kl is not None
