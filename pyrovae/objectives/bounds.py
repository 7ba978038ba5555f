"""Bounds that need the terms per image and particle, which Pyro's ELBOs sum over."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace
from torch import Tensor

from pyrovae.distributions.constraints import at_least
from pyrovae.objectives.base import LossTerms, Objective
from pyrovae.objectives.gradients import stop_gradients
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.sites import drawn_in_order, latent_sites, observed_sites

__all__ = ["DReG", "ElboTerms", "IWAE", "Latent", "PerImageELBO", "StickingTheLanding"]


@dataclass(frozen=True)
class Latent:
    """A latent site in one trace of guide and model; log densities are `(K, B)`, in nats.

    Attributes:
        name: the name of the site.
        q: its distribution in the guide.
        p: its distribution in the model.
        z: the value drawn.
        scale: the weight of its log densities, set by `ScaleLatents`.
        log_q: log density under the guide, weighted.
        log_p: log density under the model, weighted.
        unweighted: log q - log p at the value drawn, without the weight.
        ordered: whether the mean of log q - log p is a KL given the sites drawn before, see
            `drawn_in_order`.
    """

    name: str
    q: Any
    p: Any
    z: Tensor
    scale: float | Tensor
    log_q: Tensor
    log_p: Tensor
    unweighted: Tensor
    ordered: bool = True

    @property
    def rate(self) -> Tensor:
        """Log q - log p at the value drawn, weighted, `(K, B)`."""
        return self.log_q - self.log_p


@dataclass(frozen=True)
class ElboTerms:
    """The terms of the ELBO in one trace of guide and model, of K particles and B images.

    Attributes:
        latents: the latent sites.
        distortion: the negative log likelihood of the observed sites, `(K, B)`, in nats.
        num_dims: the number of pixels times channels of an image.
        unscaled: the distortion without the weights of `poutine.scale`, `(K, B)`.
    """

    latents: list[Latent]
    distortion: Tensor
    num_dims: int
    unscaled: Tensor

    @property
    def rate(self) -> Tensor:
        """Log q - log p at the values drawn, weighted, `(K, B)`."""
        return sum((latent.rate for latent in self.latents), torch.zeros_like(self.distortion))

    @property
    def unweighted(self) -> Tensor:
        """Log q - log p at the values drawn, without the weights, `(K, B)`."""
        zero = torch.zeros_like(self.distortion)
        return sum((latent.unweighted for latent in self.latents), zero)


class PerImageELBO(Recorded, Objective, ELBO):
    """Base of objectives that are functions of the terms per image and particle.

    All latent sites must lie in the plate of images and be reparameterised. Their weight, set by
    `Beta`, multiplies the KL or its replacement. In bounds of several particles it multiplies the
    log density ratio within each importance weight.

    Args:
        num_particles: draws of the latents per image, K, at least 1.
        vectorize_particles: whether to draw all particles at once, along a new leftmost
            dimension, instead of one after the other.
        max_plate_nesting: the number of nested plates, the plate of images included.

    Raises:
        ValueError: if `num_particles` is not positive.
    """

    def __init__(
        self, num_particles: int = 1, vectorize_particles: bool = True, max_plate_nesting: int = 1
    ) -> None:
        at_least("num_particles", num_particles, 1)
        how = {"vectorize_particles": vectorize_particles, "max_plate_nesting": max_plate_nesting}
        super().__init__(num_particles=num_particles, **how)

    @abstractmethod
    def objective(self, terms: list[ElboTerms]) -> Tensor:
        """The loss in nats, summed over the images.

        Args:
            terms: one trace of K particles, or K traces of one particle each.
        """

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """The loss in nats, summed over the images, as a differentiable tensor."""
        traces = self._get_traces(model, guide, args, kwargs)
        terms = [self._read(model, guide, args[0]) for model, guide in traces]
        both = ([own.unweighted for own in terms], [own.unscaled for own in terms])
        rate, distortion = (torch.cat(each).mean().detach() for each in both)
        self.rate_and_distortion = rate, distortion
        return self.objective(terms)

    def loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> float:
        """The loss in nats, summed over the images."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> float:
        """Computes and accumulates the gradients; returns the loss in nats, summed over images."""
        return self._backward(model, guide, *args, **kwargs).item()

    def terms_and_grads(
        self, beta: float | Tensor, model: Any, guide: Any, x: Tensor, **inputs: Any
    ) -> LossTerms:
        """Accumulates the gradients of the summed loss; returns the terms without a sync."""
        loss = self._backward(model, guide, x, **inputs) / len(x)
        assert self.rate_and_distortion is not None
        rate, distortion = self.rate_and_distortion
        return LossTerms(loss, -(rate + distortion), rate)

    def _backward(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.detach()

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> Any:
        return get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)

    def _read(self, model_trace: Any, guide_trace: Any, x: Tensor) -> ElboTerms:
        """The terms of a guide trace and a model trace."""

        def spread(site: Any, kind: str = "log_prob") -> Tensor:
            return self._per_image(site["name"], site[kind], len(x))

        latents = []
        ordered = drawn_in_order(guide_trace, model_trace)
        for name in latent_sites(guide_trace):
            q = guide_trace.nodes[name]
            _check_reparameterised(q)
            if name not in model_trace:
                raise ValueError(f"site '{name}' of the guide is not in the model")
            p = model_trace.nodes[name]
            unweighted = spread(q, "unscaled_log_prob") - spread(p, "unscaled_log_prob")
            logs = (spread(q), spread(p), unweighted, name in ordered)
            latents.append(Latent(name, q["fn"], p["fn"], q["value"], q["scale"], *logs))
        observed = [model_trace.nodes[name] for name in observed_sites(model_trace)]
        weighted, unscaled = (
            -torch.stack([spread(site, kind) for site in observed]).sum(0)
            for kind in ("log_prob", "unscaled_log_prob")
        )
        return ElboTerms(latents, weighted, x[0].numel(), unscaled)

    def _per_image(self, name: str, log_prob: Tensor, num_images: int) -> Tensor:
        """Log densities as `(K, B)`, summed over the plates between particles and images."""
        if log_prob.dim() == 0 or log_prob.shape[-1] != num_images:
            raise ValueError(f"site '{name}' lies outside the plate of images")
        if not self.vectorize_particles or self.num_particles == 1:
            return log_prob.reshape(-1, num_images).sum(0, keepdim=True)
        return log_prob.reshape(self.num_particles, -1, num_images).sum(1)


