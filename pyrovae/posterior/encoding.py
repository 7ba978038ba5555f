"""The posteriors of all images of a split, per latent dimension."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from pyro.distributions import Independent
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    kl_divergence,
)

from pyrovae.data import Split
from pyrovae.distributions.kl import divergence
from pyrovae.distributions.moments import Marginal, is_discrete, marginal, marginals, moments
from pyrovae.engine import Engine
from pyrovae.posterior.passes import each_batch
from pyrovae.posterior.space import LatentSpace
from pyrovae.programs.pair import ModelGuidePair, run_both
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas
from pyrovae.utils.sites import drawn_in_order, latent_sites

__all__ = ["ACTIVE", "Encoding", "dimension_divergences", "encode"]

#: Threshold of the variance of the posterior mean for an active unit; relative to the variance of
#: the prior where that is below 1, as on a sphere.
ACTIVE = 0.01
#: Number of posterior draws for a KL without a closed form or moments.
DRAWS = 100
#: The fields of an `Encoding` with a value per image and dimension.
BY_DIMENSION = ("loc", "scale", "mean_shift", "noise", "kl", "draws")
#: Those with a value per dimension.
ONCE_BY_DIMENSION = ("exact", "prior_scale", "discrete")


@dataclass(frozen=True, repr=False)
class Encoding:
    """The posteriors of N images, over the D concatenated dimensions of all latent sites.

    Attributes:
        names: names of the dimensions.
        loc: posterior means, `(N, D)`, averaged over draws of the sites that a site depends on.
        scale: posterior standard deviations, `(N, D)`.
        mean_shift: `loc` minus the prior mean given the attributes of the image, `(N, D)`; `loc`
            if there are no attributes, or several latent sites.
        noise: expected squared errors of `mean_shift`, `(N, D)`; 0 unless means are estimated
            from draws.
        kl: KL of the marginals of posterior and prior per dimension, `(N, D)`, in nats.
        exact: whether the KL of a dimension is exact, `(D,)`; else it is that of Normals with the
            same moments, or estimated from draws.
        rate: the KL over all dimensions jointly, `(N,)`, in nats; NaN if the guide has no
            density.
        distortion: -log p(x given the draw), `(N,)`, in nats.
        draws: one draw per image, `(N, D)`.
        log_q: log density of the draw under the guide, over all sites, `(N,)`, in nats; NaN if
            the guide has no density.
        log_p: log density of the draw under the prior, `(N,)`, in nats.
        prior_scale: standard deviations of the prior for the first image, `(D,)`.
        discrete: whether a dimension belongs to a discrete site, such as a one-hot class, `(D,)`.
        squared_error: mean squared error of the image decoded from the draw, against the
            observation, `(N,)`.
        site_rates: the part of `rate` of each latent site, `(N,)`, if there are several.
    """

    names: list[str]
    loc: np.ndarray
    scale: np.ndarray
    mean_shift: np.ndarray
    noise: np.ndarray
    kl: np.ndarray
    exact: np.ndarray
    rate: np.ndarray
    distortion: np.ndarray
    draws: np.ndarray
    log_q: np.ndarray
    log_p: np.ndarray
    prior_scale: np.ndarray
    discrete: np.ndarray
    squared_error: np.ndarray = field(default_factory=lambda: np.zeros(0))
    site_rates: dict[str, np.ndarray] = field(default_factory=dict)

    def __repr__(self) -> str:
        """The numbers of images and of dimensions; `table` has the values."""
        return f"<Encoding: {len(self):,} images, {len(self.names):,} dimensions>"

    def __len__(self) -> int:
        return len(self.loc)

    @property
    def variance_of_mean(self) -> np.ndarray:
        """The variance of the posterior mean over the images, at least 0, `(D,)`.

        Raises:
            InputError: for fewer than two images.
        """
        if len(self) < 2:
            raise InputError(f"active units need at least 2 images, got {len(self)}")
        # The noise of estimated means inflates their variance.
        return np.maximum(0.0, self.mean_shift.var(0, ddof=1) - self.noise.mean(0))

    @property
    def active(self) -> np.ndarray:
        r"""Which latent dimensions are active units, `(D,)`.

        $$\operatorname{Var}_x\left(\mathbb{E}_{q(z \mid x)}[z_d]\right) > 0.01$$

        The threshold is 0.01 times the variance of the prior if that is below 1, as on a sphere.
        With several latent sites, means also vary with the prior given the sites above, in layers
        that carry nothing. So the mean KL must be above 0.005 nats there. With one site and a
        standard Normal prior it always is: the KL is at least half of the squared mean.

        Raises:
            InputError: for fewer than two images.

        References:
            Importance Weighted Autoencoders (Burda et al., 2016, section 5.2),
            https://arxiv.org/abs/1509.00519
        """
        varies = self.variance_of_mean > ACTIVE * np.minimum(1.0, np.square(self.prior_scale))
        return varies & (self.kl.mean(0) > ACTIVE / 2) if self.site_rates else varies

    def only(self, columns: np.ndarray) -> Encoding:
        """Selects dimensions; values per image, such as `rate`, stay those of all dimensions."""
        names = [self.names[column] for column in columns]
        parts = {field: getattr(self, field)[:, columns] for field in BY_DIMENSION}
        parts |= {field: getattr(self, field)[columns] for field in ONCE_BY_DIMENSION}
        return replace(self, names=names, **parts)

    def continuous(self) -> Encoding:
        """Selects the dimensions of continuous sites, of which active units are counted."""
        return self.only(np.flatnonzero(~self.discrete))

    def table(self, images: list[str] | None = None) -> pandas.DataFrame:
        """A table with one row per image and dimension, and columns `loc`, `scale` and `kl`.

        Args:
            images: names of the images; by default their positions.
        """
        rows = images if images is not None else range(len(self))
        names = ["image", "dimension"]
        index = pandas.MultiIndex.from_product([rows, self.names], names=names)
        columns = {name: getattr(self, name).ravel() for name in ("loc", "scale", "kl")}
        return pandas.DataFrame(columns, index=index)


def encode(
    programs: ModelGuidePair, images: Split | np.ndarray, engine: Engine, *, seed: int = 0
) -> Encoding:
    """Encodes a split: posterior moments, KL with the prior, and one draw per image.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split; or uint8 images `(N, C, H, W)`, if the programs need no attributes.
        engine: the device and the precision.
        seed: seed of the draws.
    """
    prior_scale: list[Tensor] = []
    compute = partial(_of_batch, programs, prior_scale)
    found = list(each_batch(programs, images, engine, compute, seed=seed))
    once = ("names", *ONCE_BY_DIMENSION, "site_rates")
    rates = found[0]["site_rates"]
    columns = [own.name for own in fields(Encoding) if own.name not in once]
    return Encoding(
        names=found[0]["names"],
        exact=found[0]["exact"],
        prior_scale=_array(prior_scale),
        discrete=found[0]["discrete"],
        site_rates={name: _array([b["site_rates"][name] for b in found]) for name in rates}
        if len(rates) > 1
        else {},
        **{name: _array([batch[name] for batch in found]) for name in columns},
    )


def _of_batch(
    programs: ModelGuidePair, prior_scale: list[Tensor], x: Tensor, **inputs: Tensor
) -> dict[str, Any]:
    """The fields of `Encoding` of a batch; the first batch adds to `prior_scale`."""
    guide, model = run_both(programs.model, programs.guide, x, **inputs)
    shapes = {name: guide.nodes[name]["fn"].event_shape for name in latent_sites(guide)}
    space = LatentSpace(programs, shapes)
    # First, since some flows can only invert their last draw, and later draws replace it.
    ordered = drawn_in_order(guide, model)
    densities = [
        _densities(guide.nodes[n], model.nodes[n]["fn"], n in ordered) for n in space.shapes
    ]
    every = marginals(programs.guide, guide, list(space.shapes), x, **inputs)
    found = _by_dimension(guide, model, every, bool(inputs))
    if not prior_scale:
        prior_scale.extend(_first_scale(model.nodes[n]["fn"], every[n].loc) for n in every)
    node = model.nodes["x"]
    sums = [sum(column[1:], column[0]) for column in zip(*densities, strict=True)]
    found |= zip(("rate", "log_q", "log_p"), sums, strict=True)
    distortion, error = -node["fn"].log_prob(node["value"]), _squared_error(programs, node)
    seen = {"distortion": distortion, "squared_error": error}
    rates = {name: own[0] for name, own in zip(space.shapes, densities, strict=True)}
    return {"names": space.names, "site_rates": rates, **seen, **found}


def _array(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).cpu().double().numpy()


def _squared_error(programs: ModelGuidePair, node: Any) -> Tensor:
    """The mean squared error of the decoded images, `(B,)`, over pixels that are not missing."""
    error = programs.likelihood.to_images(node["fn"]) - node["value"]
    return error.square().flatten(1).nanmean(1)


def _first_scale(prior: Any, loc: Tensor) -> Tensor:
    """The flat standard deviations of the prior for the first image; `loc` gives the shape."""
    return moments(prior)[1].expand(loc.shape)[0].flatten()


def _densities(node: Any, p: Any, closed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """KL(q, p), log q(z) and log p(z), each `(B,)`; NaN where there is no density.

    Args:
        node: the site in the guide's trace, with q and z.
        p: the distribution of the model's site.
        closed: whether the rate is a KL that can have a closed form, see `drawn_in_order`.
    """
    q, z = node["fn"], node["value"]
    try:
        log_q, log_p = q.log_prob(z), p.log_prob(z)
    except NotImplementedError:
        log_q = log_p = torch.full(q.batch_shape, torch.nan, device=z.device)
    with suppress(NotImplementedError):
        return divergence(q, p, z, closed), log_q, log_p
    return log_q - log_p, log_q, log_p


def _by_dimension(
    guide: Any, model: Any, every: dict[str, Marginal], given: bool
) -> dict[str, Any]:
    """The fields per dimension of a batch, from its traces.

    Args:
        guide: the trace of the guide.
        model: the trace of the model.
        every: the marginals of the latent sites.
        given: whether the programs take attributes.
    """
    columns: dict[str, list[Tensor]] = {name: [] for name in BY_DIMENSION}
    exact, discrete, ordered = [], [], drawn_in_order(guide, model)
    for name, (loc, scale, noise) in every.items():
        q, p, z = guide.nodes[name]["fn"], model.nodes[name]["fn"], guide.nodes[name]["value"]
        shift = loc
        if given and len(every) == 1:  # The mean of the prior may depend on attributes.
            mean, _, error = marginal(p)
            shift, noise = loc - mean, noise + error
        divergences, known = dimension_divergences(q, p)
        if name not in ordered:
            divergences, known = _drawn_ratios(q, p, z, divergences), False
        values = (loc, scale, shift, noise, divergences, z)
        for column, own in zip(columns, values, strict=True):
            columns[column].append(own.expand(z.shape).reshape(len(z), -1))
        exact += [known] * q.event_shape.numel()
        discrete += [is_discrete(p)] * q.event_shape.numel()
    joined = {name: torch.cat(parts, -1) for name, parts in columns.items()}
    return {**joined, "exact": np.array(exact), "discrete": np.array(discrete)}


def dimension_divergences(q: Any, p: Any) -> tuple[Tensor, bool]:
    r"""The KL of the marginals of q and p per dimension, and whether it is exact.

    $$KL(q(z_d \mid x) \,\|\, p(z_d))$$

    If the dimensions of both are independent, the sum over dimensions is the rate. Otherwise the
    result is the KL of Normals with the moments of the marginals, which is exact for a Normal
    posterior and prior. With an independent prior the rate is larger by the total correlation of
    q. If there are no finite moments, as for a Cauchy prior, the KL is estimated from draws.

    Args:
        q: a distribution of event shape `(D,)`.
        p: another distribution of event shape `(D,)`.

    Returns:
        The KL in nats, `(*, D)`, and whether it is exact.

    Example:
        >>> import pyro.distributions as dist
        >>> q, p = (dist.Normal(torch.tensor([m, 0.0]), 1.0).to_event(1) for m in (2.0, 0.0))
        >>> dimension_divergences(q, p)
        (tensor([2., 0.]), True)
    """
    if _independent(q, p):
        try:
            return kl_divergence(q.base_dist, p.base_dist), True
        except NotImplementedError:
            pass
    if all(isinstance(fn, OneHotCategorical) for fn in (q, p)):
        # A dimension of a one-hot vector is 0 or 1.
        return kl_divergence(*(Bernoulli(fn.probs) for fn in (q, p))), True
    found = [moments(fn) for fn in (q, p)]
    if not all(value.isfinite().all() for both in found for value in both):
        return _drawn_divergences(q, p, found[0][0]), False
    marginals = [Normal(loc, scale.clamp(min=1e-12)) for loc, scale in found]
    return kl_divergence(*marginals), all(_has_normal_marginals(fn) for fn in (q, p))


def _drawn_ratios(q: Any, p: Any, z: Tensor, otherwise: Tensor) -> Tensor:
    """Log q - log p at z per dimension; `otherwise` unless dimensions are independent."""
    if not _independent(q, p):
        return otherwise
    return q.base_dist.log_prob(z) - p.base_dist.log_prob(z)


def _independent(*fns: Any) -> bool:
    """Whether the dimensions of these distributions are independent."""
    return all(isinstance(fn, Independent) and fn.reinterpreted_batch_ndims == 1 for fn in fns)


def _drawn_divergences(q: Any, p: Any, loc: Tensor) -> Tensor:
    """The KL per dimension, estimated from draws of q; NaN unless dimensions are independent."""
    if not _independent(q, p):
        return torch.full_like(loc, torch.nan)
    z = q.base_dist.sample((DRAWS,))
    return (q.base_dist.log_prob(z) - p.base_dist.log_prob(z)).mean(0)


def _has_normal_marginals(fn: Any) -> bool:
    base = fn.base_dist if isinstance(fn, Independent) else fn
    return isinstance(base, (Normal, MultivariateNormal, LowRankMultivariateNormal))
