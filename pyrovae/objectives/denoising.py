"""The denoising criterion: the guide gets corrupted images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor

from pyrovae.distributions.constraints import positive
from pyrovae.objectives.base import LossTerms, Objective, as_objective
from pyrovae.objectives.schedules import Progress
from pyrovae.utils.arguments import Recorded

__all__ = ["Corruption", "Denoising", "GaussianNoise", "SaltAndPepper"]


class Corruption(Recorded, ABC):
    """A random corruption of images, with a new draw per call."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Observations `(*, C, H, W)` to corrupted ones of that shape."""


class GaussianNoise(Corruption):
    """Adds Normal noise to every pixel.

    Use it for grey and colour images.

    Args:
        scale: the standard deviation of the noise, positive.
    """

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = positive("scale", scale)

    def __call__(self, x: Tensor) -> Tensor:
        """Observations `(*, C, H, W)` to corrupted ones of that shape."""
        return x + self.scale * torch.randn_like(x)


class SaltAndPepper(Corruption):
    """Sets random pixels to black or white, with equal probability.

    Use it for binary images too.

    Args:
        probability: the probability that a pixel and channel is replaced, within (0, 1].
    """

    def __init__(self, probability: float = 0.1) -> None:
        if not 0 < probability <= 1:
            raise ValueError(f"probability must lie in (0, 1], got {probability}")
        self.probability = probability

    def __call__(self, x: Tensor) -> Tensor:
        """Observations `(*, C, H, W)` to corrupted ones of that shape."""
        chance = torch.rand_like(x)
        white = (chance < self.probability / 2).to(x)
        return torch.where(chance < self.probability, white, x)


class Denoising(Recorded, Objective, ELBO):
    r"""Any bound, with a guide that gets corrupted images and a model that scores the clean ones.

    $$\log p(x) \ge \mathbb{E}_{\tilde x \sim c(\tilde x \mid x)}\,
    \mathbb{E}_{q(z \mid \tilde x)}\left[\log p(x, z) - \log q(z \mid \tilde x)\right]$$

    It acts in training only: in evaluation the guide gets the clean images. Batch norm in the
    encoder keeps the statistics of the corrupted images.

    Use it for an encoder that is robust to noise, and against overfitting on few images.

    Args:
        corruption: how images are corrupted; null takes `GaussianNoise`.
        bound: the objective, any ELBO; null takes `Trace_ELBO`.

    References:
        Denoising Criterion for Variational Auto-Encoding Framework (Im et al., 2017),
        https://arxiv.org/abs/1511.06406
    """

    def __init__(self, corruption: Corruption | None = None, bound: ELBO | None = None) -> None:
        self.corruption, self.bound = corruption or GaussianNoise(), bound or Trace_ELBO()
        super().__init__(num_particles=self.bound.num_particles)
        self._inner = as_objective(self.bound)
        self.couples_batch = self._inner.couples_batch
        self.prefers_wide_guide = self._inner.prefers_wide_guide
        self.maximises_elbo = self._inner.maximises_elbo
        self.state = self._inner.state

    @property
    def rate_and_distortion(self) -> tuple[Tensor, Tensor] | None:  # type: ignore[override]
        """The rate and the distortion of the bound."""
        return self._inner.rate_and_distortion

    def begin_step(self, progress: Progress) -> None:
        """Passes the position in the run on to the bound."""
        self._inner.begin_step(progress)

    def check_recordable(self) -> None:
        """Raises `NotImplementedError` if the bound's `begin_step` changes more than `state`."""
        self._inner.check_recordable()

    def innermost(self) -> Any:
        """The innermost bound of the bound."""
        return self._inner.innermost()

    def terms_and_grads(
        self, beta: float | Tensor, model: Any, guide: Any, x: Tensor, **inputs: Any
    ) -> LossTerms:
        """Accumulates the gradients of the bound; returns its terms."""
        return self._inner.terms_and_grads(beta, model, self._corrupted(guide), x, **inputs)

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """The bound's loss, with corrupted images for the guide."""
        return self.bound.loss(model, self._corrupted(guide), *args, **kwargs)

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The loss of the bound as a differentiable tensor."""
        return self.bound.differentiable_loss(model, self._corrupted(guide), *args, **kwargs)

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """Accumulates the gradients of the bound; returns its loss."""
        return self.bound.loss_and_grads(model, self._corrupted(guide), *args, **kwargs)

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        return self.bound._get_trace(model, self._corrupted(guide), args, kwargs)

    def _corrupted(self, guide: Callable[..., Any]) -> Callable[..., Any]:
        """The guide of one step, which gives all particles the same corrupted images."""
        seen: list[Tensor] = []

        def run(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not seen:
                seen.append(self.corruption(x))
            return guide(seen[0], *args, **kwargs)

        return run
