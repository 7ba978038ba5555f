"""Discrete distributions over the 256 grey values k / 255 of 8-bit images."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.nn.functional import cross_entropy, logsigmoid, softplus

__all__ = ["DiscretizedLogistic", "DiscretizedLogisticMixture", "GreyCategorical", "grey_levels"]

HALF_BIN = 0.5 / 255


class _GreyLevels(Constraint):
    """The values k / 255 for k = 0 to 255, to within rounding."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        level = value * 255
        return ((level - level.round()).abs() < 1e-2) & (value >= 0) & (value <= 1)


grey_levels = _GreyLevels()


def log_bin(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    r"""Log probability that a logistic variable falls into the bin of a grey value.

    With $b, a$ the ends of the bin in units of the scale, $\sigma(b) - \sigma(a) = \sigma(b)
    \, \sigma(-a)\, (1 - e^{a - b})$, which is exact in the tails too. The outermost bins reach to
    infinity, so that the 256 probabilities sum to one.
    """
    upper, lower = (x + HALF_BIN - loc) / scale, (x - HALF_BIN - loc) / scale
    black, white = x < HALF_BIN, x > 1 - HALF_BIN
    zero = torch.zeros((), dtype=scale.dtype, device=scale.device)
    inside = torch.where(black | white, zero, torch.log(-torch.expm1(-2 * HALF_BIN / scale)))
    below = torch.where(white, zero, logsigmoid(upper))
    return below + torch.where(black, zero, logsigmoid(-lower)) + inside


def clipped_mean(loc: Tensor, scale: Tensor) -> Tensor:
    """The mean of a logistic variable that is clipped to [0, 1]."""
    return scale * (softplus(loc / scale) - softplus((loc - 1) / scale))


def draw_level(loc: Tensor, scale: Tensor) -> Tensor:
    """Draws a logistic variable and rounds it to the nearest grey value."""
    u = torch.rand_like(loc).clamp(min=torch.finfo(loc.dtype).tiny)
    x = loc + scale * (torch.log(u) - torch.log1p(-u))
    return (x * 255).round().clamp(0, 255) / 255


class DiscretizedLogistic(TorchDistribution):
    r"""Logistic distribution over the 256 grey values.

    $$P(x) = \sigma\left(\frac{x + \frac{1}{510} - \mu}{s}\right)
    - \sigma\left(\frac{x - \frac{1}{510} - \mu}{s}\right)$$

    where the bins of 0 and 1 reach to infinity.

    Args:
        loc: the location $\mu$, any shape.
        scale: the scale s, positive, of a shape that broadcasts with `loc`.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016,
        appendix C), https://arxiv.org/abs/1606.04934

    Example:
        >>> p = DiscretizedLogistic(torch.tensor(0.3), torch.tensor(0.05))
        >>> p.log_prob(torch.arange(256) / 255).exp().sum()
        tensor(1.0000)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = grey_levels

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean without rounding, within half a grey level of the exact mean."""
        return clipped_mean(self.loc, self.scale)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of grey values k / 255."""
        if self._validate_args:
            self._validate_sample(value)
        return log_bin(value, self.loc, self.scale)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws of grey values k / 255."""
        shape = self._extended_shape(sample_shape)
        return draw_level(self.loc.expand(shape), self.scale.expand(shape))


class DiscretizedLogisticMixture(TorchDistribution):
    r"""Mixture of logistic distributions per pixel, in which a channel depends on those before it.

    $$P(x) = \prod_{\text{pixels}} \sum_{k=1}^{K} \pi_k \prod_{c=1}^{C} P_{\text{logistic}}
    \left(x_c \mid \mu_{kc} + \textstyle\sum_{j < c} a_{kcj} (x_j - \mu_{kj}), s_{kc}\right)$$

    Args:
        logits: unnormalised log weights, `(*, K, H, W)`.
        loc: the locations $\mu$, `(*, K, C, H, W)`.
        scale: the scales s, positive, `(*, K, C, H, W)`.
        coefficients: the coefficients a of the pairs (c, j) with j < c, in the order (1, 0),
            (2, 0), (2, 1) ..., `(*, K, C (C - 1) / 2, H, W)`.

    References:
        PixelCNN++ (Salimans et al., 2017, sections 2.1 and 2.2), https://arxiv.org/abs/1701.05517
    """

    arg_constraints = {
        "logits": constraints.independent(constraints.real, 3),
        "loc": constraints.independent(constraints.real, 4),
        "scale": constraints.independent(constraints.positive, 4),
        "coefficients": constraints.independent(constraints.real, 4),
    }
    support = constraints.independent(grey_levels, 3)

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        coefficients: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        self.logits, self.loc, self.scale = logits, loc, scale
        self.coefficients = coefficients
        super().__init__(loc.shape[:-4], loc.shape[-3:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean without rounding; each channel is conditioned on the means of those before."""
        weights = self.logits.softmax(-3)
        shown: list[Tensor] = []
        for c in range(self.loc.shape[-3]):
            loc = self._location(c, self.loc, self.coefficients, shown)
            shown.append(clipped_mean(loc, self.scale[..., c, :, :]))
        return (weights.unsqueeze(-3) * torch.stack(shown, -3)).sum(-4)

    def _location(self, c: int, loc: Tensor, coefficients: Tensor, before: list[Tensor]) -> Tensor:
        """The location of channel c given the values of the channels before it."""
        found = loc[..., c, :, :]
        for j, x in enumerate(before):
            departure = x - loc[..., j, :, :]
            found = found + coefficients[..., c * (c - 1) // 2 + j, :, :] * departure
        return found

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of images of grey values, `(*, C, H, W)`."""
        return self.pixel_log_prob(value).sum((-2, -1))

    def pixel_log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each pixel, all channels together, `(*, H, W)`."""
        if self._validate_args:
            self._validate_sample(value)
        channels = list(value.unsqueeze(-4).unbind(-3))
        found = self.logits.log_softmax(-3)
        for c, channel in enumerate(channels):
            loc = self._location(c, self.loc, self.coefficients, channels[:c])
            found = found + log_bin(channel, loc, self.scale[..., c, :, :])
        return found.logsumexp(-3)

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws of images of grey values."""
        batch = self._extended_shape(sample_shape)[:-3]
        logits = self.logits.expand(*batch, *self.logits.shape[-3:])
        uniform = torch.rand_like(logits).clamp(min=torch.finfo(logits.dtype).tiny)
        # The argmax of log weights plus Gumbel noise is a draw of the component.
        chosen = (logits - torch.log(-torch.log(uniform))).argmax(-3)[..., None, None, :, :]
        loc, scale, coefficients = (
            _choose(parameter, batch, chosen)
            for parameter in (self.loc, self.scale, self.coefficients)
        )
        drawn: list[Tensor] = []
        for c in range(self.loc.shape[-3]):
            at = self._location(c, loc, coefficients, drawn)
            drawn.append(draw_level(at, scale[..., c, :, :]))
        return torch.stack(drawn, -3)


def _choose(parameter: Tensor, batch: torch.Size, chosen: Tensor) -> Tensor:
    """Selects a parameter `(*, K, P, H, W)` by each pixel's component `(*, 1, 1, H, W)`."""
    whole = parameter.expand(*batch, *parameter.shape[-4:])
    index = chosen.expand(*batch, 1, *parameter.shape[-3:])
    return whole.gather(-4, index).squeeze(-4)


class GreyCategorical(TorchDistribution):
    r"""Images of independent pixels, each with a categorical distribution over 256 grey values.

    $$P(x) = \prod_i e^{h_{i k_i}} / \textstyle\sum_j e^{h_{ij}}, \quad k_i = 255\, x_i$$

    Args:
        logits: the $h_{ij}$, `(*, C, H, W, 256)`.
    """

    arg_constraints = {"logits": constraints.independent(constraints.real_vector, 3)}
    support = constraints.independent(grey_levels, 3)

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-4], logits.shape[-4:-1], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean."""
        levels = torch.linspace(0, 1, 256, dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.softmax(-1) @ levels

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of images of grey values, `(*, C, H, W)`."""
        return self._each(value).flatten(-3).sum(-1)

    def pixel_log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each pixel, all channels together, `(*, H, W)`."""
        return self._each(value).sum(-1)

    def _each(self, value: Tensor) -> Tensor:
        """Log probability of each grey value, channels last, `(*, H, W, C)`."""
        if self._validate_args:
            self._validate_sample(value)
        level = (value * 255).round().long().clamp(0, 255)
        shape = torch.broadcast_shapes(level.shape, self.logits.shape[:-1])
        # Channels last, the memory format of the networks, so that flattening does not copy.
        logits = self.logits.expand(*shape, 256).movedim(-4, -2).reshape(-1, 256)
        level = level.expand(shape).movedim(-3, -1).reshape(-1)
        found = -cross_entropy(logits, level, reduction="none")
        return found.reshape(*shape[:-3], *shape[-2:], shape[-3])

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws of images of grey values."""
        drawn = torch.distributions.Categorical(logits=self.logits).sample(sample_shape)
        return drawn.to(self.logits.dtype) / 255
