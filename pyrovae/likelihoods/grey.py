"""Probabilities of the 256 grey values."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import distributions
from pyrovae.distributions.constraints import at_least, bounded_exp, bounded_log
from pyrovae.likelihoods.base import GreyLikelihood
from pyrovae.likelihoods.location import LearnedScaleLikelihood, ScaledLikelihood

__all__ = ["Categorical", "DiscretizedLogistic", "DiscretizedLogisticMixture"]


class DiscretizedLogistic(LearnedScaleLikelihood, GreyLikelihood):
    r"""Discretised logistic likelihood of the 256 grey values, with one learned scale.

    $$P(x \mid h) = \prod_i \sigma\left(\frac{x_i + \frac{1}{510} - h_i}{s}\right)
    - \sigma\left(\frac{x_i - \frac{1}{510} - h_i}{s}\right), \quad s = 0.001 + s_0 e^{10 a}$$

    where the bins of 0 and 1 extend to infinity.

    Use it for exact bits per dimension at the computational cost of a Normal.

    Args:
        initial_scale: the scale $s_0$ at the start, positive; `ProbabilisticPCA` as the
            start replaces it.

    Raises:
        ValueError: if `initial_scale` is not positive and finite.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016,
        appendix C), https://arxiv.org/abs/1606.04934

    Example:
        >>> likelihood = DiscretizedLogistic()
        >>> likelihood(torch.zeros(2, 3, 8, 8)).event_shape
        torch.Size([3, 8, 8])
    """

    deviation = math.pi / math.sqrt(3)

    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """A discretised logistic distribution per pixel, with the learned scale."""
        return distributions.DiscretizedLogistic(loc, self.scale())


class DiscretizedLogisticMixture(ScaledLikelihood, GreyLikelihood):
    r"""Mixture of discretised logistics per pixel, with dependent channels.

    $$P(x \mid h) = \prod_{\text{pixels}} \sum_{k=1}^{K} \pi_k \prod_{c=1}^{C}
    P_{\text{logistic}}\left(x_c \mid \mu_{kc} + \textstyle\sum_{j < c} a_{kcj}
    (x_j - \mu_{kj}), s_{kc}\right)$$

    with $s = \sigma e^{6 \tanh(r / 6)}$, $\sigma = 0.001 + \sigma_0 e^{10 \alpha}$ and
    $a = 2 \tanh(b)$ for the maps r and b and a learned $\alpha$. The initial locations are evenly
    spread over [0, 1]. The location of a channel depends on the residuals of the channels before
    it; in the paper it depends on their values. The family is the same, but here $\mu$ stays the
    mean.

    Use it for the best bits per dimension; only `Categorical` costs more.

    Args:
        num_components: number of logistics per pixel K, at least 1.
        initial_scale: the scale $\sigma_0$ where r is 0, positive; `ProbabilisticPCA` as the
            start replaces it.

    Raises:
        ValueError: if a number is not positive.

    References:
        PixelCNN++ (Salimans et al., 2017, sections 2.1 and 2.2), https://arxiv.org/abs/1701.05517

    Example:
        >>> likelihood = DiscretizedLogisticMixture(num_components=5)
        >>> likelihood.num_maps(3), likelihood.num_maps(1)
        (50, 15)
    """

    LOG_SCALE_LIMIT = 6.0

    def __init__(self, num_components: int = 10, initial_scale: float = 0.25) -> None:
        super().__init__(initial_scale)
        self.num_components = at_least("num_components", num_components, 1)

    def num_maps(self, channels: int) -> int:
        """A weight, C locations, C scales and C (C - 1) / 2 coefficients per component."""
        return self.num_components * sum(self._sizes(channels))

    def _sizes(self, channels: int) -> list[int]:
        return [1, channels, channels, channels * (channels - 1) // 2]

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, num_maps, H, W)`: batch `*`, event `(C, H, W)`."""
        maps = h.unflatten(-3, (self.num_components, -1))
        # 1 + 2 C + C (C - 1) / 2 maps per component, solved for C.
        channels = round((math.sqrt(1 + 8 * maps.shape[-3]) - 3) / 2)
        logits, shift, raw, coefficients = maps.split(self._sizes(channels), dim=-3)
        return distributions.DiscretizedLogisticMixture(
            logits=logits.squeeze(-3),
            loc=self._spread(h) + shift,
            scale=self.scale() * bounded_exp(raw, self.LOG_SCALE_LIMIT),
            coefficients=2 * coefficients.tanh(),
        )

    def _spread(self, like: Tensor) -> Tensor:
        """The locations of the components at maps of zero, `(K, 1, 1, 1)`."""
        steps = torch.arange(self.num_components, device=like.device, dtype=like.dtype)
        return ((steps + 0.5) / self.num_components)[:, None, None, None]

    def start_at(self, scale: float) -> float:
        """Sets the standard deviation that `maps` gives; returns the value that is set."""
        ratio = math.pi / math.sqrt(3) * self._widths().square().mean().sqrt().item()
        return ratio * self.scale.start_at(scale / ratio)

    def _widths(self) -> Tensor:
        """Scales of the components in `maps`, relative to their geometric mean, `(K,)`.

        They are equally spaced on a log scale, at most by a factor of 2, and within [1/8, 8].
        """
        half = min((self.num_components - 1) / 2, 3.0)
        return torch.linspace(-half, half, self.num_components).exp2()

    def maps(self, loc: Tensor) -> Tensor:
        """The maps `(*, num_maps, H, W)` whose location is the images `(*, C, H, W)`.

        The components differ in scale only.
        """
        logits, _, _, coefficients = self._sizes(loc.shape[-3])
        shift = loc.unsqueeze(-4) - self._spread(loc)
        raw = bounded_log(self._widths().to(loc), self.LOG_SCALE_LIMIT)[:, None, None, None]
        zeros = torch.zeros_like(shift[..., :1, :, :])
        parts = [
            zeros.expand(*zeros.shape[:-3], logits, *zeros.shape[-2:]),
            shift,
            raw.expand_as(shift),
            zeros.expand(*zeros.shape[:-3], coefficients, *zeros.shape[-2:]),
        ]
        return torch.cat(parts, -3).flatten(-4, -3)

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"num_components={self.num_components}, {super().extra_repr()}"


class Categorical(GreyLikelihood):
    r"""Categorical likelihood: one free probability per grey value, 256 per pixel and channel.

    $$P(x = k / 255 \mid h) = \prod_i e^{h_{ik}} / \textstyle\sum_{j=0}^{255} e^{h_{ij}}$$

    Use it for small images with few grey values; it needs 256 maps per channel, and ignores the
    order of the values.

    References:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016, section 3.4),
        https://arxiv.org/abs/1601.06759

    Example:
        >>> likelihood = Categorical()
        >>> likelihood(torch.zeros(likelihood.num_maps(1), 8, 8)).event_shape
        torch.Size([1, 8, 8])
    """

    has_scale = False

    def num_maps(self, channels: int) -> int:
        """256 maps of log weights per channel; those of the first channel come first."""
        return 256 * channels

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution for h `(*, 256 C, H, W)`: batch `*`, event shape `(C, H, W)`."""
        return distributions.GreyCategorical(h.unflatten(-3, (-1, 256)).movedim(-3, -1))