def _check_reparameterised(site: Any) -> None:
    if not getattr(site["fn"], "has_rsample", False):
        kind = type(site["fn"]).__name__
        raise ValueError(f"site '{site['name']}' has no reparameterised draws ({kind})")


class IWAE(PerImageELBO):
    r"""Importance-weighted bound, which approaches log p(x) as the number of particles grows.

    $$L_K = \mathbb{E}_{z_1 \dots z_K \sim q}\left[\log \frac{1}{K} \sum_{k=1}^{K} w_k\right],
    \quad w_k = \frac{p(x \mid z_k)\, p(z_k)}{q(z_k \mid x)}$$

    Use it for a better model at K times the cost of the decoder. The guide's gradient gets noisier
    as K grows; `DReG` avoids that.

    Args:
        num_particles: draws of the latents for each image, K, at least 1.
        **kwargs: the other arguments of `PerImageELBO`.

    Raises:
        ValueError: if `num_particles` is not positive.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016, equation 8),
        https://arxiv.org/abs/1509.00519
    """

    def __init__(self, num_particles: int = 5, **kwargs: Any) -> None:
        super().__init__(num_particles, **kwargs)
        self.prefers_wide_guide = num_particles > 1

    def objective(self, terms: list[ElboTerms]) -> Tensor:
        """The loss in nats, summed over the images."""
        log_weights = -torch.cat([own.rate + own.distortion for own in terms])
        return -_log_mean_exp(log_weights).sum()


