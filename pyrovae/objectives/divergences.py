"""Objectives that compare draws of the aggregate posterior with the prior."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from pyrovae.distributions.constraints import not_negative
from pyrovae.objectives.bounds import ElboTerms, Latent, PerImageELBO

__all__ = ["DIP", "MMD"]


class _OfDraws(PerImageELBO):
    """Base of objectives with a penalty on the draws of a batch.

    Attributes:
        kept: the weight of the rate.
        share: the weight of the penalty.
    """

    couples_batch = True
    maximises_elbo = False
    kept = share = 1.0

    @abstractmethod
    def _of_site(self, latent: Latent) -> Tensor:
        """The penalty on a site, in nats per image."""

    def objective(self, terms: list[ElboTerms]) -> Tensor:
        """The loss in nats, summed over the images."""
        losses = torch.cat([own.distortion + self.kept * own.rate for own in terms])
        loss, count = losses.mean(0).sum(), losses.shape[1]
        for sites in zip(*(own.latents for own in terms), strict=True):
            found = [latent.scale * self._of_site(latent) for latent in sites]
            loss = loss + count * self.share * torch.stack(found).mean()
        return loss


class MMD(_OfDraws):
    r"""Replaces the KL, or a share of it, by the MMD of the aggregate posterior and the prior.

    $$\text{loss} = -\mathbb{E}_q[\log p(x \mid z)] + (1 - \alpha)\, KL + (\alpha + \lambda - 1)\,
    MMD(q(z) \,\|\, p(z))$$

    where MMD is the squared maximum mean discrepancy. It is estimated without bias from the draws
    of a batch and the same number of draws of the prior. The kernel is the sum of seven inverse
    multiquadratic kernels $c / (c + \lVert z - z' \rVert^2)$ with $c = 2 D s$, s from 0.1 to 10.

    Use it for latents that carry more information about each image than under the ELBO, while
    samples of the prior still decode well.

    Args:
        alpha: $\alpha$, the share of the KL that is removed; 1 leaves the MMD only.
        weight: $\lambda$, the weight of the MMD, in nats per image; at least 1 - alpha.
        **kwargs: the arguments of `PerImageELBO` for particles.

    Raises:
        ValueError: if a number is out of range.

    References:
        InfoVAE (Zhao et al., 2019, equation 6), https://arxiv.org/abs/1706.02262; the kernel as
        in Wasserstein Auto-Encoders (Tolstikhin et al., 2018, section 4),
        https://arxiv.org/abs/1711.01558
    """

    SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

    def __init__(self, alpha: float = 0.5, weight: float = 1000.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not alpha <= 1:
            raise ValueError(f"alpha must be at most 1, got {alpha}")
        if not 1 - alpha <= weight < float("inf"):
            raise ValueError(f"weight must be at least 1 - alpha = {1 - alpha}, got {weight}")
        self.kept, self.share = 1 - alpha, alpha + weight - 1

    def _of_site(self, latent: Latent) -> Tensor:
        """The squared MMD of a site, with a gradient in the prior's parameters too."""
        p, z = latent.p, latent.z
        batch = z.shape[: z.dim() - latent.q.event_dim]
        fresh = (p.rsample if p.has_rsample else p.sample)().expand(z.shape)
        first, second = (t.reshape(*batch, -1) for t in (z, fresh))
        found = self.discrepancy(first, second)
        if p.has_rsample:
            return found
        # Draws of a mixture are not reparameterised: the score-function estimator gives the
        # gradient in the prior's parameters.
        count = batch[-1]
        off_diagonal = 1 - torch.eye(count, dtype=z.dtype, device=z.device)
        within = (self._kernel(second, second) * off_diagonal).sum(-1) / (count - 1)
        added = 2 * (within - self._kernel(second, first).mean(-1)) / count
        score = (added.detach() * p.log_prob(fresh)).sum(-1).mean()
        return found + score - score.detach()

    def discrepancy(self, first: Tensor, second: Tensor) -> Tensor:
        """The squared MMD of two sets of draws, `(*, B, D)`, averaged over `*`."""
        count = first.shape[-2]
        if count < 2:
            raise ValueError("MMD needs batches of at least 2 images")
        off_diagonal = 1 - torch.eye(count, dtype=first.dtype, device=first.device)
        within = (self._kernel(first, first) + self._kernel(second, second)) * off_diagonal
        between = self._kernel(first, second).mean((-2, -1))
        return (within.sum((-2, -1)) / (count * (count - 1)) - 2 * between).mean()

    def _kernel(self, first: Tensor, second: Tensor) -> Tensor:
        # From differences, since at equal points the gradient of a distance is not finite.
        square = (first.unsqueeze(-2) - second.unsqueeze(-3)).square().sum(-1)
        sizes = [2 * first.shape[-1] * scale for scale in self.SCALES]
        return sum((c / (c + square) for c in sizes), torch.zeros_like(square))


class DIP(_OfDraws):
    r"""Adds a penalty on the covariance of the aggregate posterior, as DIP-VAE-II does.

    $$\text{loss} = -\text{ELBO} + \lambda_o \sum_{i \ne j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} -
    1)^2, \quad C = \text{Cov}_{q(z)}[z]$$

    where C is the covariance of the draws of a batch of B images. The squares of estimates are
    too large on average, by about $C_{ii} C_{jj} / B$ each, which makes variances smaller where
    there are many dimensions and few images per batch.

    Use it for dimensions that are uncorrelated over the data, at a smaller loss of ELBO than with
    a high beta.

    Args:
        off_diagonal: $\lambda_o$, the weight of the covariances, in nats per image, at least 0.
        diagonal: $\lambda_d$, the weight of the distances of variances from 1, at least 0.
        **kwargs: the arguments of `PerImageELBO` for particles.

    Raises:
        ValueError: if a number is out of range.

    References:
        Variational Inference of Disentangled Latent Concepts from Unlabeled Observations (Kumar
        et al., 2018, section 3), https://arxiv.org/abs/1711.00848
    """

    def __init__(self, off_diagonal: float = 10.0, diagonal: float = 10.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.off_diagonal = not_negative("off_diagonal", off_diagonal)
        self.diagonal = not_negative("diagonal", diagonal)

    def _of_site(self, latent: Latent) -> Tensor:
        z = latent.z.reshape(*latent.z.shape[: latent.z.dim() - latent.q.event_dim], -1)
        return self.penalty(z)

    def penalty(self, z: Tensor) -> Tensor:
        """The penalty in nats of draws `(*, B, D)`, averaged over `*`."""
        count = z.shape[-2]
        if count < 2:
            raise ValueError("DIP needs batches of at least 2 images")
        centred = z - z.mean(-2, keepdim=True)
        eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        weights = self.off_diagonal * (1 - eye) + self.diagonal * eye
        # Products of estimates from two halves have no bias, but no lower limit either: with
        # large weights and small batches the variances then grow without end.
        squares = (centred.mT @ centred / (count - 1) - eye).square()
        return (weights * squares).sum((-2, -1)).mean()
