from __future__ import annotations

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyrovae.distributions.moments import centre
from pyrovae.inspection import interpolate, traverse
from pyrovae.programs.vae import VAE
from pyrovae.utils.errors import InputError
from tests.support.programs import conditional_vae
from tests.support.tables import (
    IMAGE_SHAPE,
    LATENT_DIM,
    LIKELIHOODS,
    changed,
    make_images,
    make_vae,
    snapshot,
)

every_likelihood = pytest.mark.parametrize("likelihood", LIKELIHOODS)


def vae_and_ends(likelihood: str = "Normal", networks: str = "MLP") -> tuple[VAE, Tensor, Tensor]:
    vae = make_vae(likelihood, networks=networks)
    images = torch.randint(0, 2, (2, *IMAGE_SHAPE), dtype=torch.uint8) * 255
    return vae, images[0], images[1]


@torch.no_grad()
def shown(vae: VAE, z: Tensor) -> Tensor:
    vae.eval()
    return vae.show(z)


@every_likelihood
@pytest.mark.parametrize("steps", [2, 3, 10])
def test_an_interpolation_is_straight_between_the_posterior_means(
    likelihood: str, steps: int
) -> None:
    vae, first, second = vae_and_ends(likelihood)
    found = interpolate(vae, first, second, steps=steps)
    assert found.shape == (steps, *IMAGE_SHAPE) and found.min() >= 0 and found.max() <= 1
    with torch.no_grad():
        start, end = vae.encode(torch.stack([first, second])).mean
    for i in range(steps):
        share = i / (steps - 1)
        expected = shown(vae, (1 - share) * start + share * end)
        assert torch.allclose(found[i], expected, atol=1e-6)


def test_interpolations_take_observed_images_too() -> None:
    vae, first, second = vae_and_ends()
    found = interpolate(vae, vae.observe(first), vae.observe(second))
    assert torch.equal(found, interpolate(vae, first, second)) and len(found) == 10


@pytest.mark.parametrize("steps", [1, 0, -2])
def test_too_few_steps_are_refused(steps: int) -> None:
    vae, first, second = vae_and_ends()
    with pytest.raises(InputError, match=f"at least 2, got {steps}$"):
        interpolate(vae, first, second, steps=steps)


@every_likelihood
def test_a_traversal_moves_one_dimension_at_a_time(likelihood: str) -> None:
    vae, _, _ = vae_and_ends(likelihood)
    z = torch.randn(LATENT_DIM)
    kept = z.clone()
    found = traverse(vae, z, [2, 0], steps=5, extent=1.5)
    assert found.shape == (10, *IMAGE_SHAPE) and torch.equal(z, kept)
    for row, dim in enumerate([2, 0]):
        for i, value in enumerate([-1.5, -0.75, 0.0, 0.75, 1.5]):
            moved = z.clone()
            moved[dim] = value
            assert torch.allclose(found[5 * row + i], shown(vae, moved), atol=1e-6)


def test_a_traversal_goes_from_minus_3_to_3_in_10_steps() -> None:
    vae, _, _ = vae_and_ends()
    found = traverse(vae, torch.zeros(LATENT_DIM), range(LATENT_DIM))
    assert len(found) == 10 * LATENT_DIM
    ends = torch.tensor([[-3.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    assert torch.allclose(found[[0, 9]], shown(vae, ends), atol=1e-6)


@pytest.mark.parametrize("dim", [-1, LATENT_DIM])
def test_a_dimension_that_does_not_exist_is_refused(dim: int) -> None:
    vae, _, _ = vae_and_ends()
    with pytest.raises(InputError, match=f"no latent dimension {dim}: allowed is 0 to 2$"):
        traverse(vae, torch.zeros(LATENT_DIM), [0, dim])


def test_a_traversal_starts_at_one_vector() -> None:
    vae, _, _ = vae_and_ends()
    with pytest.raises(
        InputError, match=r"^z: allowed is one vector \(D,\), got the shape \(1, 3\)$"
    ):
        traverse(vae, torch.zeros(1, LATENT_DIM), [0])


@pytest.mark.parametrize(("steps", "extent"), [(0, 1.0), (5, 0.0), (5, -1.0), (5, float("nan"))])
def test_impossible_traversals_are_refused(steps: int, extent: float) -> None:
    vae, _, _ = vae_and_ends()
    with pytest.raises(InputError, match=f"positive, got {steps} and {extent}$"):
        traverse(vae, torch.zeros(LATENT_DIM), [0], steps=steps, extent=extent)


@pytest.mark.parametrize("networks", ["MLP", "Conv-shortcut"])
def test_drawing_changes_nothing(networks: str) -> None:
    vae, first, second = vae_and_ends(networks=networks)
    vae.train()
    vae.guide.encoder.eval()
    modes, before = [module.training for module in vae.modules()], snapshot(vae)
    state = torch.get_rng_state()
    images = [interpolate(vae, first, second), traverse(vae, torch.zeros(LATENT_DIM), [1])]
    assert not any(image.requires_grad for image in images)
    assert [module.training for module in vae.modules()] == modes
    assert not changed(snapshot(vae), before)
    assert torch.equal(torch.get_rng_state(), state)


@torch.no_grad()
def test_attributes_change_half_way_and_stay_in_traversals() -> None:
    vae = conditional_vae().eval()
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    known = torch.tensor([[0.1, 0.9], [0.7, 0.2]])
    ends = vae.encode(images, known).mean
    for edited in (None, known.flip(0)):
        found = interpolate(vae, *images, steps=4, attributes=known, edited=edited)
        for step, own in enumerate((known if edited is None else edited)[[0, 0, 1, 1]]):
            z = torch.lerp(*ends, step / 3)
            expected = vae.likelihood.to_images(vae.decode(z[None], own[None]))
            assert torch.allclose(found[step], expected[0], atol=1e-5)
    walk = traverse(vae, ends[0], [3], steps=2, extent=1.0, attributes=known[1])
    z = ends[0].repeat(2, 1)
    z[:, 3] = torch.tensor([-1.0, 1.0])
    expected = vae.likelihood.to_images(vae.decode(z, known[1].expand(2, -1)))
    assert torch.allclose(walk, expected, atol=1e-5)
    with pytest.raises(ValueError, match="attributes"):
        interpolate(vae, *images)


def test_the_centre_is_the_mean_or_that_of_100_draws() -> None:
    q = dist.Normal(torch.randn(4, 3), 2.0).to_event(1)
    assert torch.equal(centre(q), q.mean)
    flow = dist.TransformedDistribution(
        dist.Normal(torch.full((4, 3), 5.0), 0.01), [dist.transforms.ExpTransform()]
    ).to_event(1)
    assert torch.allclose(centre(flow), torch.full((4, 3), 5.0).exp(), rtol=0.01)


def test_on_a_sphere_all_latents_that_are_shown_lie_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = make_vae(prior="HypersphericalUniform", posterior="VonMisesFisher")
    shown: list[Tensor] = []
    monkeypatch.setattr(vae, "show", lambda z: shown.append(z) or z)
    images = make_images(vae.likelihood, 2)
    interpolate(vae, images[0], images[1], steps=5)
    traverse(vae, vae.model.z_dist().sample(), [0, 1], steps=5)
    for z in shown:
        assert torch.allclose(z.norm(dim=-1), torch.ones(len(z)), atol=1e-5)
