from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pyrovae.networks import (
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    ImageShape,
    MLPDecoder,
    MLPEncoder,
)
from tests.tables import DECODERS, ENCODERS, IMAGE_SHAPE, shake

SIZES = [(28, 28), (64, 64), (20, 33)]
SHAPES = [(channels, *size) for channels, size in itertools.product([1, 3], SIZES)]

every_encoder = pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS.keys())
every_decoder = pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS.keys())
MakeEncoder = Callable[[ImageShape, int], Encoder]
MakeDecoder = Callable[[ImageShape, int, int], Decoder]


def all_networks() -> dict[str, tuple[nn.Module, Tensor]]:
    """Every network, with a batch of inputs."""
    images, latents = torch.randn(4, *IMAGE_SHAPE), torch.randn(4, 3)
    encoders = {name: (make(IMAGE_SHAPE, 5), images) for name, make in ENCODERS.items()}
    decoders = {name: (make(IMAGE_SHAPE, 3, 2), latents) for name, make in DECODERS.items()}
    return {**encoders, **decoders}


every_network = pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])


@every_encoder
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_encoders_take_any_size(make: MakeEncoder, shape: ImageShape) -> None:
    assert make(shape, 7)(torch.rand(2, *shape)).shape == (2, 7)


@every_decoder
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decoders_give_any_size(make: MakeDecoder, shape: ImageShape) -> None:
    for num_maps in (1, 6):
        assert make(shape, 3, num_maps)(torch.randn(2, 3)).shape == (2, num_maps, *shape[1:])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (3, 20, 33), (1, 1, 2)], ids=str)
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_lists_of_any_length(shape: ImageShape, depth: int) -> None:
    widths = list(range(2, 2 + depth))
    x, z = torch.rand(3, *shape), torch.randn(3, 4)
    assert MLPEncoder(shape, 7, widths)(x).shape == (3, 7)
    assert MLPDecoder(shape, 4, 2, widths)(z).shape == (3, 2, *shape[1:])
    if max(shape[1:]) <= 2 ** (depth - 1):
        pytest.skip("such a small image cannot be halved that often")
    assert ConvEncoder(shape, 7, widths)(x).shape == (3, 7)
    assert ConvDecoder(shape, 4, 2, widths)(z).shape == (3, 2, *shape[1:])


@pytest.mark.parametrize("size", [(1, 2), (2, 3), (3, 8), (5, 1), (6, 9), (7, 7)], ids=str)
def test_small_and_odd_sizes_come_back(size: tuple[int, int]) -> None:
    shape = (1, *size)
    for depth in range(1, 5):
        if max(size) > 2 ** (depth - 1):
            assert ConvEncoder(shape, 2, [2] * depth)(torch.rand(2, *shape)).shape == (2, 2)
            assert ConvDecoder(shape, 2, 1, [2] * depth)(torch.rand(2, 2)).shape == (2, *shape)


def test_the_widths_are_the_layers() -> None:
    encoder = ConvEncoder((3, 16, 16), 7, [4, 5])
    assert [m.out_channels for m in encoder.modules() if isinstance(m, nn.Conv2d)] == [4, 5]
    decoder = ConvDecoder((3, 16, 16), 2, 6, [5, 4])
    convolutions = [m for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.in_channels for m in convolutions] == [5, 4]
    for network in (MLPEncoder((1, 4, 4), 7, [11, 13]), MLPDecoder((1, 4, 4), 2, 1, [11, 13])):
        linear = [m.out_features for m in network.modules() if isinstance(m, nn.Linear)]
        assert linear[:-1] == [11, 13]


@pytest.mark.parametrize("kind", [MLPEncoder, MLPDecoder])
def test_the_activation_is_used(kind: type) -> None:
    sizes = (2,) if kind is MLPEncoder else (2, 1)
    network = kind((1, 4, 4), *sizes, hidden=[5, 5], activation=nn.Tanh)
    assert sum(isinstance(m, nn.Tanh) for m in network.modules()) == 2
    assert not any(isinstance(m, nn.ReLU) for m in network.modules())


