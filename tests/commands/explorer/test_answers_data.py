"""Answers of the explorer about classes, grey images, many channels, and small latent spaces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pyrovae import (
    VAE,
    ArrayData,
    DiagonalNormal,
    HypersphericalUniform,
    MLPDecoder,
    MLPEncoder,
    Normal,
    StandardNormal,
    VonMisesFisher,
)
from pyrovae.commands.explorer.answers import ANSWERS
from pyrovae.commands.explorer.opening import Explorer
from tests.support.explorers import all_answers, ask, explorer, file_of, pixels


def flat_vae(prior: Any, posterior: Any, channels: int = 1) -> VAE:
    """A VAE of images of 8x8 pixels."""
    shape, size = (channels, 8, 8), posterior.latent_dim
    return VAE(
        encoder=MLPEncoder(shape, posterior.num_params, hidden=[8]),
        decoder=MLPDecoder(shape, size, channels, hidden=[8]),
        prior=prior,
        likelihood=Normal(0.2),
        posterior=posterior,
    )


def grey(count: int = 130) -> ArrayData:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (4 * count, 8, 8), dtype=np.uint8)
    return ArrayData(images, val_fraction=0.25, test_fraction=0.25)


@pytest.mark.slow
@pytest.mark.parametrize(
    "vae",
    [
        flat_vae(StandardNormal(1), DiagonalNormal(1)),
        flat_vae(StandardNormal(2), DiagonalNormal(2)),
        flat_vae(HypersphericalUniform(3), VonMisesFisher(3)),
    ],
    ids=["one latent", "two latents", "sphere"],
)
def test_grey_images_without_attributes_and_small_latent_spaces_work(vae: VAE) -> None:
    own = explorer(vae, data=grey())
    found = all_answers(own)
    assert found["decode"]["predicted"] == [{}, {}] and found["attributes"]["attributes"] == []
    assert found["attributes"]["says"] == "the images have no attributes."
    assert found["run"]["methods"] == (["PCA"] if own.size == 1 else own.methods)
    assert pixels(found["image"]["picture"]).shape == (8, 8)
    assert pixels(found["thumbs"]["sprite"]).shape == (20, 40)
    if isinstance(vae.model.prior, HypersphericalUniform):
        for z in (found["ground"]["z"], found["path"]["z"]):
            assert np.linalg.norm(z, axis=1) == pytest.approx(np.ones(len(z)), abs=1e-5)
        moved = ask(own, "decode", z=[[0.0, 0.0, 5.0], [0.0, 0.0, 1.0]])
        assert moved["images"][0] == moved["images"][1]
        assert moved["cover"][0] == moved["cover"][1]
        assert found["path"]["says"] == "The prior has the same density everywhere."


@pytest.mark.parametrize(("show", "shape"), [((), (10 + 9, 30 - 2)), ((2,), (8, 8))])
def test_images_of_many_channels_are_tiles_or_the_chosen_channel(
    show: tuple[int, ...], shape: tuple[int, int]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, 5, 8, 8), dtype=np.uint8)
    data = ArrayData(images, show=show)
    own = explorer(flat_vae(StandardNormal(2), DiagonalNormal(2), 5), data=data)
    found = ask(own, "image", name=own.names[0])
    assert pixels(found["picture"]).shape == pixels(found["reconstruction"]).shape == shape
    if show:
        assert np.array_equal(pixels(found["picture"]), own.subject.split.images[0, 2])
    assert pixels(ask(own, "thumbs", rows=[0, 1, 2], size=16)["sprite"]).shape == (16, 48)
    assert pixels(ask(own, "draws", name=own.names[0])["deviation"]).shape == (8, 8)


def test_classes_and_two_values_are_places_among_their_names() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    names = ("a cat", "a dog", "an owl")
    data = ArrayData(images, np.arange(60) % 3, label_names=names, val_fraction=0.2)
    own = explorer(flat_vae(StandardNormal(2), DiagonalNormal(2)), data=data)
    found = ask(own, "colour", name="label")
    labels = own.subject.split.attributes[:, 0]
    assert found["kind"] == "classes" and found["classes"] == list(names)
    assert found["values"] == labels.tolist()
    image = ask(own, "image", name=own.names[0])
    assert image["attributes"] == {"label": names[int(labels[0])]}
    split = replace(own.subject.split, attributes=labels[:, None] % 2, value_names={})
    own.subject = replace(own.subject, split=split)
    found = ask(own, "colour", name="label")
    assert found["kind"] == "two" and found["classes"] == ["0", "1"]


def test_an_image_does_not_cover_others_of_its_group() -> None:
    """Images in groups of four, of which every second image is encoded."""
    images = np.random.default_rng(0).integers(0, 256, (480, 8, 8), dtype=np.uint8)
    data = ArrayData(images, groups=np.arange(480) // 4, val_fraction=0.25, test_fraction=0.5)
    whole = explorer(flat_vae(StandardNormal(2), DiagonalNormal(2)), data=data)
    rows = np.arange(0, 240, 2)
    split = whole.subject.split.take(rows)
    own = Explorer(replace(whole.subject, split=split), data, rows)
    encoded, kin = own.subject.encoded, own.cover.rows[:2]
    assert np.ptp(np.asarray(split.groups)[kin]) == 0
    del own.cover
    encoded.scale[:] *= 0.01
    encoded.loc[kin] = encoded.loc[kin[0]] + np.array([[0.0], [1e-4]])
    encoded.draws[:] = encoded.loc
    for row in (*rows[kin], rows[kin[0]] + 1):
        name = f"test:{row}"
        z = np.array([ask(own, "image", name=name)["loc"]])
        expected = own.cover.shares(z, kin)[0]
        assert expected < 1
        assert ask(own, "image", name=name)["cover"]["share"] == expected
        assert ask(own, "decode", z=z.tolist(), name=name)["cover"][0]["share"] == expected
    upload = ANSWERS["upload"](own, {"bytes": file_of(split.images[0][0])})
    assert upload["cover"]["share"] == 1  # Of an upload no group is known.
