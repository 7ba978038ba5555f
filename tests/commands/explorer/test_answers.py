"""Answers of the explorer: their numbers are those of the inspection, for any programs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pyrovae import (
    InputError,
    Normal,
    evaluate,
)
from pyrovae.commands.explorer.answers import ANSWERS
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.evaluation.evidence import log_evidence
from pyrovae.inspection.exploring import Cover
from pyrovae.inspection.holes import nearest_posteriors
from pyrovae.inspection.maps import principal_map
from pyrovae.inspection.posterior import predictive
from pyrovae.inspection.probing import probes
from pyrovae.posterior.elbo import image_terms
from tests.support.explorers import all_answers, ask, explorer, file_of, pixels, up_to_rounding
from tests.support.pretended import DEVICE, pretending
from tests.support.programs import MAKERS as PROGRAMS
from tests.support.programs import conditional, two_latents
from tests.support.small import small_data, small_vae

MAKERS = PROGRAMS | {"vae": small_vae}


def made(make: Any) -> Explorer:
    """An explorer of programs with the same weights in every call."""
    torch.manual_seed(0)
    return explorer(make())


KEYS = {
    "run": "name split count image sites dims given colours methods notes images uploads",
    "map": "places names says thin",
    "colour": "values kind classes unit done",
    "thumbs": "sprite size",
    "ground": "z images cover",
    "decode": "images cover predicted",
    "image": "name picture reconstruction loc scale place attributes given unknown cover",
    "draws": "images deviation largest says",
    "scores": "rate distortion elbo bits_per_dim log_evidence error k_hat typicality p_value "
    "unlike says",
    "sliders": "sliders idle says",
    "directions": "directions says",
    "attributes": "attributes left_out",
    "path": "images z density usual cover says",
    "nearest": "names distances sprite size",
}


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_every_question_about_any_programs_has_an_answer(make: Any) -> None:
    own = made(make)
    before = torch.get_rng_state()
    found = all_answers(own)
    assert torch.equal(before, torch.get_rng_state())
    assert set(found) == set(ANSWERS) == {*KEYS, "upload"}
    for name, keys in (KEYS | {"upload": KEYS["image"]}).items():
        assert set(keys.split()) <= set(found[name]), name
    assert found == all_answers(made(make)) | {"scores": found["scores"]}
    assert found["run"]["count"] == 120 and len(found["map"]["places"]) == 120
    assert len(found["thumbs"]["sprite"]) and pixels(found["thumbs"]["sprite"]).shape == (
        20,
        40,
        3,
    )
    assert found["upload"]["name"] == "upload:1"
    assert set(found["upload"]["attributes"].values()) == {None}
    rates = [slider["kl"] for slider in found["sliders"]["sliders"]]
    assert rates == sorted(rates, reverse=True)
    assert len(rates) + len(found["sliders"]["idle"]) == len(found["run"]["dims"])


def test_classes_have_no_distance() -> None:
    own = explorer(MAKERS["semi-supervised"]())
    z, real = own.subject.encoded.loc[3].copy(), ~own.subject.encoded.discrete
    before = ask(own, "nearest", z=z.tolist(), count=3)
    z[~real] = [0.0, 1.0]
    assert ask(own, "nearest", z=z.tolist(), count=3) == before
    assert before["names"][0] == own.names[3] and before["distances"][0] == pytest.approx(0)


@pytest.mark.slow
def test_sliders_of_a_class_end_at_its_values() -> None:
    own = explorer(MAKERS["semi-supervised"]())
    own.subject.encoded.mean_shift[:] *= 1000  # All units are active.
    found = ask(own, "sliders", name=own.names[3])["sliders"]
    ends = {(slider["low"], slider["high"]) for slider in found if slider["site"] == "y"}
    assert ends == {(0.0, 1.0)}


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_every_question_is_answered_on_another_device(make: Any) -> None:
    torch.manual_seed(0)
    own = explorer(make(), 30)
    expected = {"run": ask(own, "run"), "sliders": ask(own, "sliders", name=own.names[3])}
    with pretending():
        torch.manual_seed(0)
        found = all_answers(explorer(make().to(DEVICE), 30, device="meta"))
    assert {name: found[name] for name in expected} == up_to_rounding(expected)


@pytest.mark.slow
def test_the_numbers_are_those_of_the_evaluation_and_the_inspection() -> None:
    explored = explorer(small_vae())
    subject = explored.subject
    encoded, split = subject.encoded, subject.split
    whole = evaluate(subject.programs, split, subject.engine)
    scores = [ask(explored, "scores", name=name) for name in explored.names[:30]]
    assert np.mean(ask(explored, "colour", name="rate")["values"]) == pytest.approx(whole.rate)
    rates = image_terms(subject.programs, split, subject.engine)["rate"]
    assert [own["rate"] for own in scores] == pytest.approx(rates[:30])
    evidence = log_evidence(subject.programs, split.take([0]), 50, engine=subject.engine)
    for name in ("log_evidence", "elbo"):
        assert scores[0][name] == pytest.approx(evidence[name][0])
    for own in scores:  # Of the same draws, so the ELBO is the smaller one of each image.
        assert own["elbo"] <= own["log_evidence"]
        assert own["distortion"] == pytest.approx(-own["elbo"] - own["rate"])
        bits = subject.programs.likelihood.bits_per_dim(own["elbo"], split.images[0].size)
        assert own["bits_per_dim"] == pytest.approx(bits)
    found = ask(explored, "image", name="test:7")
    assert found["loc"] == encoded.loc[7].tolist() and found["scale"] == encoded.scale[7].tolist()
    assert found["file"] == split.names[7]
    assert np.array_equal(pixels(found["picture"]), split.images[7].transpose(1, 2, 0))
    places, _ = principal_map(encoded.loc)
    assert ask(explored, "map", method="PCA")["places"] == pytest.approx(places.round(5))
    assert found["place"]["PCA"] == pytest.approx(places[7])


def test_decoded_points_are_shown_covered_and_predicted() -> None:
    own = explorer(small_vae())
    z = own.subject.encoded.loc[:3] + 0.1
    found = ask(own, "decode", z=z.tolist())
    with own.subject.quietly():
        shown = own.subject.space.show(torch.from_numpy(z).float())
    expected = (255 * shown[1]).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(pixels(found["images"][1]).astype(int) - expected).max() <= 1
    shares = Cover.of(own.subject.encoded).shares(z)
    assert [cover["share"] for cover in found["cover"]] == pytest.approx(shares)
    predictions = own.predictions
    assert not isinstance(predictions, str)
    values = [own["yaw"]["value"] for own in found["predicted"]]
    assert values == pytest.approx(predictions.at(z)[:, list(predictions.table).index("yaw")])


def test_an_image_does_not_cover_what_starts_from_it() -> None:
    own = explorer(small_vae())
    encoded = own.subject.encoded
    encoded.scale[:] *= 0.01
    encoded.draws[:] = encoded.loc
    z = encoded.loc[[4]]
    without = Cover.of(own.subject.encoded).shares(z + 1e-4, [4])[0]
    found = [
        ask(own, "decode", z=(z + 1e-4).tolist(), **given)["cover"][0]["share"]
        for given in ({"name": "test:4"}, {"name": "test:5"}, {})
    ]
    assert found[0] == without < found[1] == found[2]
    assert ask(own, "decode", z=z.tolist())["cover"][0]["share"] < 1
    assert ask(own, "image", name="test:4")["cover"]["share"] < 1
    ends = {"first": z[0].tolist(), "second": own.subject.encoded.loc[6].tolist()}
    path = ask(own, "path", kind="straight", steps=3, **ends)
    assert path["cover"][0]["share"] < 1 and path["cover"][2]["share"] < 1


def test_far_points_are_thin_and_few_images_say_nothing() -> None:
    far = [[50.0] * 4]
    found = ask(explorer(small_vae()), "decode", z=far)["cover"][0]
    assert found["share"] == 0 and found["thin"]
    assert "none of 60 held-out encodings is as far" in found["says"]
    few = explorer(small_vae(), 12)
    found = ask(few, "decode", z=far)["cover"][0]
    assert not found["thin"] and found["says"].startswith("12 images are too few")
    assert ask(few, "map", method="PCA")["thin"]["below"] == 0


@pytest.mark.parametrize("kind", ["straight", "sphere"])
def test_the_density_of_a_path_is_that_of_the_prior(kind: str) -> None:
    own = explorer(small_vae())
    first, second = own.subject.encoded.loc[:2]
    ends = {"first": first.tolist(), "second": second.tolist()}
    found = ask(own, "path", kind=kind, steps=5, **ends)
    z = torch.tensor(found["z"])
    assert torch.allclose(z[[0, -1]], torch.tensor(np.stack([first, second])).float(), atol=1e-6)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    assert found["density"] == pytest.approx(expected.tolist(), rel=1e-5)
    assert found["usual"] == np.quantile(own.subject.encoded.log_p, (0.05, 0.5, 0.95)).tolist()
    assert f"\N{MINUS SIGN}{-min(found['density']):,.1f} nats" in found["says"]


def test_the_nearest_encodings_are_those_of_the_smallest_distance() -> None:
    own = explorer(small_vae())
    encoded, z = own.subject.encoded, np.full(4, 0.3)
    found = ask(own, "nearest", z=z.tolist(), count=6)
    pairs = zip(encoded.loc, encoded.scale, strict=True)
    each = np.array([nearest_posteriors(z[None], loc[None], s[None])[0] for loc, s in pairs])
    assert found["names"] == [own.names[row] for row in each.argsort()[:6]]
    assert found["distances"] == pytest.approx(np.sort(each)[:6])
    assert pixels(found["sprite"]).shape == (64, 6 * 64, 3)


def test_draws_have_the_spread_of_the_predictive() -> None:
    own = explorer(small_vae())
    found = ask(own, "draws", name="test:2", count=4, seed=9)
    seen = own.images.seen("test:2")
    with replace(own.subject, seed=9).quietly(8):
        expected = predictive(own.subject.space, seen.x, seen.inputs, 100, 4)
    largest = 255 * float(expected.latent_spread.square().mean(1).sqrt().max())
    assert found["largest"] == pytest.approx(largest) and len(found["images"]) == 4
    assert pixels(found["deviation"]).shape == (16, 16) and pixels(found["deviation"]).max() == 255
    assert ask(own, "draws", name="test:2", count=4, seed=8) != found


@pytest.mark.slow
def test_attributes_have_the_scores_of_the_probes() -> None:
    own = explorer(small_vae())
    found = ask(own, "attributes")
    table = own.subject.split.table()
    scores = probes(own.subject.encoded.loc, table)
    for attribute in found["attributes"]:
        row = scores.loc[attribute["name"]]
        assert attribute["score"] == pytest.approx(row.value)
        assert attribute["error"] == pytest.approx(row.error)
        assert "held-out images" in attribute["says"]
    assert len(found["attributes"]) + len(found["left_out"]) == len(table.columns)


@pytest.mark.slow
def test_slow_colours_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrovae.commands.explorer.answers.overview.SECONDS", 0.0)
    own = explorer(small_vae(), 20)
    first = ask(own, "colour", name="log p(x)")
    assert first["done"] == 1 / 20 and first["values"].count(None) == 19
    second = ask(own, "colour", name="log p(x)")
    assert second["values"].count(None) == 18
    monkeypatch.setattr("pyrovae.commands.explorer.answers.overview.SECONDS", 60.0)
    whole = ask(own, "colour", name="log p(x)")
    assert whole["done"] == 1 and None not in whole["values"]
    row = next(row for row, value in enumerate(first["values"]) if value is not None)
    assert whole["values"][row] == first["values"][row]
    assert ask(own, "scores", name=f"test:{row}")["log_evidence"] == first["values"][row]
    scores = ask(own, "colour", name="outlier score")
    usual = own.reference[0].table.log_evidence.mean()
    expected = np.abs(np.array(whole["values"]) - usual)
    assert scores["done"] == 1 and scores["values"] == pytest.approx(expected)


@pytest.mark.slow
def test_an_unusual_image_is_unlike_the_training_data(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = small_vae(likelihood=Normal(0.1))
    own = explorer(vae, 40, small_data(num_val=110, num_test=40))
    white = np.full((16, 16), 255, np.uint8)
    ANSWERS["upload"](own, {"bytes": file_of(white)})
    monkeypatch.setattr("pyrovae.commands.explorer.answers.images.SECONDS", 0.0)
    waiting = ask(own, "scores", name="upload:1")
    assert waiting["p_value"] is None and not waiting["unlike"] and waiting["done"] < 1
    assert waiting["says"] == [
        "The rank of log p(x) is not known yet: so far, 1 of 110 held-out images are scored."
    ]
    assert not own.prepare(0.0)
    assert own.prepare(60.0)
    found = ask(own, "scores", name="upload:1")
    known = own.reference[0].table.log_evidence
    assert found["unlike"] and found["p_value"] == pytest.approx(2 / 111) and found["done"] == 1
    assert found["typicality"] == pytest.approx(abs(found["log_evidence"] - known.mean()))
    assert found["says"][0].startswith("Unlike the training data: hardly any of 110 held-out")
    usual = [ask(own, "scores", name=name) for name in own.names]
    # Each image is flagged with a probability of 2%: of 40, more than 8 by chance once in 1e8.
    assert sum(score["unlike"] for score in usual) <= 8


def test_the_smallest_p_value_is_said_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    own = explorer(small_vae(), 30, small_data(num_val=45, num_test=30))
    for row in range(25):
        own.reference[0].of(row)
    monkeypatch.setattr("pyrovae.commands.explorer.answers.images.SECONDS", 0.0)
    says = ask(own, "scores", name="test:0")["says"]
    assert says[1] == "p cannot be below 0.074 yet: 26 of 45 images are scored so far."
    assert own.prepare(60.0)
    says = ask(own, "scores", name="test:0")["says"]
    assert says[1] == "p cannot be below 0.043: there are only 45 images to compare with."


def test_attributes_are_inputs_of_programs_that_take_them() -> None:
    own = explorer(conditional())
    run = ask(own, "run")
    assert [own["name"] for own in run["given"]] == ["skin_tone", "hair_length"]
    assert all(own["low"] < own["usual"] < own["high"] for own in run["given"])
    image = ask(own, "image", name="test:5")
    values = own.subject.split.attributes[5]
    assert list(image["given"].values()) == pytest.approx(values[[0, 3]].tolist())
    z = [image["loc"]]
    same = ask(own, "decode", z=z, given=image["given"])["images"][0]
    assert same == image["reconstruction"]
    other = ask(own, "decode", z=z, given=image["given"] | {"skin_tone": 3.0})["images"][0]
    means = ask(own, "decode", z=z)["images"][0]
    usual = {own["name"]: own["usual"] for own in run["given"]}
    assert (
        len({same, other, means}) == 3
        and means == ask(own, "decode", z=z, given=usual)["images"][0]
    )
    upload = ANSWERS["upload"](own, {"bytes": file_of(np.zeros((16, 16, 3), np.uint8))})
    assert upload["given"] == pytest.approx(usual)
    with pytest.raises(InputError, match=r"^unknown given 'skin_tones' \(did you mean skin_tone"):
        ask(own, "decode", z=z, given={"skin_tones": 1.0})


def test_sites_are_named_with_their_dimensions() -> None:
    run = ask(explorer(two_latents()), "run")
    sites = [{"name": "z1", "start": 0, "stop": 3}, {"name": "z2", "start": 3, "stop": 5}]
    assert run["sites"] == sites and run["dims"][2:4] == ["z1[2]", "z2[0]"]
    found = ask(explorer(two_latents()), "sliders", name="test:0")["sliders"]
    assert {slider["site"] for slider in found} <= {"z1", "z2"}
    assert all(slider["name"].startswith(slider["site"] + "[") for slider in found)


@pytest.mark.slow
def test_a_collapsed_posterior_has_answers_too() -> None:
    vae = small_vae()
    with torch.no_grad():
        for parameter in vae.guide.encoder.parameters():
            parameter.zero_()
    found = all_answers(explorer(vae, 30))
    assert found["run"]["methods"] == ["PCA"] and not found["sliders"]["sliders"]
    assert len(found["sliders"]["idle"]) == 4
    assert found["sliders"]["says"].startswith("0 active of 4 dimensions")


def test_without_reference_images_there_are_no_outlier_scores() -> None:
    own = explorer(small_vae(), 30, small_data(num_train=10, num_val=10, num_test=30))
    found = ask(own, "colour", name="outlier score")
    assert found["done"] == 1 and set(found["values"]) == {None}
    scores = ask(own, "scores", name="test:0")
    assert scores["says"] == ["log p(x) has no rank: 15 reference images: allowed is 20 or more."]
    assert scores["p_value"] is None and scores["log_evidence"] and own.prepare(1.0)


@pytest.mark.slow
def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match="^2 images of test: allowed is 3 or more$"):
        explorer(small_vae(), 2)
    assert len(all_answers(explorer(small_vae(), 5))["map"]["places"]) == 5


def test_a_slider_reaches_the_quantiles_and_its_image() -> None:
    own = explorer(small_vae())
    encoded = own.subject.encoded
    encoded.mean_shift[:] *= 1e3
    encoded.draws[:, :2] *= 1e-3
    found = ask(own, "sliders", name="test:3")["sliders"]
    assert len(found) == 4
    for slider in found:
        draws = encoded.draws[:, slider["dim"]]
        assert slider["quantiles"] == np.quantile(draws, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()
        low, high = np.quantile(draws, (0.01, 0.99))
        assert slider["low"] == min(low, slider["loc"] - 2 * slider["scale"])
        assert slider["high"] == max(high, slider["loc"] + 2 * slider["scale"])


def test_a_direction_contains_the_image_that_it_starts_from() -> None:
    own = explorer(small_vae())
    own.subject.encoded.draws[:] += 50.0  # No draw is near to the image, in any direction.
    found = ask(own, "directions", name="test:3")["directions"]
    for one in found:
        assert one["low"] <= -2 * one["scale"] < 0 < 2 * one["scale"] <= one["high"]


@pytest.mark.slow
def test_a_guide_without_a_density_has_no_rank_and_no_log_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    own = explorer(small_vae())
    own.subject.encoded.rate[:] = own.subject.encoded.log_p[:] = math.nan
    monkeypatch.setattr("pyrovae.inspection.exploring.scoring.weights_of_images", refuse)
    monkeypatch.setattr("pyrovae.posterior.space.LatentSpace.log_prior", refuse)
    found = all_answers(own)
    scores = found["scores"]
    assert scores["rate"] is scores["elbo"] is scores["log_evidence"] is scores["p_value"] is None
    assert scores["says"] == ["log p(x) is unknown: the programs have no density."]
    assert found["path"]["density"] == [None] * 4 and "not known" in found["path"]["says"]
    colour = ask(own, "colour", name="outlier score")
    assert colour["done"] == 1 and set(colour["values"]) == {None}
