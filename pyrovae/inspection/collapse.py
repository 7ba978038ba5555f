"""Has the posterior collapsed? The rate dimension by dimension, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pyrovae.posterior.encoding import Encoding

if TYPE_CHECKING:
    import pandas

__all__ = ["Case", "Symptoms", "Verdict", "dimension_table", "dimensions_for", "judge", "mismatch"]

#: A weight on the rate outside of these, read from the guide's spread, is no accident.
LIGHT, HEAVY = 0.6, 1.6
#: Noise of the likelihood so many times that of the residuals, or as many times less.
COARSE, FINE = 0.5, 2.0
#: Nats by which an active dimension's aggregate differs from the prior.
OFF = 0.25


def dimension_table(encoded: Encoding) -> pandas.DataFrame:
    r"""A row a latent dimension: what it carries, and whether it tells images apart.

    `kl` is $\mathbb{E}_x KL(q(z_d \mid x) \,\|\, p(z_d))$ in nats with its standard `error`,
    `share` its part of all dimensions, `cumulative` that of this dimension and all that carry
    more; `exact` is false where the divergence is that of Normals of the same moments. A unit is
    `active` as `Encoding.active` has it; `scale` is the mean standard deviation of the
    posteriors; `aggregate_mean` and `aggregate_variance` are the moments of the aggregate
    posterior. Given attributes, only what the mean differs by from the prior's given the same
    ones tells images apart. Dimensions that carry most come first.

    Args:
        encoded: of a split.

    Raises:
        InputError: for fewer than two images.
    """
    import pandas

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
    """How many dimensions carry that share of the rate, of a `dimension_table`.

    Example:
        >>> import pandas as pd
        >>> dimensions_for(pd.DataFrame({"cumulative": [0.6, 0.9, 0.99, 1.0]}))
        3
    """
    if table["cumulative"].isna().any():
        return len(table)  # It is not known what they carry.
    found = int(np.searchsorted(table["cumulative"].to_numpy(), share - 1e-9) + 1)
    return min(found, len(table))  # They may carry nothing at all.


def mismatch(encoded: Encoding, prior: np.ndarray) -> np.ndarray:
    r"""How far the aggregate posterior is from the prior, dimension by dimension, in nats.

    $$KL\left(\mathcal{N}(\mu_d, \sigma_d^2) \,\|\, \mathcal{N}(m_d, s_d^2)\right)$$

    with the moments of aggregate posterior and prior: it sees where the posteriors lie and how
    widely, not their shape, and unlike the divergence of the aggregate itself it is not limited
    by the number of images.

    Args:
        encoded: of a split.
        prior: draws of the prior, `(M, D)`.

    Returns:
        `(D,)`.
    """
    mean, variance = encoded.loc.mean(0), encoded.loc.var(0) + np.square(encoded.scale).mean(0)
    centre, spread = prior.mean(0), prior.var(0) + 1e-12
    ratio = variance / spread
    return 0.5 * (ratio - 1 - np.log(ratio + 1e-300) + np.square(mean - centre) / spread)


@dataclass(frozen=True)
class Symptoms:
    """The numbers that a verdict rests on.

    Attributes:
        dims: latent dimensions.
        active: those that tell images apart.
        carriers: how many of them carry 95 % of the rate.
        rate: nats an image.
        weight: the weight on the rate for which the guide's spread is the best one, see
            `temperature`; above 1 the guide is too wide; NaN where it is not known.
        weight_error: its standard error.
        dispersion: squared residuals over the variance that the likelihood expects; NaN where
            it is not known.
        mismatch: nats by which the aggregate of an active dimension differs from the prior.
        wide: whether the guide was trained for an objective that wants it wider than the ELBO.
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
        """A row a number: its value, what is healthy, what it means."""
        import pandas

        values = [
            (self.active, None),
            (self.carriers, None),
            (self.rate, None),
            (self.weight, None if math.isnan(self.weight) else self.weight_error),
            (self.dispersion, None),
            (self.mismatch, None),
        ]
        rows = [
            (name, value, error, healthy.format(self.dims), meaning)
            for (name, healthy, meaning), (value, error) in zip(MEANINGS, values, strict=True)
        ]
        columns = ["sign", "value", "error", "healthy", "meaning"]
        return pandas.DataFrame(rows, columns=columns)


#: What a number is, when it is healthy, what it tells.
MEANINGS = [
    ("active units", "at least half of {}", "what z is used for"),
    ("dimensions for 95 % of the rate", "", "how many carry it"),
    ("rate, nats", "above 0", "what z costs an image"),
    (
        "weight on the rate that fits the guide's spread",
        f"{LIGHT} to {HEAVY}, within 2 errors",
        "below: the guide is too narrow, above: too wide (empty: too few images tell)",
    ),
    (
        "squared residuals over their expected variance",
        f"{COARSE} to {FINE}",
        "below: the likelihood expects too much noise, above: too little",
    ),
    (
        "aggregate posterior against prior, nats a unit",
        f"below {OFF}",
        "above: what is drawn from the prior is not what was trained on",
    ),
]