@pytest.mark.parametrize("kind", [ConvEncoder, MLPEncoder, ConvDecoder, MLPDecoder])
def test_the_callers_list_is_not_changed(kind: type) -> None:
    widths = [8, 4, 6]
    sizes = (2,) if kind in (ConvEncoder, MLPEncoder) else (2, 1)
    kind((1, 16, 16), *sizes, widths)
    assert widths == [8, 4, 6]
    kind((1, 16, 16), *sizes, tuple(widths))


@pytest.mark.parametrize("kind", [ConvEncoder, MLPEncoder, ConvDecoder, MLPDecoder])
@pytest.mark.parametrize("widths", [[], [0], [4, -1]], ids=str)
def test_impossible_widths_are_refused(kind: type, widths: list[int]) -> None:
    sizes = (2,) if kind in (ConvEncoder, MLPEncoder) else (2, 1)
    with pytest.raises(ValueError) as caught:
        kind((1, 16, 16), *sizes, widths)
    assert f"positive numbers, got {widths}" in str(caught.value)


@pytest.mark.parametrize("kind", [ConvEncoder, ConvDecoder])
@pytest.mark.parametrize(
    ("size", "times"), [((28, 28), 5), ((20, 33), 6), ((64, 64), 6), ((1, 1), 0)], ids=str
)
def test_too_many_halvings_are_refused(kind: type, size: tuple[int, int], times: int) -> None:
    sizes = (2,) if kind is ConvEncoder else (2, 1)
    with pytest.raises(ValueError) as caught:
        kind((1, *size), *sizes, [2] * (times + 1))
    assert f"{size[0]}x{size[1]} can be halved {times} times" in str(caught.value)
    assert f"asks for {times + 1}" in str(caught.value)


@every_network
def test_leading_dimensions_equal_a_loop(name: str) -> None:
    network, inputs = all_networks()[name]
    network.double().eval()
    many = torch.randn(2, 3, *inputs.shape, dtype=torch.float64)
    found = network(many)
    for i, j in itertools.product(range(2), range(3)):
        assert torch.allclose(found[i, j], network(many[i, j]), rtol=1e-9, atol=1e-12)
    assert torch.allclose(found[0, 0, 0], network(many[0, 0, 0]), rtol=1e-9, atol=1e-12)


@every_network
def test_in_evaluation_an_image_does_not_see_its_batch(name: str) -> None:
    network, inputs = all_networks()[name]
    network(inputs)  # moves running statistics away from their start
    network.double().eval()
    inputs = inputs.double()
    other = torch.cat([inputs[:1], 100 + torch.randn_like(inputs)])
    assert torch.allclose(network(inputs)[0], network(other)[0], rtol=1e-9, atol=1e-12)


@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_parameter_gets_a_gradient(name: str, dtype: torch.dtype) -> None:
    network, inputs = all_networks()[name]
    output = network.to(dtype)(inputs.to(dtype))
    assert output.dtype == dtype
    output.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0


@every_network
def test_state_goes_to_another_instance(name: str) -> None:
    network, inputs = all_networks()[name]
    shake(network)
    network(inputs)
    other, _ = all_networks()[name]
    other.load_state_dict(network.state_dict())
    assert torch.equal(network.eval()(inputs), other.eval()(inputs))


@pytest.mark.parametrize("kind", ["ConvEncoder", "ConvDecoder"])
def test_a_shortcut_starts_as_nothing_and_then_counts(kind: str) -> None:
    (plain, inputs), (short, _) = all_networks()[kind], all_networks()[f"{kind}-shortcut"]
    short.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(short(inputs), plain(inputs))
    shake(short.shortcut)
    assert not torch.allclose(short(inputs), plain(inputs))


@pytest.mark.parametrize("kind", ["ConvEncoder-shortcut", "ConvDecoder-shortcut"])
def test_a_shortcut_is_linear(kind: str) -> None:
    network, inputs = all_networks()[kind]
    shake(network.shortcut)
    flat = inputs.flatten(1).double()
    shortcut = network.shortcut.double()
    centre = shortcut(torch.zeros_like(flat))
    mixed = shortcut(3 * flat[:2] - 2 * flat[2:]) - centre[:2]
    expected = 3 * (shortcut(flat[:2]) - centre[:2]) - 2 * (shortcut(flat[2:]) - centre[2:])
    assert torch.allclose(mixed, expected)
