"""Densities of pixels that torch lacks or implements in part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

__all__ = ["BatchScaleNormal", "ContinuousBernoulli"]


class ContinuousBernoulli(TorchDistribution):
    r"""Continuous Bernoulli: an exponential density on [0, 1], normalised for any log odds.

    $$p(x) = \frac{\eta\, e^{\eta x}}{e^\eta - 1}, \qquad \log p(x) = \eta\,(x - \tfrac{1}{2})
    - \log\frac{\sinh(\eta / 2)}{\eta / 2}$$

    torch's `ContinuousBernoulli` clamps the probability in its normaliser: in single precision it
    integrates to less than one for log odds beyond 16.

    Args:
        logits: the log odds $\eta$, any shape.

    References:
        The Continuous Bernoulli (Loaiza-Ganem and Cunningham, 2019, equation 3),
        https://arxiv.org/abs/1907.06845

    Example:
        >>> ContinuousBernoulli(torch.tensor([-50.0, 0.0])).log_prob(torch.tensor([0.0, 0.5]))
        tensor([3.9120, 0.0000])
    """

    arg_constraints = {"logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        r"""The mean $\frac{1}{2} + \frac{1}{2}\coth\frac{\eta}{2} - \frac{1}{\eta}$."""
        small = self.logits.abs() < 0.05
        eta = torch.where(small, torch.ones_like(self.logits), self.logits)
        near = self.logits / 12 - self.logits**3 / 720 + self.logits**5 / 30240
        return 0.5 + torch.where(small, near, 0.5 / torch.tanh(eta / 2) - 1 / eta)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values in [0, 1]."""
        if self._validate_args:
            self._validate_sample(value)
        return self.logits * (value - 0.5) - _log_sinhc(self.logits.abs() / 2)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws by the inverse distribution function for log odds below 0, mirrored above 0."""
        shape = self._extended_shape(sample_shape)
        u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        falling = torch.where(self.logits > 0, -self.logits, self.logits)
        small = falling > -1e-3
        eta = torch.where(small, -torch.ones_like(falling), falling)
        near = u + falling * u * (1 - u) * (0.5 + falling * (1 - 2 * u) / 6)
        x = torch.where(small, near, torch.log1p(u * torch.expm1(eta)) / eta)
        return torch.where(self.logits > 0, 1 - x, x).clamp(0, 1)


def _log_sinhc(u: Tensor) -> Tensor:
    """log(sinh(u) / u) for u of at least 0."""
    small = u < 0.05
    v = torch.where(small, torch.ones_like(u), u)
    far = v + torch.log1p(-torch.exp(-2 * v)) - torch.log(2 * v)
    return torch.where(small, u**2 / 6 - u**4 / 180 + u**6 / 2835, far)


class BatchScaleNormal(TorchDistribution):
    r"""Normal that scores a batch with the batch's own root mean square error as the scale.

    This scale maximises the likelihood of the batch. The gradient with respect to the scale is
    zero there, so `log_prob` treats it as a constant.

    Args:
        loc: the mean, any shape.
        scale: the standard deviation of draws, and of `variance`.
        score: maps squared errors, of any shape, to the scale that `log_prob` uses.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        score: Callable[[Tensor], Tensor],
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale, self._score = loc, scale, score
        super().__init__(loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The variance of draws."""
        return self.scale.square().expand(self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density at the scale that maximises the likelihood of these values."""
        if self._validate_args:
            self._validate_sample(value)
        scale = self._score((value - self.loc).detach().square())
        return torch.distributions.Normal(self.loc, scale, validate_args=False).log_prob(value)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws with the stored scale."""
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.scale * noise
