"""Mixture priors, with learned components or posteriors of the guide as components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions import Mixture
from pyrovae.distributions.constraints import at_least, bounded_exp
from pyrovae.priors.base import Prior
from pyrovae.utils.modes import evaluation_mode

__all__ = ["GaussianMixture", "VampPrior"]


class GaussianMixture(Prior):
    r"""Mixture of Normals with learned weights, locations and scales.

    $$p(z) = \sum_{k=1}^{K} \pi_k \prod_{d=1}^{D} \mathcal{N}(z_d \mid \mu_{kd}, \sigma_{kd}^2),
    \quad \sigma = e^{7 \tanh(s / 7)}$$

    It starts near the standard Normal: the locations have variance 1/4 around zero, and the
    components have variance 3/4.

    Use it where the data form clusters, or where samples of the standard Normal look worse than
    reconstructions.

    Args:
        latent_dim: number of latent dimensions D, at least 1.
        num_components: number of Normals K, at least 1.

    Raises:
        ValueError: if a number is not positive.

    References:
        Approximate Inference for Deep Latent Gaussian Mixtures (Nalisnick et al., 2016);
        as a baseline in VAE with a VampPrior (Tomczak and Welling, 2018, section 4),
        https://arxiv.org/abs/1705.07120

    Example:
        >>> prior = GaussianMixture(latent_dim=2, num_components=3)
        >>> prior().sample((5,)).shape
        torch.Size([5, 2])
    """

    LOG_SCALE_LIMIT = 7.0

    def __init__(self, latent_dim: int = 128, num_components: int = 10) -> None:
        super().__init__(latent_dim)
        self.num_components = at_least("num_components", num_components, 1)
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(0.5 * torch.randn(num_components, latent_dim))
        log_scale = torch.full((num_components, latent_dim), math.log(0.75) / 2)
        self.raw_scale = nn.Parameter(log_scale)

    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""
        scale = bounded_exp(self.raw_scale, self.LOG_SCALE_LIMIT)
        components = dist.Normal(self.loc, scale).to_event(1)
        return Mixture(dist.Categorical(logits=self.logits), components)

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"latent_dim={self.latent_dim}, num_components={self.num_components}"


class VampPrior(Prior):
    r"""Variational mixture of posteriors: a mixture of the guide's posteriors of pseudo-inputs.

    $$p(z) = \frac{1}{K} \sum_{k=1}^{K} q(z \mid u_k), \quad u_k \in [0, 1]^{C \times H \times W}$$

    The pseudo-inputs $u_k$ are images that are learned with the networks. The constructor of
    `VAE` passes its guide to the prior. Pseudo-inputs are encoded with batch norm in evaluation
    mode, so that they do not change its statistics.

    Use it for a better bound than with a fixed prior; each step encodes K additional images.

    Args:
        latent_dim: number of latent dimensions D, at least 1.
        image_shape: `(C, H, W)` of the images.
        num_components: number of pseudo-inputs K, at least 1.

    Raises:
        ValueError: if a number is not positive.

    References:
        VAE with a VampPrior (Tomczak and Welling, 2018, equation 9),
        https://arxiv.org/abs/1705.07120

    Example:
        >>> from pyrovae import *
        >>> vae = VAE(
        ...     encoder=MLPEncoder((1, 8, 8), num_outputs=4),
        ...     decoder=MLPDecoder((1, 8, 8), latent_dim=2, num_maps=1),
        ...     prior=VampPrior(2, (1, 8, 8), num_components=5),
        ...     likelihood=Normal(),
        ...     posterior=DiagonalNormal(2),
        ... )
        >>> vae.model.z_dist().component_distribution.batch_shape
        torch.Size([5])
    """

    uses_guide = True

    def __init__(
        self,
        latent_dim: int = 128,
        image_shape: Sequence[int] = (3, 64, 64),
        num_components: int = 500,
    ) -> None:
        super().__init__(latent_dim)
        self.num_components = at_least("num_components", num_components, 1)
        if len(image_shape) != 3 or min(image_shape) < 1:
            raise ValueError(f"image_shape must be (C, H, W), got {tuple(image_shape)}")
        self.raw_inputs = nn.Parameter(torch.randn(num_components, *image_shape))
        # In a tuple, so that the guide does not become a submodule of the prior.
        self._guide: tuple[Any, ...] = ()

    def use_guide(self, guide: nn.Module) -> None:
        """Sets the guide whose posteriors are the components: a module with `z_dist(x)`.

        Raises:
            ValueError: if the prior has another guide already.
        """
        if self._guide and self._guide[0] is not guide:
            raise ValueError("this VampPrior belongs to another VAE: create one VampPrior per VAE")
        self._guide = (guide,)

    @property
    def pseudo_inputs(self) -> Tensor:
        """The images $u_k$, floats in [0, 1], `(K, C, H, W)`."""
        return self.raw_inputs.sigmoid()

    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""
        if not self._guide:
            raise ValueError("VampPrior has no guide yet: pass the prior to a VAE first")
        guide = self._guide[0]
        with evaluation_mode(guide):
            components = guide.z_dist(self.pseudo_inputs)
        weights = self.raw_inputs.new_zeros(self.num_components)
        return Mixture(dist.Categorical(logits=weights), components)

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"latent_dim={self.latent_dim}, num_components={self.num_components}"