class Case(NamedTuple):
    """One thing to say of a posterior.

    Attributes:
        word: "healthy", "collapsed", "partly collapsed", "over-regularised" or
            "under-regularised".
        reason: a sentence with the numbers that justify it.
        advice: what to try; empty where nothing is wrong.
    """

    word: str
    reason: str
    advice: str


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a posterior, in words.

    Attributes:
        cases: one for each thing that is wrong; "healthy" alone where nothing is.
    """

    cases: list[Case]

    @property
    def reasons(self) -> list[str]:
        """A sentence for each case, with the numbers that justify it."""
        return [case.reason for case in self.cases]

    @property
    def advice(self) -> list[str]:
        """What to try."""
        return [case.advice for case in self.cases if case.advice]

    def __str__(self) -> str:
        """The words, each once."""
        return ", ".join(dict.fromkeys(case.word for case in self.cases))


def judge(signs: Symptoms) -> Verdict:
    """The verdict that numbers give.

    - collapsed: no unit is active, z says nothing of the image;
    - partly collapsed: less than half of the units are active;
    - over-regularised: the guide is as wide as a weight above 1 on the rate makes it, where its
      objective does not want that, or the likelihood expects far more noise than there is, which
      weighs the rate in the same way;
    - under-regularised: the guide is as narrow as a weight below 1 makes it, the likelihood
      expects far less noise than there is, or posteriors are not where the prior is;
    - healthy: none of these.

    Args:
        signs: the numbers.

    Example:
        >>> str(judge(Symptoms(dims=20, active=0, carriers=1, rate=0.01)))
        'collapsed'
    """
    found = [
        Case(word, reason.format(**asdict(signs)), advice)
        for word, applies, reason, advice in RULES
        if applies(signs)
    ]
    healthy = "{active} of {dims} units are active and carry {rate:,.1f} nats an image."
    return Verdict(found or [Case("healthy", healthy.format(**asdict(signs)), "")])


COLLAPSED = (
    "Warm the weight of the rate up (--beta.schedule Warmup), keep some of it free (--objective "
    "FreeBits), or lower --beta.value."
)
PARTLY = (
    "Harmless where the ELBO is what counts: the prior needs no more units. To use more of them: "
    "--beta.schedule Warmup, --objective FreeBits, or an objective of several particles "
    "(--objective IWAE); to save time, fewer --prior.latent_dim."
)
LESS_BETA = (
    "Lower --beta.value if it is above 1. If it is 1 already, train for longer: a guide narrows "
    "late."
)
LESS_NOISE = (
    "Let the noise be learned (--likelihood SharedScaleNormal), or lower the likelihood's scale. "
    "If it is learned, train for longer: it has not come down yet."
)
MORE_BETA = (
    "Raise --beta.value to 1. If it is 1 already, the guide is too sure on images that it has not "
    "seen: fewer epochs (--trainer.patience), --objective Denoising, or more images."
)
MORE_NOISE = (
    "Let the noise be learned (--likelihood SharedScaleNormal), or raise its scale. If it is "
    "learned, see whether training images are told as badly (--split train of the inspection): "
    "then train for longer, it has not gone up yet. If not, they were learned by heart: fewer "
    "epochs (--trainer.patience), or more images."
)
SURER = "Train for longer, or use larger networks: the decoder has not learned to be sure yet."
LESS_SURE = (
    "The decoder is sure where it is wrong. If training images are told better than these, they "
    "were learned by heart: fewer epochs (--trainer.patience), weight decay, or more images. "
    "If not, train for longer."
)
ELSEWHERE = (
    "More epochs, a prior that follows the posteriors (--prior VampPrior, FlowPrior, "
    "GaussianMixture), or, where it is below 1, a higher --beta.value."
)

#: What can be wrong: the word, when, the reason, what to try.
RULES: list[tuple[str, Callable[[Symptoms], bool], str, str]] = [
    (
        "collapsed",
        lambda signs: signs.active == 0,
        "No unit of {dims} is active: the guide says nearly the same of every image (rate "
        "{rate:.2f} nats).",
        COLLAPSED,
    ),
    (
        "partly collapsed",
        lambda signs: 0 < 2 * signs.active < signs.dims,
        "Only {active} of {dims} units are active; {carriers} carry 95 % of the rate of "
        "{rate:,.1f} nats.",
        PARTLY,
    ),
    (
        "over-regularised",
        lambda signs: not signs.wide and signs.weight - 2 * signs.weight_error > HEAVY,
        "The guide is too wide: its spread is the best one for a weight of {weight:.2f} ± "
        "{weight_error:.2f} on the rate, not of 1.",
        LESS_BETA,
    ),
    (
        "over-regularised",
        lambda signs: signs.has_scale and signs.dispersion < COARSE,
        "The likelihood expects too much noise: squared residuals are {dispersion:.3g} of the "
        "variance that it gives them.",
        LESS_NOISE,
    ),
    (
        "over-regularised",
        lambda signs: not signs.has_scale and signs.dispersion < COARSE,
        "The probabilities of pixels are too unsure: squared residuals are {dispersion:.3g} of "
        "the variance that they give them.",
        SURER,
    ),
    (
        "under-regularised",
        lambda signs: signs.weight + 2 * signs.weight_error < LIGHT,
        "The guide is too narrow: its spread is the best one for a weight of {weight:.2f} ± "
        "{weight_error:.2f} on the rate, not of 1.",
        MORE_BETA,
    ),
    (
        "under-regularised",
        lambda signs: signs.has_scale and signs.dispersion > FINE,
        "The likelihood expects too little noise: squared residuals are {dispersion:.3g} times "
        "the variance that it gives them.",
        MORE_NOISE,
    ),
    (
        "under-regularised",
        lambda signs: not signs.has_scale and signs.dispersion > FINE,
        "The probabilities of pixels are too sure: squared residuals are {dispersion:.3g} times "
        "the variance that they give them.",
        LESS_SURE,
    ),
    (
        "under-regularised",
        lambda signs: signs.mismatch > OFF,
        "Posteriors are not where the prior is: by {mismatch:.2f} nats an active unit.",
        ELSEWHERE,
    ),
]
