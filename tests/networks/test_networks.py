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
    GatedConvDecoder,
    GatedConvEncoder,
    GatedMLPDecoder,
    GatedMLPEncoder,
    ImageShape,
    MLPDecoder,
    MLPEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from pyrovae.utils.errors import InputError
from tests.support.tables import DECODERS, ENCODERS, IMAGE_SHAPE, shake

SIZES = [(28, 28), (32, 32), (64, 64), (128, 128), (20, 33)]
SHAPES = [(channels, *size) for channels, size in itertools.product([1, 3], SIZES)]

DENSE = [MLPEncoder, MLPDecoder, GatedMLPEncoder, GatedMLPDecoder]
HALVING = [
    ConvEncoder,
    ConvDecoder,
    GatedConvEncoder,
    GatedConvDecoder,
    ResidualEncoder,
    ResidualDecoder,
]

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


NAMES = [*ENCODERS, *DECODERS]
SHORTCUTS = [name.removesuffix("-shortcut") for name in NAMES if name.endswith("-shortcut")]
every_network = pytest.mark.parametrize("name", NAMES)
every_shortcut = pytest.mark.parametrize("name", SHORTCUTS)


def check_shapes(kind: type, shape: ImageShape, widths: list[int]) -> None:
    """A network of those widths takes images, or gives maps, of that shape."""
    network = with_widths(kind, shape, widths)
    if issubclass(kind, Encoder):
        assert network(torch.rand(3, *shape)).shape == (3, 2)
    else:
        assert network(torch.randn(3, 2)).shape == (3, 1, *shape[1:])


def with_widths(kind: type, shape: ImageShape, widths: list[int] | tuple[int, ...]) -> nn.Module:
    """A network, each of whose layers halves the size if any does."""
    numbers = (2,) if issubclass(kind, Encoder) else (2, 1)
    gated = kind in (GatedConvEncoder, GatedConvDecoder)
    return kind(shape, *numbers, widths, **({"strides": [2] * len(widths)} if gated else {}))


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
    for kind in DENSE:
        check_shapes(kind, shape, widths)
    if max(shape[1:]) <= 2 ** (depth - 1):
        pytest.skip("such a small image cannot be halved that often")
    for kind in HALVING:
        check_shapes(kind, shape, widths)


@pytest.mark.parametrize("kind", HALVING)
@pytest.mark.parametrize("size", [(1, 2), (2, 3), (3, 8), (5, 1), (6, 9), (7, 7)], ids=str)
def test_small_and_odd_sizes_come_back(kind: type, size: tuple[int, int]) -> None:
    for depth in range(1, 5):
        if max(size) > 2 ** (depth - 1):
            check_shapes(kind, (1, *size), [2] * depth)


def test_the_widths_are_the_layers() -> None:
    encoder = ConvEncoder((3, 16, 16), 7, [4, 5])
    assert [m.out_channels for m in encoder.modules() if isinstance(m, nn.Conv2d)] == [4, 5]
    decoder = ConvDecoder((3, 16, 16), 2, 6, [5, 4])
    convolutions = [m for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.in_channels for m in convolutions] == [5, 4]
    for kind in DENSE:
        network = with_widths(kind, (1, 4, 4), [11, 13])
        linear = [m.in_features for m in network.modules() if isinstance(m, nn.Linear)]
        assert linear[1:] == [11, 13]


@pytest.mark.parametrize("kind", [MLPEncoder, MLPDecoder])
def test_the_activation_is_used(kind: type) -> None:
    sizes = (2,) if kind is MLPEncoder else (2, 1)
    network = kind((1, 4, 4), *sizes, hidden=[5, 5], activation=nn.Tanh)
    assert sum(isinstance(m, nn.Tanh) for m in network.modules()) == 2
    assert not any(isinstance(m, nn.ReLU) for m in network.modules())


@pytest.mark.parametrize("kind", DENSE + HALVING)
def test_the_callers_list_is_not_changed(kind: type) -> None:
    widths = [8, 4, 6]
    with_widths(kind, (1, 16, 16), widths)
    assert widths == [8, 4, 6]
    with_widths(kind, (1, 16, 16), tuple(widths))


