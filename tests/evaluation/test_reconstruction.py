from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pyrovae import Engine, InputError, ThresholdBinarization
from pyrovae.data import Batches
from pyrovae.evaluation import Estimate, psnr, reconstructions, ssim
from pyrovae.likelihoods import Bernoulli, GreyLikelihood
from tests.support.programs import conditional
from tests.support.small import small_data, small_vae
from tests.support.tables import IMAGE_SHAPE, changed, make_vae, snapshot

CPU = Engine("cpu", "fp32")


def ssim_in_loops(x: np.ndarray, y: np.ndarray) -> float:
    """Of one channel, a window at a time, in the words of the paper."""
    grid = np.arange(11) - 5
    weights = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (image[top : top + 11, left : left + 11] for image in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            var_a, var_b = ((weights * (v - (weights * v).sum()) ** 2).sum() for v in (a, b))
            both = (weights * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
            found.append(luminance * (2 * both + 9e-4) / (var_a + var_b + 9e-4))
    return float(np.mean(found))


@pytest.mark.parametrize("shape", [(3, 16, 13), (1, 11, 11), (2, 11, 20)])
def test_ssim_is_a_naive_loop(shape: tuple[int, int, int]) -> None:
    images = torch.rand(4, *shape, dtype=torch.float64)
    again = (images + 0.3 * torch.randn_like(images)).clamp(0, 1)
    pairs = zip(images.numpy(), again.numpy(), strict=True)
    expected = [np.mean([ssim_in_loops(*xy) for xy in zip(*pair, strict=True)]) for pair in pairs]
    assert ssim(images, again).tolist() == pytest.approx(expected, rel=1e-9)
    assert ssim(images.float(), again.float()).tolist() == pytest.approx(expected, abs=1e-5)


def test_ssim_of_constant_images_is_the_ratio_of_their_means() -> None:
    black, white = torch.zeros(1, 1, 12, 12), torch.ones(1, 1, 12, 12)
    assert ssim(black, white).item() == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-4)


def test_ssim_is_one_for_equal_images_symmetric_and_negative_for_a_negative() -> None:
    x, y = torch.rand(2, 5, 3, 20, 20, dtype=torch.float64)
    assert torch.allclose(ssim(x, x), torch.ones(5).double())
    assert torch.allclose(ssim(x, y), ssim(y, x))
    assert (ssim(x, 1 - x) < 0).all()


def test_psnr_is_exact() -> None:
    images = torch.full((3, 1, 2, 2), 0.5)
    again = images.clone()
    again[0] += 0.1
    again[1, 0, 0, 0] += 0.2  # a mean of 0.04 / 4
    assert psnr(images, again).tolist() == pytest.approx([20, 20, math.inf], rel=1e-5)


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize("shape", [(2, 3, 16, 15), (1, 3, 16, 16), (3, 16, 16)])
def test_images_of_other_shapes_are_one_clear_line(measure: object, shape: tuple) -> None:
    with pytest.raises(InputError, match=r"^images of shapes .* the same \(B, C, H, W\)$"):
        measure(torch.rand(2, 3, 16, 16), torch.rand(shape))  # type: ignore[operator]


def test_images_smaller_than_the_window_are_one_clear_line() -> None:
    with pytest.raises(InputError, match=r"^images of 10x16 pixels: SSIM needs at least 11x11$"):
        ssim(torch.rand(2, 1, 10, 16), torch.rand(2, 1, 10, 16))


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    vae = make_vae("Normal")
    found = reconstructions(vae, np.zeros((3, *IMAGE_SHAPE), np.uint8), CPU)
    assert list(found) == ["psnr"] and len(found) == 3


def test_a_reconstruction_a_row() -> None:
    vae, split = small_vae().train(), small_data(num_test=130).split("test")
    before, random = snapshot(vae), torch.get_rng_state()
    found = reconstructions(vae, split, CPU, seed=2)
    assert torch.equal(torch.get_rng_state(), random)
    assert not changed(snapshot(vae), before) and vae.training
    assert list(found.columns) == ["psnr", "ssim"] and list(found.index) == list(split.names)
    assert found["psnr"].between(0, 60).all() and found["ssim"].between(-1, 1).all()
    assert found.equals(reconstructions(vae, split, CPU, seed=2))
    assert not found.equals(reconstructions(vae, split, CPU, seed=3))
    error = Estimate.of(found["ssim"].to_numpy()).error
    assert error == pytest.approx(found["ssim"].sem())


def test_rows_belong_to_their_images() -> None:
    """With latents that the decoder ignores, a reconstruction is the same whatever the image."""
    vae, images = small_vae(), small_data(num_test=130).split("test").images
    for parameter in vae.model.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    constant = vae.sample(1)
    found = reconstructions(vae, images, CPU)
    x = torch.from_numpy(np.array(images)) / 255
    same: Tensor = constant.expand_as(x)
    assert found["psnr"].tolist() == pytest.approx(psnr(x, same).tolist(), rel=1e-4)
    assert found["ssim"].tolist() == pytest.approx(ssim(x, same).tolist(), abs=1e-4)
    assert list(found.index) == list(range(130))


@pytest.mark.parametrize("likelihood", [Bernoulli(ThresholdBinarization(0.5)), None])
def test_each_observation_is_compared_with_the_image(likelihood: GreyLikelihood | None) -> None:
    found = reconstructions(
        small_vae(likelihood=likelihood), small_data().split("test").images, CPU
    )
    assert len(found) == 20 and np.isfinite(found.to_numpy()).all()


def test_programs_that_need_attributes_get_those_of_each_image() -> None:
    programs, split = conditional(), small_data().split("test")
    found = reconstructions(programs, split, CPU, seed=1)
    assert len(found) == 20
    batches = Batches(split, 20, seed=0, shuffle=False, attributes=programs.attributes)
    images, attributes = next(batches.labelled(0))
    torch.manual_seed(1)
    again = programs.reconstruct(images, attributes)
    assert found["psnr"].tolist() == pytest.approx(psnr(images / 255, again).tolist(), rel=1e-5)
    with pytest.raises(InputError, match="^the images have no attribute"):
        reconstructions(programs, split.images, CPU)
