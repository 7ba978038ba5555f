"""Posterior collapse: the rate of each dimension, and a verdict with reasons and advice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from pyrovae.posterior.encoding import Encoding
from pyrovae.utils.lazy import pandas

__all__ = ["Symptoms", "Verdict", "dimension_table", "judge"]

#: The guide is too narrow or too wide if the weight on the rate that fits its spread is outside.
LIGHT, HEAVY = 0.6, 1.6
#: The likelihood's noise is wrong if squared residuals over their expected variance are outside.
COARSE, FINE = 0.5, 2.0
#: Aggregate posterior and prior differ if their KL in nats per active dimension is above this.
OFF = 0.25


def dimension_table(encoded: Encoding) -> pandas.DataFrame:
    r"""The rate and the moments of each latent dimension, largest rate first.

    `kl` is $\mathbb{E}_x KL(q(z_d \mid x) \,\|\, p(z_d))$ in nats per image with its standard
    `error`; `share` is its share of the sum over dimensions, `cumulative` the share of this and
    all larger dimensions. `exact` is false if the KL is that of Normals with the same moments.
    `active` and `variance_of_mean` are those of `Encoding`. `scale` is the mean standard
    deviation of the posteriors. `aggregate_mean` and `aggregate_variance` are the moments of the
    aggregate posterior. For programs that take attributes, `variance_of_mean` is that of the
    posterior mean minus the prior mean given the same attributes.

    Args:
        encoded: the posteriors of a split.

    Returns:
        One row per latent dimension.

    Raises:
        InputError: for fewer than two images.
    """
    active, kl = encoded.active, encoded.kl.mean(0)
    table = pandas.DataFrame(
        {
            "kl": kl,
            "error": encoded.kl.std(0, ddof=1) / math.sqrt(len(encoded)),
            "share": kl / max(kl.sum(), 1e-12),
            "active": active,
            "variance_of_mean": encoded.variance_of_mean,
            "scale": encoded.scale.mean(0),
            "aggregate_mean": encoded.loc.mean(0),
            "aggregate_variance": encoded.loc.var(0) + np.square(encoded.scale).mean(0),
            "exact": encoded.exact,
        },
        index=pandas.Index(encoded.names, name="dimension"),
    ).sort_values("kl", ascending=False, kind="stable")
    table.insert(3, "cumulative", table["share"].cumsum())
    return table


def dimensions_for(table: pandas.DataFrame, share: float = 0.95) -> int:
    """The least number of dimensions that carry a share of the rate, from a `dimension_table`.

    Example:
        >>> import pandas as pd
        >>> dimensions_for(pd.DataFrame({"cumulative": [0.6, 0.9, 0.99, 1.0]}))
        3
    """
    if table["cumulative"].isna().any():
        return len(table)  # The rates are unknown.
    found = int(np.searchsorted(table["cumulative"].to_numpy(), share - 1e-9) + 1)
    return min(found, len(table))  # All rates may be 0.


def mismatch(encoded: Encoding, prior: np.ndarray) -> np.ndarray:
    r"""The KL from the aggregate posterior to the prior of each dimension, for Normal moments.

    $$KL\left(\mathcal{N}(\mu_d, \sigma_d^2) \,\|\, \mathcal{N}(m_d, s_d^2)\right)$$

    with the moments of aggregate posterior and prior. It depends on location and spread, not on
    shape. Unlike an estimate of the exact KL it is not limited by the number of images.

    Args:
        encoded: the posteriors of a split.
        prior: draws of the prior, `(M, D)`.

    Returns:
        Nats, `(D,)`.
    """
    mean, variance = encoded.loc.mean(0), encoded.loc.var(0) + np.square(encoded.scale).mean(0)
    centre, spread = prior.mean(0), prior.var(0) + 1e-12
    ratio = variance / spread
    return 0.5 * (ratio - 1 - np.log(ratio + 1e-300) + np.square(mean - centre) / spread)


@dataclass(frozen=True)
class Symptoms:
    """The measurements that a verdict is based on.

    Attributes:
        dims: the number of latent dimensions.
        active: the number of active dimensions.
        carriers: the least number of dimensions that carry 95 % of the rate.
        rate: the mean rate, in nats per image.
        weight: the weight on the rate for which the guide's spread is optimal, see
            `temperature`; above 1 the guide is too wide; NaN if unknown.
        weight_error: its standard error.
        dispersion: squared residuals over the variance that the likelihood expects; NaN if
            unknown.
        mismatch: the mean KL from aggregate posterior to prior, in nats per active dimension;
            NaN if unknown.
        wide: whether the guide was trained with an objective whose optimum is wider than that of
            the ELBO.
        has_scale: whether the likelihood's noise has a scale.
    """

    dims: int
    active: int
    carriers: int
    rate: float
    weight: float = math.nan
    weight_error: float = 0.0
    dispersion: float = math.nan
    mismatch: float = math.nan
    wide: bool = False
    has_scale: bool = True

    def table(self) -> pandas.DataFrame:
        """One row per measurement: value, standard error, healthy range and meaning."""
        errors = {} if math.isnan(self.weight) else {"weight": self.weight_error}
        rows = [
            (name, getattr(self, field), errors.get(field), healthy.format(self.dims), meaning)
            for field, (name, healthy, meaning) in MEANINGS.items()
        ]
        return pandas.DataFrame(rows, columns=["sign", "value", "error", "healthy", "meaning"])


#: Title, healthy range and meaning of each measurement.
MEANINGS = {
    "active": (
        "active units",
        "at least half of {}",
        "latent dimensions that depend on the image",
    ),
    "carriers": (
        "dimensions for 95 % of the rate",
        "",
        "least number of dimensions that carry this share",
    ),
    "rate": ("rate, nats", "above 0", "KL from guide to prior, per image"),
    "weight": (
        "weight on the rate that fits the guide's spread",
        f"{LIGHT} to {HEAVY}, within 2 standard errors",
        "below: the guide is too narrow, above: too wide (empty: too few images for an estimate)",
    ),
    "dispersion": (
        "squared residuals over their expected variance",
        f"{COARSE} to {FINE}",
        "below: the likelihood expects too much noise, above: too little",
    ),
    "mismatch": (
        "KL of aggregate posterior to prior, nats per active unit",
        f"below {OFF}",
        "above: draws of the prior differ from the latents that the decoder was trained on",
    ),
}


class Case(NamedTuple):
    """One finding about a posterior.

    Attributes:
        word: "healthy", "collapsed", "partly collapsed", "over-regularised" or
            "under-regularised".
        reason: a sentence with the measurements that justify it.
        advice: what to try; empty for "healthy".
    """

    word: str
    reason: str
    advice: str


@dataclass(frozen=True)
class Verdict:
    """The verdict on a posterior.

    Attributes:
        cases: one per problem; "healthy" alone if there is none.
    """

    cases: list[Case]

    @property
    def reasons(self) -> list[str]:
        """One sentence per case, with the measurements that justify it."""
        return [case.reason for case in self.cases]

    @property
    def advice(self) -> list[str]:
        """What to try, for each problem."""
        return [case.advice for case in self.cases if case.advice]

    def __str__(self) -> str:
        """The words, each once."""
        return ", ".join(dict.fromkeys(case.word for case in self.cases))


def judge(signs: Symptoms) -> Verdict:
    """The verdict from measurements.

    - collapsed: no unit is active, so z is independent of the image;
    - partly collapsed: less than half of the units are active;
    - over-regularised: the guide is as wide as a weight above 1 on the rate makes it, although
      its objective does not prefer that; or the likelihood expects far more noise than the data
      have, which has the same effect as a weight above 1;
    - under-regularised: the guide is as narrow as a weight below 1 makes it; or the likelihood
      expects far less noise than the data have; or the aggregate posterior differs from the
      prior;
    - healthy: none of these.

    Args:
        signs: the measurements.

    Example:
        >>> str(judge(Symptoms(dims=20, active=0, carriers=1, rate=0.01)))
        'collapsed'
    """
    found = [
        Case(word, reason.format(**asdict(signs)), advice)
        for word, applies, reason, advice in RULES
        if applies(signs)
    ]
    healthy = "{active} of {dims} units are active and carry {rate:,.1f} nats per image."
    return Verdict(found or [Case("healthy", healthy.format(**asdict(signs)), "")])


#: The problems: word, condition, reason, advice.
RULES: list[tuple[str, Callable[[Symptoms], bool], str, str]] = [
    (
        "collapsed",
        lambda signs: signs.active == 0,
        "None of {dims} units is active: the posterior is nearly the same for all images (rate "
        "{rate:.2f} nats).",
        "Warm up the weight on the rate (--beta.schedule Warmup), do not penalise a part of the "
        "rate (--objective FreeBits), or lower --beta.value.",
    ),
    (
        "partly collapsed",
        lambda signs: 0 < 2 * signs.active < signs.dims,
        "Only {active} of {dims} units are active; {carriers} dimensions carry 95 % of the rate "
        "of {rate:,.1f} nats.",
        "If only the ELBO matters, this is harmless: the model needs no more units. To use more "
        "units, try --beta.schedule Warmup, --objective FreeBits, or an objective of several "
        "particles (--objective IWAE). To save time, lower --prior.latent_dim.",
    ),
    (
        "over-regularised",
        lambda signs: not signs.wide and signs.weight - 2 * signs.weight_error > HEAVY,
        "The guide is too wide: its spread is optimal for a weight of {weight:.2f} ± "
        "{weight_error:.2f} on the rate, not for 1.",
        "If --beta.value is above 1, lower it. If it is 1 already, train for longer: the guide "
        "becomes narrower late in training.",
    ),
    (
        "over-regularised",
        lambda signs: signs.has_scale and signs.dispersion < COARSE,
        "The likelihood expects too much noise: squared residuals are {dispersion:.3g} times the "
        "variance that it predicts.",
        "Learn the noise (--likelihood SharedScaleNormal), or lower the likelihood's scale. If it"
        " is learned already, train for longer: its scale is still falling.",
    ),
    (
        "over-regularised",
        lambda signs: not signs.has_scale and signs.dispersion < COARSE,
        "The predicted probabilities of pixels are too close to 1/2: squared residuals are "
        "{dispersion:.3g} times the variance that they predict.",
        "Train for longer, or use larger networks: the decoder is not confident enough yet.",
    ),
    (
        "under-regularised",
        lambda signs: signs.weight + 2 * signs.weight_error < LIGHT,
        "The guide is too narrow: its spread is optimal for a weight of {weight:.2f} ± "
        "{weight_error:.2f} on the rate, not for 1.",
        "Raise --beta.value to 1. If it is 1 already, the guide is overconfident on held-out "
        "images: use fewer epochs (--trainer.patience), --objective Denoising, or more images.",
    ),
    (
        "under-regularised",
        lambda signs: signs.has_scale and signs.dispersion > FINE,
        "The likelihood expects too little noise: squared residuals are {dispersion:.3g} times "
        "the variance that it predicts.",
        "Learn the noise (--likelihood SharedScaleNormal), or raise its scale. If it is learned "
        "already, inspect the training images (--split train). If their residuals are as large, "
        "train for longer: the scale is still rising. If not, the model overfits: use fewer "
        "epochs (--trainer.patience), or more images.",
    ),
    (
        "under-regularised",
        lambda signs: not signs.has_scale and signs.dispersion > FINE,
        "The predicted probabilities of pixels are overconfident: squared residuals are "
        "{dispersion:.3g} times the variance that they predict.",
        "The decoder is confident where it is wrong. If it predicts training images better than "
        "these, it overfits: use fewer epochs (--trainer.patience), weight decay, or more images."
        " If not, train for longer.",
    ),
    (
        "under-regularised",
        lambda signs: signs.mismatch > OFF,
        "The aggregate posterior differs from the prior by {mismatch:.2f} nats per active unit.",
        "Train for more epochs, use a prior that adapts to the posteriors (--prior VampPrior, "
        "FlowPrior, GaussianMixture), or, if --beta.value is below 1, raise it.",
    ),
]
