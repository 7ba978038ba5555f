"""A guide that sees corrupted images."""

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
    """How an image is corrupted, anew every time."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Observations `(*, C, H, W)` to corrupted ones of that shape."""


class GaussianNoise(Corruption):
    """Normal noise on every pixel.

    Use it for grey and colour images.

    Args:
        scale: its standard deviation, positive.
    """

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = positive("scale", scale)

    def __call__(self, x: Tensor) -> Tensor:
        """Observations `(*, C, H, W)` to corrupted ones of that shape."""
        return x + self.scale * torch.randn_like(x)


class SaltAndPepper(Corruption):
    """Some pixels become black or white, one as likely as the other.

    Use it for binary images too.

    Args:
        probability: of a pixel and channel to be hit, within (0, 1].
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
    r"""Any bound, with a guide that sees a corrupted image while the model scores the clean one.

    $$\log p(x) \ge \mathbb{E}_{\tilde x \sim c(\tilde x \mid x)}\,
    \mathbb{E}_{q(z \mid \tilde x)}\left[\log p(x, z) - \log q(z \mid \tilde x)\right]$$

    It acts in training alone: evaluation shows the guide the image itself. Batch norm in the
    encoder then has the statistics of corrupted images.

    Use it for an encoder that is robust to noise, and against overfitting on few images.

    Args:
        corruption: what happens to the images; null adds `GaussianNoise`.
        bound: the objective itself, any ELBO; null takes `Trace_ELBO`.

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
        self.state = self._inner.state

    @property
    def rate_and_distortion(self) -> tuple[Tensor, Tensor] | None:  # type: ignore[override]
        """Those of the bound."""
        return self._inner.rate_and_distortion

    def begin_step(self, progress: Progress) -> None:
        """Passes the position in the run on to the bound."""
        self._inner.begin_step(progress)

    def check_recordable(self) -> None:
        """Raises `NotImplementedError` if the bound's `begin_step` changes more than `state`."""
        self._inner.check_recordable()

    def innermost(self) -> Any:
        """The bound's own."""
        return self._inner.innermost()

    def terms_and_grads(
        self, beta: float | Tensor, model: Any, guide: Any, x: Tensor, **inputs: Any
    ) -> LossTerms:
        """The bound's terms, after adding up its gradients."""
        return self._inner.terms_and_grads(beta, model, self._corrupted(guide), x, **inputs)

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """The bound's loss under the guide of corrupted images."""
        return self.bound.loss(model, self._corrupted(guide), *args, **kwargs)

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The bound's loss as a tensor that knows its gradient."""
        return self.bound.differentiable_loss(model, self._corrupted(guide), *args, **kwargs)

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """The bound's loss, after adding up its gradients."""
        return self.bound.loss_and_grads(model, self._corrupted(guide), *args, **kwargs)

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        return self.bound._get_trace(model, self._corrupted(guide), args, kwargs)

    def _corrupted(self, guide: Callable[..., Any]) -> Callable[..., Any]:
        """The guide of one step, all of whose particles see the same corrupted images."""
        seen: list[Tensor] = []

        def run(x: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not seen:
                seen.append(self.corruption(x))
            return guide(seen[0], *args, **kwargs)

        return run
