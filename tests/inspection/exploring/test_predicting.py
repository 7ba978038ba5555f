"""Predicted attributes against their regression, folds, and the posterior of a linear model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold

from pyrovae import InputError
from pyrovae.inspection.attributes import directions
from pyrovae.inspection.edits import edited
from pyrovae.inspection.exploring import Predictions
from pyrovae.inspection.probing import ridge
from pyrovae.inspection.subject import Subject
from tests.support.oracle_subjects import linear_subject, small_subject
from tests.support.oracles import LinearGaussian
from tests.support.programs import CLASSES
from tests.support.small import small_vae
from tests.support.tables import Z_LIMIT


def with_attributes(subject: Subject, values: np.ndarray, names: list[str]) -> Subject:
    attributes = values.astype(np.float32)
    split = replace(subject.split, attributes=attributes, attribute_names=names)
    return replace(subject, split=split)


def test_predictions_are_those_of_the_regression_and_errors_those_of_held_out_images() -> None:
    subject = small_subject(small_vae())
    found, codes = Predictions.of(subject), subject.encoded.loc
    values = found.table.to_numpy(float)
    assert found.at(codes) == pytest.approx(ridge(codes, values, codes))
    far = 10 * codes[:2] - 3
    assert found.at(far) == pytest.approx(ridge(codes, values, far))
    errors = np.empty_like(values)
    for seen, unseen in KFold(5, shuffle=True, random_state=0).split(codes):
        errors[unseen] = ridge(codes[seen], values[seen], codes[unseen]) - values[unseen]
    assert found.errors == pytest.approx(np.sqrt((errors**2).mean(0)))


@pytest.mark.slow
def test_the_error_of_a_latent_is_the_standard_deviation_of_its_posterior() -> None:
    count, linear = 3000, LinearGaussian(latent_dim=2, sigma=1.5)
    subject = linear_subject(linear, count)
    z = torch.randn(count, 2, dtype=torch.float64)
    images = z @ linear.weight.T + linear.bias + linear.sigma * torch.randn(count, 12).double()
    split = replace(subject.split, images=images.unflatten(-1, linear.shape).numpy())
    found = Predictions.of(with_attributes(replace(subject, split=split), z.numpy(), ["a", "b"]))
    expected = linear.covariance.diagonal().sqrt().numpy()
    assert found.errors == pytest.approx(expected, rel=Z_LIMIT / np.sqrt(2 * count) + 2e-3)


def test_a_move_is_half_of_the_edit_of_the_report() -> None:
    subject = small_subject(small_vae())
    found = Predictions.of(subject)
    z = torch.from_numpy(subject.encoded.loc[:1]).float()
    with subject.quietly():
        shown = edited(subject, z, directions(found.codes, found.table), found.table, (-0.5, 0.5))
        moved = z + torch.tensor([-1.0, 1.0])[:, None, None] * torch.from_numpy(found.moves[3])
        expected = subject.space.show(moved.float())
    assert torch.allclose(shown[3], expected, atol=1e-5)


def test_images_without_values_and_attributes_without_variety_do_not_count() -> None:
    subject = small_subject(small_vae())
    some = np.random.default_rng(0).normal(size=(120, 3))
    some[:, 1], some[::4, 2] = 1.0, np.nan
    found = Predictions.of(with_attributes(subject, some, ["some", "same", "gaps"]))
    assert list(found.table) == ["some", "gaps"] and len(found.table) == 90
    assert found.left_out == {"same": "the same for all images"}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_do_not_count(name: str) -> None:
    """Means of a class are probabilities: the regression would extrapolate to a class itself."""
    subject = small_subject(CLASSES[name]())
    found, real = Predictions.of(subject), subject.encoded.continuous()
    values = found.table.to_numpy(float)
    assert found.at(subject.encoded.loc) == pytest.approx(ridge(real.loc, values, real.loc))
    classes = subject.encoded.discrete
    assert classes.any() and not found.slopes[:, classes].any()
    assert not found.moves[:, classes].any() and found.moves[:, ~classes].all()
    z = subject.encoded.loc.copy()
    z[:, classes] = np.eye(classes.sum())[0]
    assert found.at(z) == pytest.approx(found.at(subject.encoded.loc))


def test_without_attributes_there_are_no_predictions() -> None:
    subject = small_subject(small_vae())
    with pytest.raises(InputError, match="^the images have no attributes$"):
        Predictions.of(with_attributes(subject, np.zeros((120, 0)), []))
    with pytest.raises(InputError, match=r"^no attribute can be predicted \(a: the same for all"):
        Predictions.of(with_attributes(subject, np.ones((120, 1)), ["a"]))
    with pytest.raises(InputError, match="^10 images: predictions need at least 20$"):
        Predictions.of(replace(subject, split=subject.split.take(range(10))))