def _log_mean_exp(log_weights: Tensor) -> Tensor:
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def _path_rate(terms: ElboTerms) -> Tensor:
    """The weighted rate, `(K, B)`, whose gradient reaches the guide only through the draws."""
    if len(terms.latents) != 1:
        names = ", ".join(latent.name for latent in terms.latents)
        raise ValueError(f"path gradients need one latent site, the guide has {names or 'none'}")
    (latent,) = terms.latents
    log_q = stop_gradients(latent.q).log_prob(latent.z)
    weighted = scale_and_mask(log_q, latent.scale)
    return weighted.reshape(latent.log_p.shape) - latent.log_p


class StickingTheLanding(PerImageELBO):
    r"""The ELBO with path gradients, whose variance is zero where the guide is exact.

    $$\nabla_\phi L = \mathbb{E}_{\epsilon}\left[\nabla_z \left(\log p(x, z)
    - \log q_\phi(z \mid x)\right) \nabla_\phi z(\epsilon, \phi)\right]$$

    The value is that of the ELBO. The omitted term of the gradient, the score, has mean zero.

    Use it late in training or with flexible posteriors, where gradient noise matters.

    Args:
        **kwargs: the arguments of `PerImageELBO` for particles.

    Raises:
        ValueError: if `num_particles` is not positive, or the guide has several latent sites.

    References:
        Sticking the Landing (Roeder et al., 2017), https://arxiv.org/abs/1703.09194
    """

    def objective(self, terms: list[ElboTerms]) -> Tensor:
        """The loss in nats, summed over the images."""
        return torch.cat([_path_rate(own) + own.distortion for own in terms]).mean(0).sum()


class DReG(IWAE):
    r"""Importance-weighted bound with doubly reparameterised gradients for the guide.

    $$\nabla_\phi L_K = \mathbb{E}\left[\sum_{k=1}^{K}
    \tilde w_k\, (1 - \beta + \beta \tilde w_k)\, \frac{\partial \log w_k}{\partial z_k}
    \frac{\partial z_k}{\partial \phi}\right], \quad
    w_k = p(x \mid z_k) \left(\frac{p(z_k)}{q(z_k \mid x)}\right)^{\beta}, \quad
    \tilde w_k = \frac{w_k}{\sum_j w_j}$$

    The value and the gradient of the model's parameters are those of `IWAE`. The paper has
    $\beta = 1$.

    Use it in place of `IWAE`: the signal-to-noise ratio of the guide's gradient does not fall as
    K grows.

    Args:
        num_particles: draws of the latents for each image, K, at least 1.
        **kwargs: the other arguments of `PerImageELBO`.

    Raises:
        ValueError: if `num_particles` is not positive, or the guide has several latent sites.

    References:
        Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives (Tucker et al.,
        2019), https://arxiv.org/abs/1810.04152
    """

    def objective(self, terms: list[ElboTerms]) -> Tensor:
        """The loss in nats, summed over the images."""
        log_weights = -torch.cat([_path_rate(own) + own.distortion for own in terms])
        weights = log_weights.softmax(0).detach()
        size = 1 if len(terms) > 1 else len(weights)
        for own, share in zip(terms, weights.split(size), strict=True):
            (latent,) = own.latents
            _weigh_gradient(latent.z, 1 - latent.scale + latent.scale * share)
        surrogate = -(weights * log_weights).sum()
        bound = -_log_mean_exp(log_weights.detach()).sum()
        return bound + surrogate - surrogate.detach()


def _weigh_gradient(z: Tensor, weights: Tensor) -> None:
    """Multiplies the gradient that reaches draws `(K, B, ...)` or `(B, ...)` by `(K, B)`."""
    if z.requires_grad:
        event = z.numel() // weights.numel()
        shape, factor = (*weights.shape, event), weights[..., None]
        z.register_hook(lambda grad: (grad.reshape(shape) * factor).reshape(z.shape))
