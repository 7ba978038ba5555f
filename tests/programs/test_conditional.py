"""The conditional VAE: its densities in closed form, samples at given attributes, and edits."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from pyro import poutine

from pyrovae import (
    ArrayData,
    ConditionalVAE,
    Engine,
    HypersphericalUniform,
    InputError,
    MLPDecoder,
    MLPEncoder,
    Normal,
    RandomStart,
    Recipe,
    StandardNormal,
    Trainer,
    VampPrior,
    VonMisesFisher,
    load,
)
from pyrovae.programs.features import Features
from pyrovae.programs.pair import run_both
from tests.support.commands import refusal, run
from tests.support.programs import conditional_vae
from tests.support.small import small_data, small_vae

CPU = Engine("cpu", "fp32")
NETWORKS = {
    "encoder": partial(MLPEncoder, hidden=[16]),
    "decoder": partial(MLPDecoder, hidden=[16]),
}


def shades(count: int = 400, seed: int = 0) -> ArrayData:
    """Dark images of class 0, grey ones of class 1 and bright ones of class 2."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    grey = 40 + 80 * labels + rng.integers(-20, 20, count)
    images = np.broadcast_to(grey[:, None, None, None], (count, 1, 8, 8)).astype(np.uint8)
    return ArrayData(images, labels=labels)


def test_the_density_of_a_latent_given_attributes_is_a_shifted_normal() -> None:
    programs = conditional_vae(prior_of_attributes=True)
    shift = programs.model.shift
    assert shift is not None
    torch.nn.init.normal_(shift.weight)
    attributes = torch.tensor([[0.3, 0.7], [0.1, 0.2], [0.9, 0.4]])
    trace = poutine.trace(programs.model).get_trace(num_images=3, attributes=attributes)
    loc, log_scale = shift(attributes).chunk(2, -1)
    exact = torch.distributions.Normal(loc, log_scale.exp())
    z = trace.nodes["z"]["value"]
    torch.testing.assert_close(trace.nodes["z"]["fn"].log_prob(z), exact.log_prob(z).sum(-1))


def test_encode_and_decode_are_the_programs() -> None:
    programs, images = conditional_vae(), torch.tensor(small_data().split("test").images[:3])
    x, attributes = programs.observe(images), torch.rand(3, 2)
    guide, model = run_both(programs.model, programs.guide, x, attributes=attributes)
    z = guide.nodes["z"]["value"]
    q, p = programs.encode(images, attributes), programs.decode(z, attributes)
    assert torch.equal(q.log_prob(z), guide.nodes["z"]["fn"].log_prob(z))
    assert torch.equal(p.log_prob(x), model.nodes["x"]["fn"].log_prob(x))
    for wrong in (lambda: programs.encode(images), lambda: programs.decode(z)):
        with pytest.raises(ValueError, match=r"a tensor \(N, 2\) of skin_tone, hair_length$"):
            wrong()
    with pytest.raises(ValueError, match=r"hair_length, got \(3, 1\)$"):
        programs.encode(images, attributes[:, :1])


def test_decoder_and_encoder_get_the_features() -> None:
    programs = conditional_vae()
    x, y = torch.rand(3, 3, 16, 16), torch.rand(3, 2)
    z = torch.randn(3, 4)
    given = poutine.condition(programs.model, data={"z": z})
    node = poutine.trace(given).get_trace(x, attributes=y).nodes["x"]
    decoded = programs.likelihood(programs.model.decoder(torch.cat([z, y], -1)))
    torch.testing.assert_close(node["fn"].log_prob(x), decoded.log_prob(x))
    maps = y[..., None, None].expand(3, 2, 16, 16)
    own = programs.guide.posterior(programs.guide.encoder(torch.cat([x, maps], 1)))
    found = poutine.trace(programs.guide).get_trace(x, attributes=y).nodes["z"]["fn"]
    torch.testing.assert_close(found.mean, own.mean)


def test_labels_are_one_hot_and_numbers_standardised() -> None:
    features = Features(["label", "age"], {"label": 3})
    values = np.array([[0, 10.0], [2, 30.0], [1, 20.0]], np.float32)
    features.learn(values)
    found = features(torch.from_numpy(values))
    assert found[:, :3].tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert found[:, 3].mean() == pytest.approx(0, abs=1e-6)
    assert found[:, 3].std(unbiased=False) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.usefixtures("without_pages")
