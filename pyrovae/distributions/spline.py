"""Increasing maps of numbers from rational linear pieces."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from pyrovae.distributions.constraints import bounded_exp

__all__ = ["RationalSpline"]


class RationalSpline:
    r"""Elementwise splines on $[-b, b]$, the identity outside, with continuous slopes.

    Each bin is split into two pieces, and each piece maps $x = x_0 + l s$ to $y = y_0 + h t$ by

    $$t = \frac{\rho s}{1 - s + \rho s}, \qquad s = \frac{t / \rho}{1 - t + t / \rho}$$

    Neither direction has cancellation, and bins differ at most 20-fold in size. Pyro's splines
    multiply these fractions out and let bins differ 1000-fold; in single precision their inverse
    loses all digits.

    Args:
        widths: raw log widths of the K bins, which add up to 2 b, `(*, K)`.
        heights: raw log heights of the bins, `(*, K)`.
        slopes: raw log slopes at the K - 1 inner knots, relative to the geometric mean of the two
            bins' slopes, `(*, K - 1)`; at both ends the slope is 1.
        splits: log odds of the first piece's share of its bin, `(*, K)`.
        bound: b, positive.

    References:
        Invertible Generative Modeling using Linear Rational Splines (Dolatabadi et al., 2020,
        section 3), https://arxiv.org/abs/2001.05168

    Example:
        >>> spline = RationalSpline(*torch.randn(2, 8), torch.randn(7), torch.randn(8), bound=5.0)
        >>> y, log_slope = spline(torch.tensor([-7.0, 0.5, 4.0]))
        >>> x, negative_log_slope = spline.inverse(y)
        >>> x
        tensor([-7.0000,  0.5000,  4.0000])
    """

    LOG_SIZE_LIMIT = 1.5
    LOG_SLOPE_LIMIT = 1.0

    def __init__(
        self, widths: Tensor, heights: Tensor, slopes: Tensor, splits: Tensor, bound: float
    ) -> None:
        self.bound = bound
        width, height = (self._lengths(raw) for raw in (widths, heights))
        mean = (height / width).log()
        mean = ((mean[..., 1:] + mean[..., :-1]) / 2).exp()
        slope = pad(mean * bounded_exp(slopes, self.LOG_SLOPE_LIMIT), (1, 1), value=1.0)
        before, after = slope[..., :-1], slope[..., 1:]
        share = 0.1 + 0.8 * splits.sigmoid()
        end = (before / after).sqrt()
        middle = (share * before + (1 - share) * end * after) * width / height
        low = share * end / (1 - share + share * end)
        self._log_ratio = torch.stack([middle.log(), (end / middle).log()], -1).flatten(-2)
        self._x = torch.stack([share * width, (1 - share) * width], -1).flatten(-2)
        self._y = torch.stack([low * height, (1 - low) * height], -1).flatten(-2)

    def _lengths(self, raw: Tensor) -> Tensor:
        size = bounded_exp(raw, self.LOG_SIZE_LIMIT)
        return 2 * self.bound * size / size.sum(-1, keepdim=True)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the values y at x and the log slopes there, both of the shape of x."""
        return self._through(x, self._x, self._y, self._log_ratio)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Returns x for values y, and the log slopes of the inverse there."""
        return self._through(y, self._y, self._x, -self._log_ratio)

    def _through(
        self, x: Tensor, lengths: Tensor, images: Tensor, log_ratios: Tensor
    ) -> tuple[Tensor, Tensor]:
        ends = lengths.cumsum(-1) - self.bound
        piece = (x.unsqueeze(-1) >= ends[..., :-1]).sum(-1, keepdim=True)
        length, image, end, image_end, log_ratio = (
            values.expand(*x.shape, -1).gather(-1, piece).squeeze(-1)
            for values in (lengths, images, ends, images.cumsum(-1) - self.bound, log_ratios)
        )
        rest = ((end - x) / length).clamp(0, 1)
        ratio = log_ratio.exp()
        under = rest + ratio * (1 - rest)
        y = image_end - image * rest / under
        log_slope = (image / length).log() + log_ratio - 2 * under.log()
        outside = x.abs() >= self.bound
        return torch.where(outside, x, y), torch.where(outside, torch.zeros_like(x), log_slope)
