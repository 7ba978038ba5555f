"""Probes and directions against closed forms of the linear-Gaussian VAE."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pyrovae import InputError
from pyrovae.data import Split
from pyrovae.inspection.attributes import (
    attribute_table,
    directions,
    is_classes,
    is_two_valued,
    known_directions,
    reach,
)
from pyrovae.inspection.probing import area_under_curve, enough, gains, known_probes, probes
from pyrovae.inspection.sections.attributes import _draw_edit_effects, _says
from tests.support.oracles import LinearGaussian
from tests.support.tables import Z_LIMIT

COUNT = 20_000


@torch.no_grad()
def encoded(
    orthogonal: bool = False, mixed: bool = False
) -> tuple[LinearGaussian, np.ndarray, np.ndarray]:
    """A VAE with the exact posterior, the latents of images, and their posterior means."""
    torch.manual_seed(0)
    oracle = LinearGaussian(orthogonal=orthogonal, sigma=1.5)
    if (
        mixed
    ):  # Both latents show in the same pixels, so that the posterior tells them apart badly.
        oracle.weight[:, 1] = oracle.weight[:, 0] + 0.5 * oracle.weight[:, 1]
        precision = torch.eye(2) + oracle.weight.T @ oracle.weight / oracle.sigma**2
        oracle.covariance = torch.linalg.inv(precision)
    z = torch.randn(COUNT, 2, dtype=torch.float64)
    flat = z @ oracle.weight.T + oracle.bias + oracle.sigma * torch.randn(COUNT, 12).double()
    vae = oracle.vae()
    loc = vae.guide.encoder(flat.unflatten(-1, oracle.shape))[:, :2]
    return oracle, z.numpy(), loc.numpy()


@pytest.mark.slow
def test_the_share_that_is_read_is_one_less_the_posterior_variance() -> None:
    oracle, z, codes = encoded()
    found = probes(codes, pandas.DataFrame({"first": z[:, 0], "second": z[:, 1]}))
    assert list(found["score"]) == ["R2", "R2"] and found["share"].isna().all()
    expected = 1 - oracle.covariance.diagonal().numpy()
    assert (np.abs(found["value"] - expected) < Z_LIMIT * found["error"] + 1e-3).all()
    # The error that N Normal residuals have, within what makes them a ratio.
    assert (found["error"] < 3 * (1 - expected) * math.sqrt(2 / COUNT) + 1e-3).all()


@pytest.mark.slow
def test_the_area_under_the_curve_is_that_of_a_noisy_latent() -> None:
    oracle, z, codes = encoded()
    found = probes(codes, pandas.DataFrame({"sign": np.sign(z[:, 0])}))
    # The posterior mean of z_0 and z_0 have this correlation; an orthant of three Normals.
    correlation = math.sqrt(1 - float(oracle.covariance[0, 0]))
    expected = 0.5 + 2 / math.pi * math.asin(correlation / math.sqrt(2))
    row = found.loc["sign"]
    assert row["score"] == "AUC" and row["share"] == pytest.approx((z[:, 0] > 0).mean())
    assert abs(row["value"] - expected) < Z_LIMIT * row["error"] + 1e-4
    assert row["error"] < 0.005


@pytest.mark.slow
def test_errors_are_those_of_repetitions() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(40):
        codes = rng.normal(size=(200, 2))
        noisy = codes[:, 0] + rng.normal(size=200)
        table = pandas.DataFrame({"level": noisy, "sign": np.sign(noisy)})
        rows.append(probes(codes, table, seed=seed)[["value", "error"]].stack())
    told = pandas.DataFrame(rows)
    for name in ("level", "sign"):
        spread = told[name]["value"].std()
        # The spread of 40 values is known to 11%.
        assert told[name]["error"].mean() == pytest.approx(spread, rel=0.5)


def test_what_the_codes_do_not_hold_is_not_read() -> None:
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(2000, 5))
    table = pandas.DataFrame({"level": rng.normal(size=2000), "sign": rng.choice([-1, 1], 2000)})
    found = probes(codes, table)
    assert found["value"]["level"] < Z_LIMIT * found["error"]["level"]
    assert abs(found["value"]["sign"] - 0.5) < Z_LIMIT * found["error"]["sign"]
    assert gains(found).abs().max() < 0.15


@pytest.mark.slow
def test_options_of_probes_change_the_folds() -> None:
    rng = np.random.default_rng(2)
    codes = rng.normal(size=(100, 2))
    table = pandas.DataFrame({"a": codes[:, 0] + rng.normal(size=100), "b": codes[:, 1] > 0})
    first = probes(codes, table)
    assert probes(codes, table).equals(first)
    for other in (probes(codes, table, seed=1), probes(codes, table, folds=2)):
        assert other["value"]["a"] != first["value"]["a"]
    assert probes(codes * [1e6, 1e-4] + 10, table)["value"]["a"] == pytest.approx(
        first["value"]["a"], abs=1e-4
    )
    constant = np.c_[codes, np.ones(100)]
    assert probes(constant, table)["value"]["a"] == pytest.approx(first["value"]["a"], abs=1e-4)


def test_shares_below_and_above_make_the_area() -> None:
    rng = np.random.default_rng(0)
    for digits in (0, 5):
        scores, positive = rng.normal(size=200).round(digits), rng.random(200) < 0.3
        above, below = area_under_curve(scores, positive)
        expected = roc_auc_score(positive, scores)
        assert above.mean() == pytest.approx(expected) == below.mean()
        assert (len(above), len(below)) == (positive.sum(), (~positive).sum())


@pytest.mark.slow
def test_a_direction_is_that_of_the_covariance_and_not_of_the_probe() -> None:
    oracle, z, codes = encoded(mixed=True)
    table = pandas.DataFrame({"first": z[:, 0], "second": z[:, 1]})
    found = directions(codes, table).to_numpy()
    expected = (torch.eye(2) - oracle.covariance).numpy()
    error = codes.std(0) / math.sqrt(COUNT)
    assert (np.abs(found - expected) < Z_LIMIT * error).all()
    # The best reading is the first code alone, which the direction does not follow.
    assert abs(expected[0, 1]) > 2 * Z_LIMIT * error[1]


def test_with_a_diagonal_posterior_a_latent_points_along_its_axis() -> None:
    oracle, z, codes = encoded(orthogonal=True)
    found = directions(codes, pandas.DataFrame({"first": z[:, 0]})).to_numpy()[0]
    limit = Z_LIMIT / math.sqrt(COUNT)
    assert found == pytest.approx([1 - float(oracle.covariance[0, 0]), 0], abs=limit)


def test_two_values_point_from_one_mean_to_the_other_however_they_are_coded() -> None:
    rng = np.random.default_rng(0)
    codes, present = rng.normal(size=(50, 3)), rng.random(50) < 0.3
    gap = codes[present].mean(0) - codes[~present].mean(0)
    table = pandas.DataFrame({"signs": np.where(present, 1, -1), "bits": present * 1.0})
    arrows, ends = directions(codes, table), reach(table)
    whole = arrows.mul(ends["high"] - ends["low"], axis=0)
    assert whole.to_numpy() == pytest.approx(np.stack([gap, gap]))


def test_the_reach_of_a_scale_is_from_its_5_to_its_95_percent_quantile() -> None:
    table = pandas.DataFrame({"scale": np.linspace(0, 100, 1001), "bit": np.arange(1001) % 2})
    found = reach(table)
    assert found.loc["scale"].tolist() == pytest.approx([5, 95])
    assert found.loc["bit"].tolist() == [0, 1]


def test_kinds_of_columns() -> None:
    assert is_two_valued(np.array([-1, 1, 1])) and not is_two_valued(np.array([1.0, 1.0]))
    assert is_classes(np.arange(20)) and not is_classes(np.arange(21))
    assert not is_classes(np.array([0.5, 1, 2])) and not is_classes(np.array([0, 1]))
    assert not is_classes(np.array([0, 1, 2, np.nan]))


def split_of(columns: dict[str, list[float]]) -> Split:
    count = len(next(iter(columns.values()))) if columns else 3
    values = np.array(list(columns.values()), np.float32).T.reshape(count, -1)
    images = np.zeros((count, 1, 2, 2), np.uint8)
    return Split(images, [str(i) for i in range(count)], values, list(columns))


def test_classes_become_a_column_each() -> None:
    split = split_of({"label": [0, 1, 2, 1], "age": [0.5, 1, 2, 3], "smiling": [-1, 1, 1, 1]})
    found = attribute_table(split)
    assert list(found) == ["label=0", "label=1", "label=2", "age", "smiling"]
    assert found["label=1"].tolist() == [0, 1, 0, 1] and list(found.index) == list("0123")
    assert list(attribute_table(split, ["smiling"])) == ["smiling"]


def test_named_classes_become_columns_of_their_names() -> None:
    columns = {"label": [0, 1, 2, 1], "sex": [1, 0, 1, float("nan")], "rare": [9, 9, 3, 9]}
    names = {"label": ("cat", "dog", "eel"), "sex": ("f", "m"), "rare": tuple("abcdefghij")}
    found = attribute_table(replace(split_of(columns), value_names=names))
    assert list(found) == ["label=cat", "label=dog", "label=eel", "sex=m", "rare=j"]
    assert found["label=dog"].tolist() == [0, 1, 0, 1]
    assert found["sex=m"].tolist()[:3] == [1, 0, 1] and np.isnan(found["sex=m"].iloc[3])


def test_of_many_named_classes_the_most_frequent_are_kept() -> None:
    labels = [label for label in range(30) for _ in range(1 + label % 3)]
    names = {"label": tuple(f"c{label}" for label in range(30))}
    found = attribute_table(replace(split_of({"label": labels}), value_names=names))
    # Ten classes have three images, ten have two, and ten have one.
    assert list(found) == [f"label=c{label}" for label in range(30) if label % 3]


def test_an_unknown_attribute_is_told_its_neighbours() -> None:
    split = split_of({"Smiling": [0, 1, 1], "Smoking": [0, 1, 1], "Bald": [1, 0, 0]})
    with pytest.raises(InputError, match="'Smilling' .did you mean Smiling"):
        attribute_table(split, ["Smilling"])
    with pytest.raises(InputError, match="have no attributes"):
        attribute_table(split_of({}))


def test_what_cannot_be_learnt_is_left_out_with_a_reason() -> None:
    rare = np.arange(100) < 9
    table = pandas.DataFrame(
        {"fine": np.arange(100) % 2, "rare": rare, "same": 1.0, "holes": [np.nan] * 2 + [0.0] * 98}
    )
    names, reasons = enough(table * 1.0)
    assert names == ["fine"] and list(reasons) == ["rare", "same", "holes"]
    assert reasons["rare"] == "9 of 10 images needed of its rarer value"
    with pytest.raises(InputError, match="attribute rare can be fitted: 9 of 10"):
        probes(np.zeros((100, 2)), table[["rare"]] * 1.0)


def test_impossible_probes_and_directions_are_refused() -> None:
    table = pandas.DataFrame({"a": np.arange(30.0), "same": 1.0})
    codes = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(InputError, match="19 images are too few"):
        probes(codes[:19], table[["a"]][:19])
    for folds in (1, 11):
        with pytest.raises(InputError, match=f"folds must be from 2 to 10, got {folds}"):
            probes(codes, table[["a"]], folds=folds)
    with pytest.raises(InputError, match="same is the same for all 30 images"):
        directions(codes, table)
    with pytest.raises(InputError, match="finite"):
        probes(np.full((30, 2), np.nan), table[["a"]])


def test_each_attribute_is_learnt_from_the_images_of_which_it_is_known() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(90, 3))
    full = pandas.DataFrame(
        {"size": codes @ [1, 2, 0] + rng.normal(size=90), "bit": (codes[:, 2] > 0) * 1.0}
    )
    table = full.copy()
    rows = {"size": np.arange(10, 90), "bit": np.arange(0, 90, 2)}
    for name, known in rows.items():
        table.loc[np.setdiff1d(np.arange(90), known), name] = np.nan
    table["few"], table["same"] = np.where(np.arange(90) < 19, full["size"], np.nan), 1.0
    scores, reasons = known_probes(codes, table)
    arrows = known_directions(codes, table[scores.index])
    assert list(scores["images"]) == [80, 45] and list(reasons) == ["few", "same"]
    assert reasons["few"] == "known for 19 of 20 images needed"
    for name, known in rows.items():
        alone = full.loc[known, [name]]
        pandas.testing.assert_frame_equal(scores.loc[[name]], probes(codes[known], alone))
        pandas.testing.assert_frame_equal(arrows.loc[[name]], directions(codes[known], alone))
    with pytest.raises(InputError, match="no probe can be fitted to 90 images: same .the same"):
        known_probes(codes, table[["same"]])
    with pytest.raises(InputError, match="19 images are too few"):
        known_probes(codes[:19], table[:19])


def test_unknown_labels_are_unknown_in_every_column_of_their_classes() -> None:
    found = attribute_table(split_of({"label": [0, 1, 2, np.nan, 1]}))
    assert list(found) == ["label=0", "label=1", "label=2"]
    assert found["label=1"].tolist()[:3] == [0, 1, 0] and np.isnan(found.iloc[3]).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.388], ["No attribute of two values is predicted better than chance"]),
        ([0.56, 0.388], ["No attribute of two values is predicted better than chance"]),
        ([0.9], ["ranks a0 best: the area under the ROC curve on unseen images is 0.900 ± 0.06."]),
        ([0.9, 0.4], ["The median of 2 attributes is 0.650.", "better than chance: a1."]),
    ],
)
def test_what_is_at_chance_is_not_called_best(values: list[float], expected: list[str]) -> None:
    names = [f"a{row}" for row in range(len(values))]
    scores = pandas.DataFrame(
        {"score": "AUC", "value": values, "error": 0.06, "independent": 500, "images": 999}, names
    )
    said = _says(scores, {})
    assert len(said) == len(expected)
    for words, part in zip(said, expected, strict=True):
        assert part in words
    assert ("best" in said[0]) == (values[0] > 0.62) and ("median" in said[0]) == (said[1:] != [])


@pytest.mark.parametrize("names", [["a"], ["smiling", "a very long name of an attribute"]])
def test_the_label_of_the_colour_bar_lies_in_the_figure(names: list[str]) -> None:
    figure = _draw_edit_effects(pandas.DataFrame(0.5, names, names))
    figure.draw_without_rendering()
    box = figure.axes[1].yaxis.label.get_window_extent()
    assert figure.bbox.ymin <= box.ymin and box.ymax <= figure.bbox.ymax
    assert box.xmax <= figure.bbox.xmax
