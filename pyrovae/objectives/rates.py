"""Objectives that replace the KL term of the ELBO."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from pyro.distributions import Independent
from torch import Tensor

from pyrovae.distributions.constraints import not_negative, positive
from pyrovae.distributions.kl import divergence
from pyrovae.objectives.bounds import ElboTerms, Latent, PerImageELBO
from pyrovae.objectives.schedules import Progress, Schedule, Warmup

__all__ = ["GECO", "BetaTC", "Capacity", "FreeBits", "LayerFreeBits"]


def _mean(terms: list[Tensor]) -> Tensor:
    """The mean over the particles of all traces, `(B,)`, of terms `(K, B)`."""
    return torch.cat(terms).mean(0)


def _factors(latent: Latent) -> tuple[Any, Any] | None:
    """Per-dimension distributions of guide and model; None where dimensions are dependent."""
    q, p = latent.q, latent.p
    for fn in (q, p):
        if not isinstance(fn, Independent) or fn.reinterpreted_batch_ndims != len(fn.event_shape):
            return None
    return q.base_dist, p.base_dist


class _Floored(PerImageELBO):
    """Base of objectives that do not penalise a KL of a group of dimensions below a threshold.

    Args:
        threshold: nats, at least 0.
        **kwargs: the arguments of `PerImageELBO` for particles.
    """

    couples_batch = True
    maximises_elbo = False

    def __init__(self, threshold: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = not_negative("threshold", threshold)

    @abstractmethod
    def groups(self, latent: Latent) -> tuple[Tensor, float]:
        """Unweighted KL per group of a site, averaged over the batch, and a group's threshold."""

    def objective(self, terms: list[ElboTerms]) -> Tensor:
        """The loss in nats, summed over the images."""
        distortion = _mean([own.distortion for own in terms])
        loss = distortion.sum()
        for sites in zip(*(own.latents for own in terms), strict=True):
            rates, floors = zip(*map(self.groups, sites), strict=True)
            groups = _at_least(torch.stack(rates).mean(0), floors[0])
            loss = loss + len(distortion) * (sites[0].scale * groups).sum()
        return loss


class FreeBits(_Floored):
    r"""Does not penalise a KL below a threshold, so that dimensions do not collapse.

    $$\text{loss} = -\mathbb{E}_q[\log p(x \mid z)] + \sum_{d} \max\left(\lambda,\;
    \overline{KL}_d\right)$$

    where $\overline{KL}_d$ is the KL of dimension d, averaged over the batch: exact where it has a
    closed form, else estimated at the values drawn, also of a site that the guide draws before
    sites that precede it in the model. Where guide or model has dependent dimensions,
    all D dimensions of a site form one group, with a threshold of $\lambda D$.

    Use it against posterior collapse, which warm-up only delays.

    Args:
        threshold: $\lambda$, nats per dimension, at least 0; 0 gives the ELBO.
        **kwargs: the arguments of `PerImageELBO` for particles.

    Raises:
        ValueError: if a number is out of range.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016,
        appendix C), https://arxiv.org/abs/1606.04934
    """

    def __init__(self, threshold: float = 0.1, **kwargs: Any) -> None:
        super().__init__(threshold, **kwargs)

    def groups(self, latent: Latent) -> tuple[Tensor, float]:
        """KL per dimension and its threshold; of the site where dimensions are dependent."""
        rates = _rates(latent)
        return rates, self.threshold * latent.q.event_shape.numel() / len(rates)


