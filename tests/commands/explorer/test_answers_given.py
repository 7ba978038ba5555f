"""Answers of the explorer about programs that take attributes of the images."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from pyrovae import (
    ArrayData,
    Bernoulli,
    ConditionalVAE,
    InputError,
    MLPDecoder,
    MLPEncoder,
    StandardNormal,
    ThresholdBinarization,
)
from pyrovae.commands.explorer.answers import ANSWERS
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.evaluation.evidence import log_evidence
from tests.support.explorers import ask, explorer, file_of, up_to_rounding

#: Questions about one image, and what of their answers depends on its attributes.
ABOUT = {
    "image": ["loc", "scale", "place", "given"],
    "draws": ["largest"],
    "scores": ["rate"],
    "sliders": ["sliders"],
    "directions": ["directions"],
}


def labelled(names: Any = None, num_classes: int = 4) -> Explorer:
    """Images of 8x8 pixels with a class, most often 3, a number, and one of two values."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (240, 8, 8), dtype=np.uint8)
    kinds = np.resize([0, 3, 1, 3, 2], 240) % num_classes
    ages, glasses = random.normal(30, 5, 240), np.resize([-1, 1, 1], 240)
    attributes = {"kind": kinds, "age": ages, "glasses": glasses}
    if names:
        attributes["kind"] = np.array(names)[kinds]
    data = ArrayData(images, attributes=attributes, val_fraction=0.25, test_fraction=0.5)
    torch.manual_seed(0)
    vae = ConditionalVAE.for_images(
        data,
        3,
        attributes=["kind", "age", "glasses"],
        num_classes={"kind": num_classes} if num_classes > 2 else {},
        prior=StandardNormal,
        likelihood=Bernoulli(ThresholdBinarization()),
        encoder=MLPEncoder,
        decoder=MLPDecoder,
    )
    vae.learn_inputs(data.split("train"))
    return explorer(vae, data=data)


def upload(own: Explorer, row: int) -> dict[str, Any]:
    pixels = own.subject.split.images[row][0]
    return ANSWERS["upload"](own, {"bytes": file_of(pixels)})


def test_an_unknown_class_is_the_most_frequent_one_and_a_number_the_mean() -> None:
    own = labelled()
    found, values = upload(own, 3), own.subject.split.attributes
    assert found["unknown"] == ["kind", "age", "glasses"]
    assert found["given"] == {"kind": 3.0, "age": pytest.approx(values[:, 1].mean()), "glasses": 1}
    assert ask(own, "image", name=own.names[3])["unknown"] == []
    run = {one["name"]: one for one in ask(own, "run")["given"]}
    assert {name: one["usual"] for name, one in run.items()} == found["given"]
    assert [one["kind"] for one in run.values()] == ["classes", "number", "two"]
    assert run["kind"]["classes"] == ["0", "1", "2", "3"]


def test_classes_have_their_names() -> None:
    for names in (["ape", "bat", "cat", "dog"], ["ape", "bat"]):
        run = ask(labelled(names, len(names)), "run")["given"]
        assert run[0]["kind"] == "classes" and run[0]["classes"] == names


def test_an_upload_with_its_attributes_is_the_same_as_the_image() -> None:
    own = labelled()
    name, known = own.names[4], ask(own, "image", name=own.names[4])
    new = upload(own, 4)["name"]
    own.subject.encoded.mean_shift[:] *= 1000  # All units are active.
    for question, keys in ABOUT.items():
        assumed, same = (
            ask(own, question, name=new, **k) for k in ({}, {"given": known["given"]})
        )
        expected = ask(own, question, name=name)
        wanted = {key: up_to_rounding(expected[key], 1e-3) for key in keys}
        assert all(wanted[key] == same[key] for key in keys), question
        assert not any(wanted[key] == assumed[key] for key in keys), question
    # What is known of an image is not changed by what is given.
    others = known["given"] | {"kind": 0.0}
    assert ask(own, "image", name=name, given=others)["loc"] == known["loc"]


def test_an_image_of_the_data_set_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own, asked = labelled(), Counter[str]()
    find = own.data.named

    def named(name: str) -> Any:
        asked[name] += 1
        return find(name)

    monkeypatch.setattr(own.data, "named", named)
    for kind in (0.0, 1.0):
        ask(own, "decode", z=[[0.0, 0.0, kind]], name="train:3", given={"kind": kind})
    assert asked == {"train:3": 1}


def test_an_upload_is_scored_with_the_class_that_is_given() -> None:
    own = labelled()
    name, split = upload(own, 4)["name"], own.subject.split.take([4])
    given = dict(zip(own.usual, split.attributes[0].tolist(), strict=True))
    found = ask(own, "scores", name=name, given=given)
    terms = log_evidence(own.subject.programs, split, 50, engine=own.subject.engine)
    assert found["log_evidence"] == pytest.approx(terms.log_evidence[0])


@pytest.mark.parametrize("question", ["image", "draws", "scores", "sliders", "decode", "path"])
@pytest.mark.parametrize("value", [3.5, 55, -1])
def test_what_is_no_class_is_refused(question: str, value: float) -> None:
    own = labelled()
    z = [0.0, 0.0, 0.0]
    given = {"name": upload(own, 0)["name"], "z": [z], "first": z, "second": z, "kind": "straight"}
    with pytest.raises(InputError, match=f"^kind {value:g}: allowed are the classes 0 to 3$"):
        ask(own, question, **given, given={"kind": value})
