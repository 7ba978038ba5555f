from __future__ import annotations

import math
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from pyrovae import InputError
from pyrovae.evaluation import (
    FEATURES,
    Inception,
    Pixels,
    RandomConvolutions,
    features_of,
    named_features,
)
from pyrovae.evaluation.features import identity

OWN = """
import torch

class Net(torch.nn.Module):
    def forward(self, images):
        return images.mean((2, 3))

class NeedsSize(Net):
    def __init__(self, size):
        super().__init__()

class Plain:
    def __call__(self, images):
        return images.flatten(1)

class NoCall:
    pass

def brightness(images):
    return images.mean((1, 2, 3))[:, None]

net = Net()
number = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_features.py").write_text(OWN)
    (tmp_path / "broken_features.py").write_text("import no_such_library\n")
    (tmp_path / "package_of_features").mkdir()
    (tmp_path / "package_of_features" / "__init__.py").write_text("")
    (tmp_path / "package_of_features" / "inner.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def test_pixels_are_means_of_blocks() -> None:
    images = torch.rand(2, 3, 32, 64)
    found = Pixels()(images).reshape(2, 3, 16, 16)
    assert found[1, 2, 3, 5].item() == pytest.approx(images[1, 2, 6:8, 20:24].mean().item())
    small = torch.rand(2, 1, 6, 5)
    assert torch.equal(Pixels()(small), small.flatten(1))
    assert Pixels()(torch.rand(2, 1, 6, 40)).shape == (2, 6 * 16)


def test_random_convolutions_are_the_same_everywhere() -> None:
    """The numbers that NumPy's generator gives for the seed 0, wherever it runs."""
    state = torch.get_rng_state()
    net = RandomConvolutions()
    assert torch.equal(torch.get_rng_state(), state)
    first_numbers = np.array([1.76405235, 0.40015721, 0.97873798]) * math.sqrt(2 / 27)
    assert net.weights[0].flatten()[:3].tolist() == pytest.approx(first_numbers, 1e-6)
    images = torch.linspace(0, 1, 2 * 3 * 20 * 24).reshape(2, 3, 20, 24)
    first, second = RandomConvolutions()(images), RandomConvolutions(0)(images)
    assert torch.equal(first, second)
    assert not torch.allclose(RandomConvolutions(1)(images), first)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    # Neither dying nor exploding: as large as what goes in.
    assert 0.05 < first.square().mean().sqrt() < 5


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 6, 5), (3, 100, 40)])
def test_random_convolutions_take_images_of_any_size(shape: tuple[int, ...]) -> None:
    found = RandomConvolutions()(torch.rand(3, *shape))
    assert found.shape == (3, 1024) and (found.std(0) > 0).float().mean() > 0.9


