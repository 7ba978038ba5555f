from __future__ import annotations

import pytest
import scipy.stats
import torch
from torch import nn

from pyrovae import Bernoulli, DynamicBinarization, FixedBinarization, ThresholdBinarization
from tests.support.tables import BINARIZATIONS, FALSE_ALARM, Z_LIMIT, make_vae


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)


def test_fixed_draws_follow_from_image_and_seed_alone() -> None:
    x = images(50)
    first = FixedBinarization(3)(x)
    torch.manual_seed(99)
    assert torch.equal(FixedBinarization(3)(x), first)
    assert torch.equal(FixedBinarization(3)(x.flip(0)).flip(0), first)
    assert torch.equal(FixedBinarization(3)(x[7]), first[7])
    assert torch.equal(FixedBinarization(3)(x.float()), first)
    for other in (FixedBinarization(4)(x), DynamicBinarization()(x)):
        assert not torch.equal(other, first)


def test_fixed_draws_have_the_grey_value_as_their_mean() -> None:
    x = images(3000)
    ones = FixedBinarization()(x)
    for level in (1, 60, 128, 200, 254):
        chosen = ones[x == level]
        test = scipy.stats.binomtest(int(chosen.sum()), len(chosen), level / 255)
        assert test.pvalue > FALSE_ALARM / 5
    assert (ones[x == 0] == 0).all() and (ones[x == 255] == 1).all()
    share = (x.double() / 255).mean((0, 1))
    spread = (x.double() / 255 * (1 - x.double() / 255)).sum((0, 1)).sqrt() / len(x)
    assert ((ones.double().mean((0, 1)) - share).abs() < 1.3 * Z_LIMIT * spread).all()


def test_fixed_draws_of_neighbours_and_similar_images_are_independent() -> None:
    x = torch.full((4000, 1, 8, 8), 128, dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.arange(4000) % 256
    x[:, 0, 0, 1] = torch.arange(4000) // 256
    ones = FixedBinarization()(x)[:, 0, 2:].flatten(1).double()
    centred = (ones - ones.mean(0)) / ones.std(0)
    correlation = (centred.T @ centred / len(x)).fill_diagonal_(0)
    assert correlation.abs().max() < 1.5 * Z_LIMIT / len(x) ** 0.5
    between = (centred[1:] * centred[:-1]).mean()
    assert between.abs() < Z_LIMIT / ones[1:].numel() ** 0.5


@pytest.mark.parametrize("name", BINARIZATIONS)
def test_binary_pixels_have_the_precision_of_the_program(name: str) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert BINARIZATIONS[name]()(images(2)).dtype == torch.float64
    finally:
        torch.set_default_dtype(before)
    assert BINARIZATIONS[name]()(images(2)).dtype == torch.float32


@pytest.mark.parametrize("likelihood", ["Normal", "Bernoulli-threshold", "Categorical"])
def test_a_program_of_doubles_takes_8_bit_images(likelihood: str) -> None:
    vae = make_vae(likelihood).double()
    q = vae.encode(torch.zeros(2, 3, 6, 5, dtype=torch.uint8))
    assert q.sample().dtype == torch.float64


def test_binarizations_are_modules_that_say_what_they_are() -> None:
    for kind in (FixedBinarization, DynamicBinarization, ThresholdBinarization):
        assert isinstance(kind(), nn.Module) and Bernoulli(kind()).binarization is not None
