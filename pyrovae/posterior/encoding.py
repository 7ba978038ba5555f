"""What the guide says of each image of a split, dimension by dimension."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from pyro.distributions import Independent
from torch import Tensor
from torch.distributions import (
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from pyrovae.data import Split
from pyrovae.distributions.moments import Marginal, marginal, marginals, moments
from pyrovae.engine import Engine
from pyrovae.posterior.elbo import divergence
from pyrovae.posterior.passes import each_batch
from pyrovae.posterior.space import LatentSpace
from pyrovae.programs.pair import Programs, run_both
from pyrovae.utils.sites import latent_sites

if TYPE_CHECKING:
    import pandas

__all__ = ["Encoded", "dimension_divergences", "encode", "told_of"]


#: Draws of a posterior for a divergence that has no other form.
DRAWS = 100
#: What is known of each image in each dimension.
BY_DIMENSION = ("loc", "scale", "told", "noise", "kl", "draws")


@dataclass(frozen=True)
class Encoded:
    """What the guide says of N images, over the D dimensions of all sites side by side.

    Attributes:
        names: of the dimensions.
        loc: means of the posteriors, `(N, D)`, over draws of the sites that one depends on.
        scale: their standard deviations, `(N, D)`.
        told: `loc` less the prior's mean given the image's attributes, where there are any and
            there is one latent site, `(N, D)`; `loc` else.
        noise: expected squared errors of `told`, `(N, D)`: 0 unless draws stand for means.
        kl: divergence of each dimension's marginal from the prior's, `(N, D)`, in nats.
        exact: whether the divergences of a dimension are exact, `(D,)`; else they are those of
            Normals of the same moments.
        rate: the divergence of all dimensions together, `(N,)`, in nats; NaN where the guide has
            no density.
        distortion: minus log p(x given the draw), `(N,)`, in nats.
        draws: one draw an image, `(N, D)`.
    """

    names: list[str]
    loc: np.ndarray
    scale: np.ndarray
    told: np.ndarray
    noise: np.ndarray
    kl: np.ndarray
    exact: np.ndarray
    rate: np.ndarray
    distortion: np.ndarray
    draws: np.ndarray

    def __len__(self) -> int:
        return len(self.loc)

    def only(self, columns: np.ndarray) -> Encoded:
        """Some of the dimensions; rate and distortion stay those of all."""
        names = [self.names[column] for column in columns]
        parts = {field: getattr(self, field)[:, columns] for field in BY_DIMENSION}
        return replace(self, names=names, exact=self.exact[columns], **parts)

    def table(self, images: list[str] | None = None) -> pandas.DataFrame:
        """A row an image and dimension: `loc`, `scale` and `kl`.

        Args:
            images: names of the images; by default their places.
        """
        import pandas

        index = pandas.MultiIndex.from_product(
            [images if images is not None else range(len(self)), self.names],
            names=["image", "dimension"],
        )
        columns = {name: getattr(self, name).ravel() for name in ("loc", "scale", "kl")}
        return pandas.DataFrame(columns, index=index)


def encode(
    programs: Programs, images: Split | np.ndarray, engine: Engine, *, seed: int = 0
) -> Encoded:
    """Encodes a split: moments of the posteriors, divergences from the prior, one draw an image.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or where the programs need no attributes its uint8 images
            `(N, C, H, W)`.
        engine: where to compute.
        seed: seed of the draws.
    """

    def compute(x: Tensor, **inputs: Tensor) -> dict[str, Any]:
        guide, model = run_both(programs.model, programs.guide, x, **inputs)
        space = LatentSpace(
            programs,
            {name: guide.nodes[name]["fn"].event_shape for name in latent_sites(guide)},
        )
        every = marginals(programs.guide, guide, list(space.shapes), x, **inputs)
        return {"names": space.names} | _said(space, guide, model, every, bool(inputs))

    with pyro.get_param_store().scope():
        found = list(each_batch(programs, images, engine, compute, seed=seed))
    arrays = [field.name for field in fields(Encoded) if field.name not in ("names", "exact")]
    joined = {name: torch.cat([b[name] for b in found]).cpu().double().numpy() for name in arrays}
    return Encoded(names=found[0]["names"], exact=found[0]["exact"], **joined)


def _said(
    space: LatentSpace, guide: Any, model: Any, every: dict[str, Marginal], given: bool
) -> dict[str, Any]:
    """What the traces of a batch say of each image; `given` more than the image or not."""
    columns: dict[str, list[Tensor]] = {name: [] for name in BY_DIMENSION}
    exact, rates = [], []
    for name in space.shapes:
        q, p, z = guide.nodes[name]["fn"], model.nodes[name]["fn"], guide.nodes[name]["value"]
        # First: flows that can only invert what they drew last forget it for other draws.
        rates.append(_rate(q, p, z))
        loc, scale, noise = every[name]
        told, noise = told_of(loc, noise, p, given and len(every) == 1)
        divergences, known = dimension_divergences(q, p)
        values = (loc, scale, told, noise, divergences, z)
        for column, own in zip(columns, values, strict=True):
            columns[column].append(own.expand(z.shape).reshape(len(z), -1))
        exact += [known] * q.event_shape.numel()
    node = model.nodes["x"]
    return {
        **{name: torch.cat(parts, -1) for name, parts in columns.items()},
        "exact": np.array(exact),
        "rate": sum(rates[1:], rates[0]),
        "distortion": -node["fn"].log_prob(node["value"]),
    }


def told_of(loc: Tensor, noise: Tensor, prior: Any, given: bool) -> tuple[Tensor, Tensor]:
    """What posterior means tell besides what was given, and the expected squared error of it.

    Args:
        loc: means of the posteriors `(B, ...)`.
        noise: expected squared errors of them.
        prior: the distribution in the model, which attributes may have moved.
        given: whether they may; else the means are what is told.
    """
    if not given:
        return loc, noise
    mean, _, error = marginal(prior)
    return loc - mean, noise + error


def _rate(q: Any, p: Any, z: Tensor) -> Tensor:
    """The divergence of q from p at z; NaN where one of them has no density."""
    try:
        return divergence(q, p, z)
    except NotImplementedError:
        return torch.full(q.batch_shape, torch.nan, device=z.device)


def dimension_divergences(q: Any, p: Any) -> tuple[Tensor, bool]:
    r"""The divergence of each dimension of q from that of p, and whether it is exact.

    $$KL(q(z_d \mid x) \,\|\, p(z_d))$$

    Where the dimensions of both are independent these add up to the rate. Else they are those of
    Normals with the moments of the marginals, exact for a Normal posterior and prior: for an
    independent prior the rate is larger by what the dimensions tell of each other. Where there
    are no such moments, as of a Cauchy prior, they are means over draws.

    Args:
        q: a distribution of event shape `(D,)`.
        p: another.

    Returns:
        Nats, `(*, D)`.

    Example:
        >>> import pyro.distributions as dist
        >>> q, p = (dist.Normal(torch.tensor([m, 0.0]), 1.0).to_event(1) for m in (2.0, 0.0))
        >>> dimension_divergences(q, p)
        (tensor([2., 0.]), True)
    """
    if all(isinstance(fn, Independent) and fn.reinterpreted_batch_ndims == 1 for fn in (q, p)):
        try:
            return kl_divergence(q.base_dist, p.base_dist), True
        except NotImplementedError:
            pass
    found = [moments(fn) for fn in (q, p)]
    if not all(value.isfinite().all() for both in found for value in both):
        return _drawn_divergences(q, p, found[0][0]), False
    marginals = [Normal(loc, scale.clamp(min=1e-12)) for loc, scale in found]
    return kl_divergence(*marginals), all(_has_normal_marginals(fn) for fn in (q, p))


def _drawn_divergences(q: Any, p: Any, loc: Tensor) -> Tensor:
    """Of each dimension, by draws of q, which must be independent in both; else NaN like loc."""
    if not all(isinstance(fn, Independent) and fn.reinterpreted_batch_ndims == 1 for fn in (q, p)):
        return torch.full_like(loc, torch.nan)
    z = q.base_dist.sample((DRAWS,))
    return (q.base_dist.log_prob(z) - p.base_dist.log_prob(z)).mean(0)


def _has_normal_marginals(fn: Any) -> bool:
    base = fn.base_dist if isinstance(fn, Independent) else fn
    return isinstance(base, (Normal, MultivariateNormal, LowRankMultivariateNormal))
