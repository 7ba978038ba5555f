"""Images whose pixels depend on the pixels before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn.functional import conv2d, pad, unfold

from pyrovae.distributions.grey import clipped_mean, draw_level, grey_levels, log_bin

__all__ = ["AutoregressiveLogistic"]


class AutoregressiveLogistic(TorchDistribution):
    r"""Logistic distribution over the grey values of an image, each given those before it.

    $$P(x) = \prod_i P_{\text{logistic}}\left(x_i \mid \mu_i + \textstyle\sum_{j < i} w_{ij}
    (x_j - \mu_j), s_i\right)$$

    The order is that of reading: rows, then columns, then channels. The kernel holds the
    coefficients w up to R rows above and up to R columns to either side; outside the image the
    deviations $x_j - \mu_j$ are 0.

    Args:
        loc: the locations $\mu$, `(*, C, H, W)`.
        scale: the scales s, positive, of a shape that broadcasts with `loc`.
        kernel: the coefficients w, `(C, C, R + 1, 2 R + 1)`, by channel, channel of the other
            pixel, row and column; the other pixel in the middle of the last row is the pixel
            itself. Coefficients of values that are not before must be 0; this is not checked.

    Raises:
        ValueError: with `validate_args`, if a scale is not positive.

    References:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016, section 2),
        https://arxiv.org/abs/1601.06759

    Example:
        >>> kernel = torch.tensor([[[[0.0, 0.5, 0.0], [0.5, 0.0, 0.0]]]])
        >>> p = AutoregressiveLogistic(torch.full((1, 4, 4), 0.5), torch.tensor(0.1), kernel)
        >>> p.sample().shape, p.log_prob(p.sample()).shape
        (torch.Size([1, 4, 4]), torch.Size([]))
    """

    arg_constraints = {
        "loc": constraints.independent(constraints.real, 3),
        "scale": constraints.independent(constraints.positive, 3),
    }
    support = constraints.independent(grey_levels, 3)

    def __init__(
        self, loc: Tensor, scale: Tensor, kernel: Tensor, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.kernel = kernel
        super().__init__(self.loc.shape[:-3], self.loc.shape[-3:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean of each value if those before it equal their locations, `(*, C, H, W)`.

        The unconditional mean differs a little, by rounding and by clipping at 0 and 1.
        """
        return clipped_mean(self.loc, self.scale)

    @property
    def _reach(self) -> int:
        return self.kernel.shape[-2] - 1

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of images of grey values, `(*, C, H, W)`."""
        if self._validate_args:
            self._validate_sample(value)
        loc = self.loc + predicted(value - self.loc, self.kernel)
        return log_bin(value, loc, self.scale).sum((-3, -2, -1))

    @torch.no_grad()
    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws of images of grey values, all pixels of a front at once."""
        shape, reach = self._extended_shape(sample_shape), self._reach
        loc, scale = self.loc.expand(shape), self.scale.expand(shape)
        drawn, gone = torch.empty_like(loc), pad(torch.zeros_like(loc), (reach, reach, reach, 0))
        rows = torch.arange(reach + 1, device=loc.device)[:, None]
        columns = torch.arange(2 * reach + 1, device=loc.device)
        within = self.kernel[:, :, reach, reach]
        for y, x in self._fronts(loc.device):
            near = (..., y[:, None, None] + rows, x[:, None, None] + columns)
            others = torch.einsum("...dnij,cdij->...cn", gone[near], self.kernel)
            own = [others[..., :0, :]]
            for c in range(shape[-3]):
                channels = torch.einsum("...dn,d->...n", torch.cat(own, -2), within[c, :c])
                shift = others[..., c, :] + channels
                found = draw_level(loc[..., c, y, x] + shift, scale[..., c, y, x])
                drawn[..., c, y, x] = found
                own.append((found - loc[..., c, y, x]).unsqueeze(-2))
            gone[..., y + reach, x + reach] = torch.cat(own, -2)
        return drawn

    def _fronts(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows and columns of pixels that do not depend on each other, in an order to draw them.

        A pixel depends on at most R columns to the right in the row above.
        """
        height, width = self.event_shape[-2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        front = x + (self._reach + 1) * y
        for number in range(int(front.max()) + 1):
            rows, columns = (front == number).nonzero(as_tuple=True)
            yield rows.to(device), columns.to(device)


def predicted(deviations: Tensor, kernel: Tensor) -> Tensor:
    """The deviations `(*, C, H, W)` that a kernel predicts from those before them."""
    reach = kernel.shape[-2] - 1
    before = pad(deviations.reshape(-1, *deviations.shape[-3:]), (reach, reach, reach, 0))
    return conv2d(before, kernel).reshape(deviations.shape)


def least_squares(deviations: Iterable[Tensor], causal: Tensor) -> Tensor:
    """The kernel that predicts deviations with the least mean square error.

    Args:
        deviations: batches `(B, C, H, W)`.
        causal: 1 where a coefficient of the kernel is not 0, `(C, C, R + 1, 2 R + 1)`.
    """
    channels, reach = len(causal), causal.shape[-2] - 1
    gram = torch.zeros(causal[0].numel(), causal[0].numel(), dtype=torch.double)
    for batch in deviations:
        columns = unfold(pad(batch, (reach, reach, reach, 0)), (reach + 1, 2 * reach + 1))
        gram += torch.einsum("bil,bjl->ij", columns, columns).double()
    kernel = torch.zeros_like(causal)
    for c in range(channels):
        itself = (c * (reach + 1) + reach) * (2 * reach + 1) + reach
        used = causal[c].flatten().nonzero().squeeze(-1)
        # Pixels that are equal in all images leave coefficients free: those are 0.
        inverse = torch.linalg.pinv(gram[used][:, used], rtol=1e-6, hermitian=True)
        found = inverse @ gram[used, itself]
        kernel[c].view(-1)[used] = found.to(kernel)
    return kernel
