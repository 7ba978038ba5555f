"""Densities of pixels other than the Normal."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import distributions
from pyrovae.likelihoods.base import DensityLikelihood
from pyrovae.likelihoods.location import LearnedScaleLikelihood, LocationLikelihood

__all__ = ["ContinuousBernoulli", "Laplace", "StudentT"]

#: The log odds of black pixels with dequantisation noise are -512; the interval of the search
#: for log odds, and how often it is halved.
LIMIT, HALVINGS = 600.0, 40


class Laplace(LearnedScaleLikelihood, DensityLikelihood):
    r"""Laplace likelihood: absolute errors, with one learned scale.

    $$p(x \mid h) = \prod_i \frac{1}{2 b} e^{-|x_i - h_i| / b}, \quad
    b = 0.001 + b_0 e^{10 a}$$

    Use it where sharp edges matter more than faint ones: the location fits the median.

    Args:
        initial_scale: the scale $b_0$ at the start, positive; `ProbabilisticPCA` as the
            start replaces it.

    Raises:
        ValueError: if `initial_scale` is not positive and finite.

    References:
        Loss Functions for Image Restoration with Neural Networks (Zhao et al., 2017,
        section III), https://arxiv.org/abs/1511.08861

    Example:
        >>> Laplace(0.099)(torch.zeros(2, 3, 8, 8)).event_shape
        torch.Size([3, 8, 8])
    """

    deviation = math.sqrt(2)

    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """A Laplace distribution per pixel, with the learned scale."""
        return dist.Laplace(loc, self.scale())


class StudentT(LearnedScaleLikelihood, DensityLikelihood):
    r"""Student's t likelihood: robust against outlier pixels, with one learned scale.

    $$p(x \mid h) = \prod_i \frac{\Gamma(\frac{\nu + 1}{2})}{\Gamma(\frac{\nu}{2})
    \sqrt{\pi \nu}\, \sigma} \left(1 + \frac{(x_i - h_i)^2}{\nu \sigma^2}\right)^{-(\nu+1)/2},
    \quad \sigma = 0.001 + \sigma_0 e^{10 a}$$

    Use it for images with outliers, such as occlusions, noise or defective pixels.

    Args:
        df: degrees of freedom $\nu$, above 2, so that the variance is finite.
        initial_scale: the scale $\sigma_0$ at the start, positive; `ProbabilisticPCA` as the
            start replaces it.

    Raises:
        ValueError: if a number is out of range.

    References:
        Student-t Variational Autoencoder for Robust Density Estimation (Takahashi et al., 2018),
        https://doi.org/10.24963/ijcai.2018/374

    Example:
        >>> StudentT(df=4.0)(torch.zeros(2, 3, 8, 8)).event_shape
        torch.Size([3, 8, 8])
    """

    def __init__(self, df: float = 5.0, initial_scale: float = 0.1) -> None:
        super().__init__(initial_scale)
        if not (df > 2 and math.isfinite(df)):
            raise ValueError(f"df must be above 2 and finite, got {df}")
        self.df = df
        self.deviation = math.sqrt(df / (df - 2))

    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """A Student's t distribution per pixel, with the learned scale."""
        return distributions.StudentT(loc.new_full((), self.df), loc, self.scale())

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"df={self.df}, {super().extra_repr()}"


class ContinuousBernoulli(LocationLikelihood, DensityLikelihood):
    r"""Continuous Bernoulli likelihood: a Bernoulli normalised to a density on [0, 1].

    $$\log p(x \mid h) = \sum_i h_i (x_i - \tfrac{1}{2})
    - \log\frac{\sinh(h_i / 2)}{h_i / 2}$$

    At exactly 0 and 1 the density has no upper bound. So training scores dequantised pixels, as
    for all densities.

    Use it for grey images that are almost black and white, such as MNIST without binarisation.

    References:
        The Continuous Bernoulli (Loaiza-Ganem and Cunningham, 2019, equation 3),
        https://arxiv.org/abs/1907.06845

    Example:
        >>> ContinuousBernoulli()(torch.zeros(3, 8, 8)).log_prob(torch.rand(3, 8, 8)).abs()
        tensor(0.)
    """

    has_scale = False

    def pixels(self, loc: Tensor) -> dist.TorchDistribution:
        """A continuous Bernoulli distribution per pixel, from its log odds."""
        return distributions.ContinuousBernoulli(loc)

    def without_latent(self, mean: Tensor, variance: Tensor) -> dist.TorchDistribution:
        """One continuous Bernoulli per pixel with this mean, with outliers.

        The mean rises with the log odds, which are found by halving an interval. They maximise
        the likelihood, since the family is exponential.
        """
        low, high = torch.full_like(mean, -LIMIT), torch.full_like(mean, LIMIT)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = distributions.ContinuousBernoulli(middle).mean > mean
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        pixels = distributions.ContinuousBernoulli((low + high) / 2)
        return distributions.WithOutliers(pixels, 1.0).to_event(3)