def test_images_have_the_given_label_and_edits_keep_the_latents(tmp_path: Path) -> None:
    data = shades()
    torch.manual_seed(0)
    parts = {**NETWORKS, "prior": StandardNormal, "likelihood": partial(Normal, 0.3)}
    how = {"attributes": ["label"], "num_classes": {"label": 3}}
    vae = ConditionalVAE.for_images(data, 2, **how, **parts)
    recipe = Recipe(partial(torch.optim.Adam, lr=1e-2), start=RandomStart())
    Trainer(epochs=20, batch_size=40).fit(vae, data, recipe, CPU, run=tmp_path / "run", loggers=())
    labels = torch.arange(3.0).repeat_interleave(20)[:, None]
    greys = 255 * vae.sample(60, labels).mean((1, 2, 3)).reshape(3, 20)
    assert (greys.mean(1) - torch.tensor([40.0, 120.0, 200.0])).abs().max() < 25
    split = data.split("test")
    own, images = torch.from_numpy(split.attributes), torch.tensor(split.images)
    edited = 255 * vae.reconstruct(images, own, (own + 1) % 3).mean((1, 2, 3))
    wanted = 40 + 80 * ((own + 1) % 3)[:, 0]
    assert (edited - wanted).abs().mean() < 20
    again = load(tmp_path / "run")
    torch.manual_seed(1)
    first = vae.sample(3, labels[::20])
    torch.manual_seed(1)
    torch.testing.assert_close(again.sample(3, labels[::20]), first)


@pytest.mark.parametrize("share", [0.02, 1 / 3, 0.5, 0.9])
def test_values_that_no_attribute_of_0_and_1_has_are_far_from_the_data(share: float) -> None:
    vae = conditional_vae()
    name = vae.attributes[0]
    ones = (np.arange(900) < share * 900).astype(np.float32)
    vae.model.features.learn(np.stack([ones] * len(vae.attributes), 1))
    assert [vae.far_from_data(name, value) for value in (0.0, 1.0)] == ["", ""]
    assert all("standard deviations" in vae.far_from_data(name, value) for value in (-1.0, 2.0))


def test_usual_values_are_near_those_of_the_training_images() -> None:
    vae = conditional_vae()
    ones, years = np.arange(9) % 3 == 0, np.linspace(1990.4, 2021.7, 9)
    vae.model.features.learn(np.stack([ones, years], 1).astype(np.float32))
    assert [vae.usual_value(name) for name in vae.attributes] == [0.0, 2010.0]


@pytest.mark.parametrize("value", [-1.0, 0.5, 3.0])
def test_a_given_label_must_be_a_class(value: float) -> None:
    how: dict[str, Any] = {"attributes": ["label", "age"], "num_classes": {"label": 3}}
    vae = ConditionalVAE.for_images(shades(), 2, **how, **NETWORKS)
    with pytest.raises(InputError, match="label .*: allowed are the classes 0 to 2"):
        vae.check_given("label", value)
    vae.check_given("label", 2.0)
    vae.check_given("age", value)


NAMES = {"kind": ("ash", "elm", "oak"), "sex": ("f", "m"), "note": ("x",)}


@pytest.mark.parametrize(
    ("attributes", "num_classes", "message"),
    [
        (
            ["note"],
            {},
            "note is x for all training images, so it gives no information about an image",
        ),
        (["size"], {}, "size is 7 for all training images, .* leave it out of --program.attrib"),
        (["sex"], {"sex": 3}, "--program.num_classes sex=3: sex has 2 classes, f, m$"),
        (["kind"], {"kind": 4}, "kind=4: kind has 3 classes, ash, elm, oak$"),
        (["kind"], {"kind": 2}, "kind: values from 1 to 2, allowed are the classes 0 to 1$"),
        (
            ["kind", "digit", "sex", "grade"],
            {"grade": 8},
            "^kind is a label with 3 classes, digit is a label with 5 classes: set "
            "--program.num_classes '{kind: 3, digit: 5, grade: 8}'$",
        ),
    ],
)
def test_attributes_that_are_no_inputs_are_one_line(
    attributes: list[str], num_classes: dict[str, int], message: str
) -> None:
    rows = np.arange(40)
    columns = {"kind": 1 + rows % 2, "sex": rows % 2, "note": 0 * rows, "size": 0 * rows + 7}
    columns |= {"digit": rows % 5, "grade": rows % 6}
    values = np.stack([columns[name] for name in attributes], 1).astype(np.float32)
    with pytest.raises(InputError, match=message):
        Features(attributes, num_classes).check(values, NAMES)


def test_classes_without_a_training_image_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    features, kinds = Features(["kind"], {"kind": 3}), ["cat", "dog", "owl"]
    features.check(np.array([[0.0], [2.0]]), {"kind": kinds})
    (record,) = caplog.records
    assert record.getMessage() == (
        "kind: no training image is of dog: nothing is learned about this class"
    )
    caplog.clear()
    features.check(np.array([[0.0], [1.0], [2.0]]), {"kind": kinds})
    assert not caplog.records