@pytest.mark.parametrize("kind", DENSE + HALVING)
@pytest.mark.parametrize("widths", [[], [0], [4, -1]], ids=str)
def test_impossible_widths_are_refused(kind: type, widths: list[int]) -> None:
    with pytest.raises(ValueError) as caught:
        with_widths(kind, (1, 16, 16), widths)
    assert f"positive numbers, got {widths}" in str(caught.value)


@pytest.mark.parametrize("kind", HALVING)
@pytest.mark.parametrize(
    ("size", "times"), [((28, 28), 5), ((20, 33), 6), ((64, 64), 6), ((1, 1), 0)], ids=str
)
def test_too_many_halvings_are_refused(kind: type, size: tuple[int, int], times: int) -> None:
    with pytest.raises(ValueError) as caught:
        with_widths(kind, (1, *size), [2] * (times + 1))
    assert f"{size[0]}x{size[1]} can be halved {times} times" in str(caught.value)
    asking = "strides" if kind in (GatedConvEncoder, GatedConvDecoder) else "channels"
    assert f"{asking} asks for {times + 1}" in str(caught.value)


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


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("Conv")])
def test_training_and_evaluation_compute_the_same(name: str) -> None:
    network, inputs = all_networks()[name]
    shake(network)
    assert torch.equal(network.train()(inputs), network.eval()(inputs))
    assert {name for name, _ in network.named_buffers()} <= {"gain"}


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
def test_bf16_and_channels_last_are_only_less_precise(name: str) -> None:
    network, inputs = all_networks()[name]
    shake(network)
    expected = network.eval()(inputs)
    network.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(inputs).float()
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


@every_network
def test_state_goes_to_another_instance(name: str) -> None:
    network, inputs = all_networks()[name]
    shake(network)
    network(inputs)
    other, _ = all_networks()[name]
    other.load_state_dict(network.state_dict())
    assert torch.equal(network.eval()(inputs), other.eval()(inputs))