def test_a_grey_image_is_seen_as_a_coloured_one() -> None:
    grey = torch.rand(2, 1, 16, 16)
    assert torch.equal(RandomConvolutions()(grey), RandomConvolutions()(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize("channels", [2, 4, 5, 7])
def test_every_channel_counts(channels: int) -> None:
    images = torch.rand(1, channels, 16, 16)
    found = RandomConvolutions()(images)
    assert found.shape == (1, 1024)
    for channel in range(channels):
        other = images.clone()
        other[:, channel] = 1 - other[:, channel]
        assert not torch.allclose(RandomConvolutions()(other), found)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_one_clear_line(seed: int) -> None:
    with pytest.raises(InputError, match=rf"^seed {seed}: allowed is 0 to 2\*\*32 - 1$"):
        RandomConvolutions(seed)


@pytest.fixture
def downloaded(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Random weights, in the place of those that are downloaded."""
    network = torchvision.models.inception_v3(weights=None, init_weights=False)
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: network.state_dict()
    )
    return network.eval()


@pytest.mark.slow
@torch.no_grad()
def test_inception_gives_what_its_last_layer_is_given(downloaded: nn.Module) -> None:
    seen: list[Tensor] = []
    downloaded.fc.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    downloaded.transform_input = True
    images = torch.rand(2, 3, 299, 299)
    normalise = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    downloaded(normalise(images))
    state = torch.get_rng_state()
    inception = Inception()
    assert torch.equal(torch.get_rng_state(), state)
    found = inception(images)
    assert found.shape == (2, 2048)
    assert torch.allclose(found, seen[0], rtol=1e-4, atol=1e-5)
    assert inception(torch.rand(1, 1, 28, 28)).shape == (1, 2048)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), RuntimeError("invalid hash value\n(expected)")]
)
def test_a_failed_download_is_one_clear_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(InputError, match="cannot be downloaded .*; Pixels and RandomC") as found:
        named_features("Inception")
    assert "\n" not in str(found.value) and "https://" in str(found.value)


@pytest.mark.parametrize("name", [name for name in FEATURES if name != "Inception"])
def test_the_features_of_the_package_go_by_name(name: str) -> None:
    assert type(named_features(name)) is FEATURES[name]


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize("module", ["own_features", "package_of_features.inner"])
@pytest.mark.parametrize(
    ("name", "width"), [("Net", 3), ("net", 3), ("Plain", 48), ("brightness", 1)]
)
def test_own_features_go_by_dotted_path(module: str, name: str, width: int) -> None:
    found = named_features(f"{module}.{name}")
    assert features_of(found, torch.rand(5, 3, 4, 4), batch_size=2).shape == (5, width)


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Pixel", "no such features"),
        ("", "no such features"),
        ("my/net.py", "no such features"),
        ("no_such_module.Net", "no module 'no_such_module'"),
        ("no_such_module.inner.Net", "no module 'no_such_module'"),
        ("own_features.Ney", "'own_features' has no 'Ney'"),
        ("own_features.Net.inner", "'own_features' has no 'Net.inner'"),
        ("package_of_features.outer.Net", "'package_of_features' has no 'outer.Net'"),
        ("broken_features.Net", "'broken_features' cannot be imported .*no_such_library"),
        ("own_features.NeedsSize", "cannot be made without arguments .*size"),
        ("own_features.NoCall", "cannot be called on images"),
        ("own_features.number", "cannot be called on images"),
    ],
)
def test_features_that_are_not_there_are_one_clear_line(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"^features '{name}': {reason}.*; known are ") as found:
        named_features(name)
    assert "\n" not in str(found.value)
    assert str(found.value).endswith("name your own by its dotted path, such as my_module.MyNet")


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_batches_make_no_difference(batch_size: int) -> None:
    images = torch.rand(7, 3, 16, 16)
    found = features_of(RandomConvolutions(), images, batch_size=batch_size)
    assert found.dtype == np.float64 and found.shape == (7, 1024)
    assert np.allclose(found, RandomConvolutions()(images).numpy(), atol=1e-5)


def test_8_bit_images_are_floats_over_255() -> None:
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    expected = (images.flatten(1) / 255).double().numpy()
    array = images.numpy()
    array.flags.writeable = False  # as a memory map
    for given in (images, array, images / 255):
        assert np.array_equal(features_of(Pixels(), given), expected)


def test_a_module_is_in_evaluation_mode_for_the_call_only() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(48)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images = torch.rand(4, 3, 4, 4)
    assert np.array_equal(features_of(net, images), features_of(net, images))
    assert net.training and net[1].training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (lambda x: x.mean((1, 2, 3)), r"features of 4 images must be \(B, F\), got shape \(4,\)"),
        (lambda x: x[:2], r"features of 4 images must be \(B, F\), got shape \(2, 3, 4, 4\)"),
        (lambda x: [x], r"features of 4 images must be \(B, F\), got list"),
        (lambda x: x / 0, "features of function: some are not finite numbers"),
    ],
)
def test_what_are_no_features_is_one_clear_line(module: Callable[..., Any], line: str) -> None:
    with pytest.raises(InputError, match=f"^{line}$"):
        features_of(module, torch.rand(4, 3, 4, 4))


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (3, 4, 4)])
def test_no_images_are_one_clear_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"allowed is \(N, C, H, W\), N > 0$"):
        features_of(Pixels(), torch.rand(shape))


class Drawn(nn.Linear):
    """Features whose weights are drawn where they are made."""

    def __init__(self) -> None:
        super().__init__(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mean((2, 3)))


def test_weights_that_are_drawn_are_the_same_every_time() -> None:
    images = np.zeros((2, 3, 4, 4), np.uint8)
    torch.manual_seed(0)
    first = identity(f"{__name__}.Drawn", images)
    before = torch.get_rng_state()
    assert identity(f"{__name__}.Drawn", images) == first
    assert torch.equal(torch.get_rng_state(), before)


def test_features_of_one_name_are_told_apart_by_what_they_make_of_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.full((2, 3, 4, 4), 9, np.uint8)
    first = identity(f"{__name__}.twice", images)
    monkeypatch.setattr(f"{__name__}.FACTOR", 3.0)
    assert identity(f"{__name__}.twice", images) != first


FACTOR = 2.0


def twice(images: Tensor) -> Tensor:
    return FACTOR * images.flatten(1)


def test_a_module_that_ends_the_interpreter_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ending.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="'ending' cannot be imported"):
        named_features("ending.Net")