def test_a_class_of_two_names_is_a_number_or_a_class() -> None:
    values = (np.arange(40)[:, None] % 2).astype(np.float32)
    for classes, size in (({}, 1), ({"sex": 2}, 2)):
        features = Features(["sex"], classes)
        features.check(values, NAMES)
        assert features.size == size


@pytest.mark.slow
@pytest.mark.usefixtures("without_pages")
def test_a_run_resumes_on_attributes_that_are_refused_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"sex": np.array(["f", "m"])[np.arange(100) % 2], "size": np.full(100, 7.0)}
    data = ArrayData(np.zeros((100, 1, 8, 8), np.uint8), attributes=columns)

    def trained(root: Path, epochs: int, resume: bool) -> ConditionalVAE:
        how = {"attributes": ["sex", "size"], "num_classes": {"sex": 3}}
        vae = ConditionalVAE.for_images(data, 2, **how, **NETWORKS)
        recipe, trainer = Recipe(start=RandomStart()), Trainer(epochs=epochs)
        trainer.fit(vae, data, recipe, CPU, run=root, resume=resume, loggers=())
        return vae

    with pytest.raises(InputError, match="sex=3: sex has 2 classes, f, m"):
        trained(tmp_path / "refused", 1, False)
    assert not (tmp_path / "refused").exists()
    with monkeypatch.context() as earlier:
        earlier.setattr(ConditionalVAE, "check_inputs", lambda *_: None)
        trained(tmp_path / "run", 1, False)
    features = trained(tmp_path / "run", 2, True).model.features
    assert features.loc.tolist() == [0, 7] and features.scale.tolist() == [1, 1]


@pytest.mark.slow
def test_the_moments_of_the_training_images_are_saved(tmp_path: Path) -> None:
    data = small_data()
    vae = ConditionalVAE.for_images(data, 2, attributes=["skin_tone"], **NETWORKS)
    Trainer(epochs=1).fit(vae, data, Recipe(start=RandomStart()), CPU, run=tmp_path / "run")
    features = load(tmp_path / "run").model.features
    column = list(data.split("train").attribute_names).index("skin_tone")
    values = data.split("train").attributes[:, column]
    assert features.loc[0] == pytest.approx(float(values.mean()), rel=1e-5)
    assert features.scale[0] == pytest.approx(float(values.std()), rel=1e-5)


def test_priors_that_need_the_guide_get_mean_attributes() -> None:
    prior = partial(VampPrior, num_components=3)
    vae = ConditionalVAE.for_images(small_data(), 2, attributes=["skin_tone"], prior=prior)
    assert vae.sample(4, torch.rand(4, 1)).shape == (4, 3, 16, 16)


def refused(**changes: object) -> str:
    how = {"attributes": ["skin_tone"], **NETWORKS, **changes}
    with pytest.raises(InputError) as error:
        ConditionalVAE.for_images(small_data(), 2, **how)  # type: ignore[arg-type]
    return str(error.value)


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    assert "names no attribute" in refused(attributes=[])
    assert "skin_tone=1: allowed are 2 or more classes" in refused(num_classes={"skin_tone": 1})
    assert "allowed are 2 or more classes of one" in refused(num_classes={"age": 3})
    sphere = {"prior": HypersphericalUniform, "posterior": VonMisesFisher}
    assert "cannot be shifted" in refused(prior_of_attributes=True, **sphere)


def test_a_label_needs_its_number_of_classes() -> None:
    data = shades()
    vae = ConditionalVAE.for_images(data, 2, attributes=["label"], **NETWORKS)
    recipe = Recipe(start=RandomStart())
    with pytest.raises(InputError, match="3 classes: set --program.num_classes '{label: 3}'"):
        Trainer(epochs=1).fit(vae, data, recipe, CPU)
    how = {"attributes": ["label"], "num_classes": {"label": 2}}
    few = ConditionalVAE.for_images(data, 2, **how, **NETWORKS)
    with pytest.raises(InputError, match="label: values from 0 to 2, allowed are the classes 0"):
        Trainer(epochs=1).fit(few, data, recipe, CPU)


def test_an_attribute_that_is_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="--program.attributes: names age twice$"):
        Features(["age", "sex", "age"], {})


def test_missing_attributes_are_refused_before_training() -> None:
    labels = np.tile([0.0, 1.0, np.nan, 1.0], 25)
    data = ArrayData(np.zeros((100, 1, 8, 8), np.uint8), attributes={"smiling": labels})
    vae = ConditionalVAE.for_images(data, 2, attributes=["smiling"], **NETWORKS)
    with pytest.raises(InputError, match="not known for all of 80 images: smiling for "):
        Trainer(epochs=1).fit(vae, data, Recipe(start=RandomStart()), CPU)