def test_checkpoints_of_earlier_versions_fit() -> None:
    network = ConvEncoder((1, 4, 4), 2, [3], shortcut=True)
    norm = [f"layers.1.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    shake(network)
    state = network.state_dict()
    assert list(state) == [
        *["gain", "layers.0.weight", *norm, "layers.1.num_batches_tracked"],
        *["layers.4.weight", "layers.4.bias", "shortcut.weight", "shortcut.bias"],
    ]
    del state["gain"]  # Version 0.2 had none.
    images, other = torch.randn(3, 1, 4, 4), ConvEncoder((1, 4, 4), 2, [3], shortcut=True)
    other.load_state_dict(state)
    assert "gain" not in state and torch.equal(other.gain, torch.ones(()))
    linear = other.eval().shortcut(images.flatten(1))
    assert torch.allclose(other(images), other.layers(images) + linear)


@every_shortcut
def test_a_shortcut_starts_as_nothing_and_then_counts(name: str) -> None:
    (plain, inputs), (short, _) = all_networks()[name], all_networks()[f"{name}-shortcut"]
    short.load_state_dict(plain.state_dict() | {"gain": torch.ones(())}, strict=False)
    assert torch.equal(short(inputs), plain(inputs))
    shake(short.shortcut)
    assert not torch.allclose(short(inputs), plain(inputs))


@every_shortcut
def test_a_shortcut_is_linear(name: str) -> None:
    network, inputs = all_networks()[f"{name}-shortcut"]
    shake(network.shortcut)
    flat = inputs.flatten(1).double()
    shortcut = network.shortcut.double()
    centre = shortcut(torch.zeros_like(flat))
    mixed = shortcut(3 * flat[:2] - 2 * flat[2:]) - centre[:2]
    expected = 3 * (shortcut(flat[:2]) - centre[:2]) - 2 * (shortcut(flat[2:]) - centre[2:])
    assert torch.allclose(mixed, expected)


@every_shortcut
def test_a_network_with_a_shortcut_can_become_any_linear_map(name: str) -> None:
    network, inputs = all_networks()[f"{name}-shortcut"]
    shake(network)
    inputs, outputs = inputs.double(), network.double()(inputs.double())
    weight = torch.randn(outputs[0].numel(), inputs[0].numel(), dtype=torch.float64)
    bias = torch.randn(outputs[0].numel(), dtype=torch.float64)
    network.start_linear(weight, bias)
    assert torch.allclose(network(inputs).flatten(1), inputs.flatten(1) @ weight.T + bias)


@every_shortcut
def test_random_weights_give_the_function_of_layers_without_a_gain(name: str) -> None:
    makers = ENCODERS | DECODERS
    sizes = (5,) if name in ENCODERS else (3, 2)
    networks = []
    for own in (name, f"{name}-shortcut"):
        torch.manual_seed(0)
        networks.append(makers[own](IMAGE_SHAPE, *sizes))
    inputs = all_networks()[name][1]
    assert networks[1].gain != 1
    assert torch.allclose(networks[0](inputs), networks[1](inputs), atol=1e-6)


def test_the_first_step_stays_near_the_linear_start_at_any_size() -> None:
    moved = []
    for side in (8, 32):
        encoder = ConvEncoder((1, side, side), 1, [4], shortcut=True).eval()
        encoder.start_linear(torch.zeros(1, side**2), torch.zeros(1))
        images = torch.rand(16, 1, side, side)
        optimizer = torch.optim.Adam(encoder.layers[-1].parameters(), lr=1e-3)
        encoder(images).sum().backward()
        optimizer.step()
        moved.append(encoder(images).abs().mean().item())
    # 16 times as many inputs; without the gain the ratio is about 16.
    assert 0 < moved[1] < 6 * moved[0]


@every_shortcut
def test_a_network_without_a_shortcut_says_so(name: str) -> None:
    network, _ = all_networks()[name]
    with pytest.raises(InputError, match="shortcut true"):
        network.start_linear(torch.zeros(1), torch.zeros(1))


def blocks_of(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.layers if hasattr(layer, "branch")]


@pytest.mark.parametrize("kind", [ResidualEncoder, ResidualDecoder])
def test_residual_blocks_start_close_to_the_identity(kind: type) -> None:
    for block in blocks_of(with_widths(kind, (3, 32, 32), [16, 32, 64])):
        width = block.branch[-1].out_channels
        x = torch.randn(4, width, 8, 8)
        assert 0 < (block(x) - x).norm() < 0.02 * x.norm()
        shake(block)
        assert (block(x) - x).norm() > 0.1 * x.norm()
        assert torch.equal(block(x), x + block.branch(x))


@pytest.mark.parametrize("count", [1, 3])
def test_blocks_are_counted_at_each_size(count: int) -> None:
    encoder = ResidualEncoder((3, 16, 16), 2, [4, 6], blocks=count)
    assert [b.branch[-1].out_channels for b in blocks_of(encoder)] == [4] * count + [6] * count
    decoder = ResidualDecoder((3, 16, 16), 2, 1, [6, 4], blocks=count)
    assert [b.branch[-1].out_channels for b in blocks_of(decoder)] == [6] * count + [4] * count
    for kind, sizes in ((ResidualEncoder, (2,)), (ResidualDecoder, (2, 1))):
        with pytest.raises(ValueError, match="blocks must be at least 1, got 0"):
            kind((3, 16, 16), *sizes, [4, 6], blocks=0)


@pytest.mark.parametrize(
    ("width", "groups"),
    [(1, 1), (4, 1), (8, 1), (15, 1), (16, 2), (17, 1), (20, 2), (24, 3), (64, 8), (320, 32)],
)
def test_groups_divide_any_width(width: int, groups: int) -> None:
    network = ResidualEncoder((1, 8, 8), 2, [width])
    norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
    assert {m.num_groups for m in norms} == {groups} and len(norms) == 3
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 2)


def gate(layer: nn.Module, x: Tensor, dim: int) -> Tensor:
    """h(x) sigmoid(g(x)), where one layer computes both."""
    h, g = layer(x).chunk(2, dim)
    return h / (1 + (-g).exp())


