"""The density of the seen pixels: sums over the pixels of each family."""

from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch

from pyrovae import InputError
from pyrovae.distributions import MaskedPixels, pixel_log_prob
from tests.support.tables import LIKELIHOODS

SEEN = torch.tensor([[True, False, True, True], [False, False, True, False]])


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n != "AutoregressiveLogistic"])
def test_pixels_add_up_to_the_image(name: str) -> None:
    likelihood = LIKELIHOODS[name]().eval()
    torch.manual_seed(0)
    fn = likelihood(torch.randn(5, likelihood.num_maps(3), 2, 4))
    x = likelihood.observe(torch.randint(0, 2, (5, 3, 2, 4)) * 255)
    for own in (fn, fn.expand((7, 5))):
        pixels = pixel_log_prob(own, x)
        assert pixels.shape == (*own.batch_shape, 2, 4)
        torch.testing.assert_close(pixels.sum((-2, -1)), own.log_prob(x))
        masked = MaskedPixels(own, SEEN)
        assert masked.batch_shape == own.batch_shape and masked.event_shape == (3, 2, 4)
        torch.testing.assert_close(masked.log_prob(x), pixels[..., SEEN].sum(-1))
        torch.testing.assert_close(masked.mean, own.mean)


def test_unseen_pixels_do_not_count() -> None:
    fn = dist.Normal(torch.zeros(3, 2, 4), 1.0).to_event(3)
    x = torch.randn(6, 3, 2, 4)
    other = torch.where(SEEN, x, torch.inf)
    masked = MaskedPixels(fn, SEEN)
    assert torch.equal(masked.log_prob(x), masked.log_prob(other))
    assert masked.sample((6,)).shape == x.shape


def test_pixels_that_depend_on_each_other_cannot_be_left_out() -> None:
    fn = dist.MultivariateNormal(torch.zeros(4), torch.eye(4))
    with pytest.raises(InputError, match="MultivariateNormal has no density per pixel"):
        MaskedPixels(fn, SEEN).log_prob(torch.zeros(4))