@pytest.mark.slow
def test_the_command_line_trains_samples_and_edits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "run", tmp_path / "out.png"
    small = "--data.image_size=16 --data.num_train=64 --data.num_val=16 --data.num_test=16".split()
    nets = "--encoder.channels=[4,8] --decoder.channels=[8,4] --trainer.epochs=1".split()
    program = ["--program", "ConditionalVAE", "--program.attributes", "skin_tone", "hair_tone"]
    assert run("train", [*program, *small, *nets, f"--run_dir={root}"], monkeypatch) == 0
    sample = [str(root), f"--out={out}"]
    pictures = []
    for more in (["--num=8"], ["--num=8", "--given", "skin_tone=0.9", "hair_tone=0.1"]):
        assert run("sample", [*sample, *more], monkeypatch) == 0
        pictures.append(Image.open(out).tobytes())
    assert pictures[0] != pictures[1]
    for walk in (["--interpolate", "test:0", "test:7"], ["--traverse", "0", "1"]):
        images = ["--image", "test:3"] if walk[0] == "--traverse" else []
        for more in ([], ["--given", "skin_tone=0.9"], images):
            assert run("sample", [*sample, *walk, *more], monkeypatch) == 0
            pictures.append(Image.open(out).tobytes())
    assert len({*pictures}) == 7  # Without more images the two interpolations are the same.
    edits = ["--reconstruct", "test:3", "--given", "skin_tone=0.9"]
    capsys.readouterr()
    assert run("sample", [*sample, *edits], monkeypatch) == 0
    assert "note" not in capsys.readouterr().out
    assert run("sample", [*sample, *edits[:-1], "skin_tone=9"], monkeypatch) == 0
    assert "note: skin_tone=9 is 1" in (said := capsys.readouterr().out)
    assert " standard deviations from the mean of the training images, " in said
    for more, said in (
        (["--given", "skintone=1"], "no attribute skintone (did you mean skin_tone?); allowed"),
        (
            ["--given", "skin_tone=dark"],
            "--given skin_tone=dark: allowed is skin_tone and a finite",
        ),
        (["--given", "skin_tone=0", "skin_tone=1"], "--given skin_tone: given twice, 0 and 1"),
        (
            ["--reconstruct", "test:0", str(out)],
            f"{out}: is not among the images of the run; ",
        ),
        (["--reconstruct", str(out)], "attributes: --given skin_tone=VALUE hair_tone=VALUE"),
        (["--given", "skin_tone"], "--given skin_tone: write skin_tone=VALUE"),
        (["--interpolate", "test:0", str(out)], f"{out}: is not among the images of the run; "),
    ):
        capsys.readouterr()
        assert said.split(".*")[0] in refusal("sample", [*sample, *more], monkeypatch, capsys)


def test_attributes_may_be_lists_and_are_checked() -> None:
    sizes: dict[str, Any] = {"attributes": ["label"], "num_classes": {"label": 3}}
    programs = ConditionalVAE.for_images(
        shades(), 2, prior=StandardNormal, likelihood=Normal, **sizes, **NETWORKS
    ).eval()
    images = torch.tensor(shades().split("test").images[:2])
    expected = programs.decode(torch.zeros(2, 2), torch.tensor([[0.0], [2.0]])).mean
    for given in ([[0], [2]], np.array([[0], [2]])):
        assert torch.equal(programs.decode(torch.zeros(2, 2), given).mean, expected)
    frame = pandas.DataFrame({"label": [0, 2]})
    assert torch.equal(programs.decode(torch.zeros(2, 2), frame).mean, expected)
    with pytest.raises(ValueError, match="could not convert string to float"):
        programs.sample(1, [["a"]])
    with pytest.raises(ValueError, match=r"a tensor \(N, 1\) of label, got \(\)$"):
        programs.sample(1, 3.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="^attributes are given, and the programs take none$"):
        small_vae().sample(1, [[0.0]])
    wrong = [[0.0], [3.0]]
    for use in (
        lambda: programs.sample(2, wrong),
        lambda: programs.reconstruct(images, wrong),
        lambda: programs.reconstruct(images, [[0], [1]], edited=wrong),
        lambda: programs.encode(images, wrong),
        lambda: programs.decode(torch.zeros(2, 2), wrong),
    ):
        with pytest.raises(InputError, match="^label 3: allowed are the classes 0 to 2$"):
            use()