@pytest.mark.parametrize("kind", [GatedMLPEncoder, GatedMLPDecoder])
def test_gated_dense_layers_follow_the_formula(kind: type) -> None:
    network = with_widths(kind, (1, 4, 5), [5, 7])
    inputs = torch.randn(3, 1, 4, 5) if kind is GatedMLPEncoder else torch.randn(3, 2)
    first, second, last = (m for m in network.modules() if isinstance(m, nn.Linear))
    expected = last(gate(second, gate(first, inputs.flatten(1), 1), 1))
    assert torch.allclose(network(inputs).flatten(1), expected, atol=1e-6)


def test_gated_convolutions_follow_the_formula() -> None:
    x, z = torch.randn(3, 1, 5, 6), torch.randn(3, 2)
    encoder = GatedConvEncoder((1, 5, 6), 2, [4, 3], [1, 2], 3)
    first, second, last = (m for m in encoder.layers if isinstance(m, (nn.Conv2d, nn.Linear)))
    expected = last(gate(second, gate(first, x, 1), 1).flatten(1))
    assert torch.allclose(encoder(x), expected, atol=1e-6)
    decoder = GatedConvDecoder((1, 5, 6), 2, 1, [4, 3], [2, 1], 3)
    dense, first, second, last = (m for m in decoder.layers if hasattr(m, "weight"))
    h = gate(dense, z, 1).unflatten(1, (4, 3, 3))
    expected = last(gate(second, gate(first, h, 1), 1))
    assert torch.allclose(decoder(z), expected, atol=1e-6)


def outputs_of_gates(network: nn.Module, inputs: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.GLU):
            module.register_forward_hook(lambda module, args, output: found.append(output))
    network(inputs)
    return found


def test_strides_are_where_they_are_asked_for() -> None:
    shape = (1, 20, 33)
    encoder = GatedConvEncoder(shape, 2, [2, 3, 4, 5], [2, 1, 1, 2], 5)
    sizes = [h.shape[1:] for h in outputs_of_gates(encoder, torch.rand(2, *shape))]
    assert sizes == [(2, 10, 17), (3, 10, 17), (4, 10, 17), (5, 5, 9)]
    decoder = GatedConvDecoder(shape, 2, 1, [5, 4, 3, 2], [1, 2, 1, 2], 5)
    sizes = [h.shape[1:] for h in outputs_of_gates(decoder, torch.randn(2, 2))]
    assert sizes == [(5 * 5 * 9,), (4, 5, 9), (3, 10, 17), (2, 10, 17), (2, 20, 33)]


@pytest.mark.parametrize(
    ("network", "inputs"),
    [
        (GatedMLPEncoder((1, 28, 28), 2), (1, 28, 28)),
        (GatedMLPDecoder((1, 28, 28), 40, 1), (40,)),
        (GatedConvEncoder((1, 28, 28), 2), (1, 28, 28)),
        (GatedConvDecoder((1, 28, 28), 40, 1), (40,)),
    ],
    ids=["GatedMLPEncoder", "GatedMLPDecoder", "GatedConvEncoder", "GatedConvDecoder"],
)
def test_signals_pass_gated_layers_at_first(network: nn.Module, inputs: tuple[int, ...]) -> None:
    for h in outputs_of_gates(network, torch.randn(20, *inputs)):
        assert 0.2 < h.square().mean().sqrt() < 1.6


@pytest.mark.parametrize("kind", [GatedConvEncoder, GatedConvDecoder])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([4], [1, 2]), "strides must have the length of channels, got 2 and 1"),
        (([4, 4], [1, 3]), r"strides must be 1 or 2, got \[1, 3\]"),
        (([4], [2], 4), "kernel_size must be odd and positive, got 4"),
        (([4], [2], -1), "kernel_size must be odd and positive, got -1"),
    ],
)
def test_impossible_convolutions_are_refused(kind: type, arguments: tuple, text: str) -> None:
    sizes = (2,) if kind is GatedConvEncoder else (2, 1)
    with pytest.raises(ValueError, match=text):
        kind((1, 16, 16), *sizes, *arguments)
