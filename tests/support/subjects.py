"""Subjects of an inspection in small, and what must be as it was afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from pyrovae import VAE, Engine, ModelGuidePair
from pyrovae.data import Split
from pyrovae.inspection.subject import Budget, Subject
from tests.support.oracles import LinearGaussian
from tests.support.programs import TwoLatentsGuide, TwoLatentsModel, conditional, two_latents
from tests.support.small import small_data, small_vae
from tests.support.tables import changed, make_images, make_vae, snapshot

CPU = Engine("cpu", "fp32")
EFFORT = Budget(20, 2, 100, 3, 8, 2, 30, 3, starts=4)


def two_named_networks() -> ModelGuidePair:
    """The hierarchical pair, which names the networks of its guide."""
    programs = two_latents()
    model, guide = programs.model, programs.guide
    assert isinstance(model, TwoLatentsModel) and isinstance(guide, TwoLatentsGuide)
    networks = [model.decoder, guide.first, guide.second]
    return ModelGuidePair(model, guide, programs.likelihood, networks)


SUBJECTS: dict[str, Callable[[], ModelGuidePair]] = {
    "vae": small_vae,
    "two latents": two_latents,
    "two named networks": two_named_networks,
    "conditional": conditional,
}


def subject(programs: ModelGuidePair, budget: Budget = EFFORT, seed: int = 0) -> Subject:
    """Twenty small faces."""
    split = small_data().split("test")
    return Subject(programs, split, CPU, seed, shown=split.take([3, 4]), budget=budget)


def subject_of_parts(budget: Budget = EFFORT, **parts: str) -> Subject:
    """Twenty random images, and a VAE of parts named as in the tables."""
    vae = make_vae(**parts)
    return _of_random_images(vae, make_images(vae.likelihood, 20).numpy(), budget)


def subject_of(vae: VAE, budget: Budget = EFFORT) -> Subject:
    """Random images, and a linear Gaussian VAE."""
    images = torch.randint(0, 256, (40, *vae.model.decoder.image_shape), dtype=torch.uint8)
    return _of_random_images(vae, images.numpy(), budget)


def _of_random_images(vae: VAE, images: np.ndarray, budget: Budget) -> Subject:
    names = [f"image {i}" for i in range(len(images))]
    split = Split(images, names, np.zeros((len(images), 0), np.float32))
    return Subject(vae, split, CPU, shown=split.take([3, 4]), budget=budget)


@contextmanager
def shortened() -> Iterator[None]:
    """Within this context, fits take few steps, and end soon if images still gain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrovae.inspection.climbing.ROUNDS", 2)
        patch.setattr("pyrovae.inspection.climbing.DRAWS", 4)
        patch.setattr("pyrovae.inspection.refinement.UNIT_DRAWS", 2)
        patch.setattr("pyrovae.inspection.modes.STEPS", 6)
        patch.setattr("pyrovae.inspection.anomalies.STEPS", 4)
        patch.setattr("pyrovae.inspection.mcmc.FITTING_STEPS", 1)
        patch.setattr("pyrovae.inspection.inpainting.STEPS", 3)
        yield


@contextmanager
def nothing_changes(programs: ModelGuidePair) -> Iterator[None]:
    """Fails if a run leaves weights, modes, gradients, hooks or generators another."""

    def seen() -> tuple[object, ...]:
        modules = list(programs.modules())
        return (
            [module.training for module in modules],
            [len(module._forward_hooks) for module in modules],
            [(p.requires_grad, p.grad) for p in programs.parameters()],
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # type: ignore[index]
            torch.is_grad_enabled(),
        )

    programs.train()
    before, weights = seen(), snapshot(programs)
    yield
    assert seen() == before and not changed(weights, snapshot(programs))


class Linear(LinearGaussian):
    """The linear Gaussian VAE with its posterior."""

    def posterior(self, x: torch.Tensor) -> torch.distributions.MultivariateNormal:
        """The exact posterior of images `(B, C, H, W)`."""
        to_mean = self.covariance @ self.weight.T / self.sigma**2
        loc = (x.flatten(1) - self.bias) @ to_mean.T
        return torch.distributions.MultivariateNormal(loc, self.covariance)