class LayerFreeBits(_Floored):
    r"""Does not penalise a layer's KL below a threshold, so that no layer collapses.

    $$\text{loss} = -\mathbb{E}_q[\log p(x \mid z)] + \sum_{l} \max\left(\lambda,\;
    \overline{KL}_l\right)$$

    where $\overline{KL}_l$ is the KL of latent site l, averaged over the batch: exact where it has
    a closed form given the sites above, else estimated at the values drawn.

    Use it with `LadderVAE`, whose upper layers can collapse.

    Args:
        threshold: $\lambda$, nats per layer, at least 0; 0 gives the ELBO.
        **kwargs: the arguments of `PerImageELBO` for particles.

    Raises:
        ValueError: if a number is out of range.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016,
        appendix C), https://arxiv.org/abs/1606.04934, with a layer as the group
    """

    def __init__(self, threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(threshold, **kwargs)

    def groups(self, latent: Latent) -> tuple[Tensor, float]:
        """KL of the site, and the threshold."""
        return _rates(latent).sum().unsqueeze(0), self.threshold


def _at_least(rates: Tensor, floor: float) -> Tensor:
    """Clamps rates to the floor; a floor of 0 changes nothing, not even negative estimates."""
    return rates.clamp(min=floor) if floor > 0 else rates


def _rates(latent: Latent) -> Tensor:
    """Unweighted KL, averaged over the batch: per dimension, `(D,)`, or of the site, `(1,)`."""
    factors = _factors(latent)
    q, p = factors or (latent.q, latent.p)
    rates = divergence(q, p, latent.z, latent.ordered)
    return rates.reshape(-1, latent.q.event_shape.numel() if factors else 1).mean(0)


class Capacity(PerImageELBO):
    r"""Pulls the KL to a target that rises over the run.

    $$\text{loss} = -\mathbb{E}_q[\log p(x \mid z)] + \gamma\, |\overline{KL} - C(t)|$$

    where $\overline{KL}$ is the KL averaged over the batch, and $C(t)$ is `capacity` times the
    schedule.

    Use it to set how many nats the latents carry, and to activate them one after the other.

    Args:
        capacity: the final target, nats per image, at least 0.
        gamma: the weight $\gamma$ of the distance from the target, positive.
        schedule: the factor of the capacity over the run; null rises over the first half.
        **kwargs: the arguments of `PerImageELBO` for particles.

    Raises:
        ValueError: if a number is out of range.

    References:
        Understanding Disentangling in beta-VAE (Burgess et al., 2018, equation 8),
        https://arxiv.org/abs/1804.03599
    """

    couples_batch = True
    maximises_elbo = False

    def __init__(
        self,
        capacity: float = 25.0,
        gamma: float = 100.0,
        schedule: Schedule | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.capacity = not_negative("capacity", capacity)
        self.gamma = positive("gamma", gamma)
        self.schedule = schedule or Warmup(0.5)
        self.state |= {"target": torch.tensor(float(capacity))}

    @property
    def target(self) -> float:
        """The current target of the KL, in nats per image."""
        return float(self.state["target"])

    def begin_step(self, progress: Progress) -> None:
        """Sets the target of this step; the target is the whole capacity before the first call."""
        self.state["target"].fill_(self.capacity * self.schedule(progress))

    def objective(self, terms: list[ElboTerms]) -> Tensor:
        """The loss in nats, summed over the images."""
        distortion = _mean([own.distortion for own in terms])
        distance = (_mean([own.unweighted for own in terms]).mean() - self.state["target"]).abs()
        weight = self.gamma * terms[0].latents[0].scale
        return distortion.sum() + len(distortion) * weight * distance


class GECO(PerImageELBO):
    r"""Minimises the KL under a constraint on the distortion, with a Lagrange multiplier.

    $$\min_{\theta, \phi}\; KL(q \,\|\, p) \;\text{ where }\; c = \tfrac{1}{n}
    \mathbb{E}_q[-\log p(x \mid z)] - \kappa \le 0; \qquad
    \text{loss} = KL + \lambda n c, \quad \log \lambda \leftarrow \log \lambda + \eta\, \bar c$$

    where n is the number of pixels times channels and $\bar c$ the moving average of the
    constraint c. The multiplier starts at 1, where the loss is minus the ELBO up to a constant.
    Each training step updates it. It stays between $e^{-12}$ and $e^{12}$.

    Use it where you know how good reconstructions must be, but not which beta gives that.

    Args:
        target: $\kappa$, the distortion to reach, in nats per pixel and channel; it is positive
            for likelihoods that are probabilities (grey values, binary pixels).
        speed: $\eta$, the step size of the multiplier's logarithm, positive.
        memory: the decay of the moving average, within [0, 1).
        **kwargs: the arguments of `PerImageELBO` for particles.

    Attributes:
        state: the multiplier's logarithm and the moving average, saved with a run.

    Raises:
        ValueError: if a number is out of range.

    References:
        Taming VAEs (Rezende and Viola, 2018, algorithm 1), https://arxiv.org/abs/1810.00597
    """

    maximises_elbo = False
    LOG_LIMIT = 12.0

    def __init__(
        self, target: float, speed: float = 0.02, memory: float = 0.99, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not abs(target) < float("inf"):
            raise ValueError(f"target must be finite, got {target}")
        if not 0 <= memory < 1:
            raise ValueError(f"memory must lie in [0, 1), got {memory}")
        self.target_distortion, self.memory = target, memory
        self.speed = positive("speed", speed)
        self.state |= {"log_multiplier": torch.zeros(()), "average": torch.tensor(float("nan"))}

    def objective(self, terms: list[ElboTerms]) -> Tensor:
        """The loss in nats, summed over the images."""
        rate = _mean([own.rate for own in terms])
        distortion = _mean([own.distortion for own in terms])
        num_dims = terms[0].num_dims
        violation = distortion - self.target_distortion * num_dims
        multiplier = self.state["log_multiplier"].to(violation).exp()
        loss = (rate + multiplier * violation).sum()
        if torch.is_grad_enabled():  # Evaluating a loss must not update the multiplier.
            self._follow(violation.detach().mean() / num_dims, loss.isfinite())
        return loss

    @torch.no_grad()
    def _follow(self, violation: Tensor, finite: Tensor) -> None:
        state = {name: value.to(violation) for name, value in self.state.items()}
        before = torch.where(state["average"].isnan(), violation, state["average"])
        average = self.memory * before + (1 - self.memory) * violation
        moved = state["log_multiplier"] + self.speed * average
        moved = moved.clamp(-self.LOG_LIMIT, self.LOG_LIMIT)
        # A step whose loss is not finite is skipped, so it must not change the state.
        for name, value in (("average", average), ("log_multiplier", moved)):
            self.state[name] = torch.where(finite, value, state[name])


class BetaTC(PerImageELBO):
    r"""Splits the KL into three weighted parts, one of them the total correlation.

    $$\text{rate} = \underbrace{KL(q(z, n) \,\|\, q(z)\, p(n))}_{\alpha} + \underbrace{KL(q(z)
    \,\|\, \textstyle\prod_d q(z_d))}_{\beta} + \underbrace{\textstyle\sum_d KL(q(z_d) \,\|\,
    p(z_d))}_{\gamma}$$

    With a prior of dependent dimensions the last part is $\mathbb{E}_q[\log \prod_d q(z_d) - \log
    p(z)]$.

    The aggregate posteriors are estimated from the batch by minibatch weighted sampling. Outside
    `Trainer` the batch counts as the whole training split, unless `begin_step` is called.

    Use it for dimensions that are independent over the data, with less blur than a high beta.

    Args:
        alpha: weight of the mutual information of image and latents, at least 0.
        beta: weight of the total correlation, at least 0.
        gamma: weight of the sum of the KLs per dimension, at least 0.
        **kwargs: the arguments of `PerImageELBO` for particles.

    Raises:
        ValueError: if a number is out of range, or the guide's dimensions are dependent.

    References:
        Isolating Sources of Disentanglement in VAEs (Chen et al., 2018, equation 2),
        https://arxiv.org/abs/1802.04942
    """

    couples_batch = True
    maximises_elbo = False

    def __init__(
        self, alpha: float = 1.0, beta: float = 6.0, gamma: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
            not_negative(name, value)
        self.weights = (alpha, beta, gamma)
        self.state |= {"num_images": torch.zeros(())}  # 0 means the size of the batch.

    def numbers(self) -> dict[str, float]:
        """None: the number of images is not a measurement."""
        return {}

    def begin_step(self, progress: Progress) -> None:
        """Sets the number of training images; it is that of the batch before the first call."""
        self.state["num_images"].fill_(progress.num_images)

    def objective(self, terms: list[ElboTerms]) -> Tensor:
        """The loss in nats, summed over the images."""
        loss = _mean([own.distortion for own in terms]).sum()
        for sites in zip(*(own.latents for own in terms), strict=True):
            parts = torch.stack([self._parts(latent) for latent in sites]).mean(0)
            weighted = sum(w * part for w, part in zip(self.weights, parts, strict=True))
            loss = loss + (sites[0].scale * weighted).sum()
        return loss

    def _parts(self, latent: Latent) -> Tensor:
        """The three parts, `(3, B)`: without weights, averaged over particles."""
        fn = latent.q
        if not isinstance(fn, Independent) or fn.reinterpreted_batch_ndims != 1:
            raise ValueError(
                "BetaTC needs a posterior of independent dimensions, such as DiagonalNormal; the "
                f"guide's site '{latent.name}' is a {type(fn).__name__}"
            )
        # Log density of each draw i under the posterior of each image j: (B_i, K, B_j, D).
        each = fn.base_dist.log_prob(latent.z.movedim(-2, 0).unsqueeze(-2))
        count = each.shape[-2]
        known = self.state["num_images"].to(each)
        log_count = math.log(count) + known.where(known > 0, count).log()
        log_q_dims = (each.logsumexp(-2) - log_count).sum(-1)
        log_q = each.sum(-1).logsumexp(-1) - log_count
        own, prior = fn.log_prob(latent.z), latent.p.log_prob(latent.z)
        shape = (-1, count)
        log_q, log_q_dims = (t.movedim(0, -1).reshape(shape) for t in (log_q, log_q_dims))
        own, prior = own.reshape(shape), prior.expand_as(own).reshape(shape)
        return torch.stack([own - log_q, log_q - log_q_dims, log_q_dims - prior]).mean(1)
