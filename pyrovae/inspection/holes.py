"""Where the prior draws what no image is encoded to: holes in the aggregate posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pyrovae.evaluation.latents import log_mixture
from pyrovae.evaluation.pairs import chunks
from pyrovae.inspection.aggregate import kolmogorov_smirnov
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.space import inputs_of
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["Holes", "find_holes", "nearest_posteriors", "share_beyond"]

#: Fewer images hold out too few to know what is usual.
LEAST = 100
#: Latents whose prior density is asked for at once: each is decoded too.
AT_ONCE = 100
RESAMPLINGS = 500


@dataclass(frozen=True)
class Holes:
    """Which draws of the prior the encodings of images hardly cover.

    Attributes:
        prior: a row a draw of the prior: `log_ratio` (log q(z) - log p(z), in nats), `distance`
            to the nearest posterior in its standard deviations, `hole` and `far`, whether it is
            beyond the held-out encodings by the one and by the other.
        held_out: the same two numbers of a draw of the guide for each held-out image, by its
            name.
        shares: a row a criterion: the `share` of the prior's mass beyond, its standard `error`,
            what is `nominal`, the `threshold`, the medians `prior` and `held_out`, and of all
            of both samples: the share of the prior's draws that are better `covered` than the
            median held-out image (one half if spread alike), and the Kolmogorov-Smirnov distance
            `ks` with its `p_value`.
        z: the draws of the prior, `(M, D)`.
        inputs: what the programs take besides, for each of them.
        images: how many posteriors the aggregate is made of.
    """

    prior: pandas.DataFrame
    held_out: pandas.DataFrame
    shares: pandas.DataFrame
    z: Tensor
    inputs: dict[str, Tensor]
    images: int

    def extremes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Which draws are deepest in a hole, and which lie where encodings are densest."""
        order = self.prior["log_ratio"].to_numpy().argsort(kind="stable")
        return order[:count], order[::-1][:count]

    def show(self, subject: Subject, rows: np.ndarray) -> Tensor:
        """What some draws decode to: floats in [0, 1], `(len(rows), C, H, W)`."""
        inputs = {name: value[rows.copy()] for name, value in self.inputs.items()}
        with subject.quietly():
            return subject.space.show(self.z[rows.copy()], **inputs)


def find_holes(subject: Subject, *, alpha: float | None = None) -> Holes:
    r"""Draws of the prior that the aggregate posterior hardly covers, by two criteria.

    The aggregate is the mixture of the posteriors of every second image,
    $q(z) = \frac{1}{N} \sum_n q(z \mid x_n)$. A draw of the prior is a *hole* where

    $$\log q(z) - \log p(z)$$

    is below all but a share alpha of the same number for draws of the guide for the other images,
    and *far* where its distance to the nearest posterior, in standard deviations of that
    posterior, is above all but that share of theirs. Were the true aggregate equal to the prior,
    a share alpha of the prior would be beyond, whatever the number of images and dimensions: what
    is more than that is prior mass that images do not use.

    N narrow posteriors in many dimensions never cover anything, the codes of other images no more
    than the prior's draws: the comparison with held-out images is what gives the numbers a
    meaning. It finds regions that no image is encoded to, and spreads or correlations of the
    encodings that are not the prior's. It does not find holes that are smaller than the distance
    between the posteriors of two images, and says nothing about what a hole decodes to. Of a
    hierarchy, distances take the posterior of each site at one draw of the others.

    Args:
        subject: what is inspected; as many draws of the prior as its budget says.
        alpha: the nominal share; by default 0.01, or where few images are held out the share that
            leaves five of them beyond.

    Raises:
        InputError: if there are fewer than 100 images, `alpha` leaves none of those held out, or
            a posterior has no density.

    References:
        On the Latent Holes of VAEs for Text Generation (Li et al., 2021), which surveys searches
        of this kind, by the encoder, and adds one by the decoder,
        https://arxiv.org/abs/2110.03318
    """
    import pandas

    count = len(subject.split)
    if count < LEAST:
        raise InputError(
            f"{count} images are too few to look for holes: allowed is {LEAST} or more"
        )
    used, kept = np.arange(0, count, 2), np.arange(1, count, 2)
    z, inputs = subject.prior_draws(subject.budget.draws)
    other = torch.from_numpy(subject.encoded.draws[kept]).to(z)
    prior = _measured(subject, used, z, inputs)
    given = inputs_of(subject.programs, subject.split, kept, subject.engine)
    held_out = _measured(subject, used, other, given)
    level = max(0.01, 5 / (len(kept) + 1)) if alpha is None else alpha
    shares, beyond = _shares(prior, held_out, level, subject.seed)
    prior["hole"], prior["far"] = beyond
    held_out.index = pandas.Index(
        [str(subject.split.names[int(row)]) for row in kept], name="image"
    )
    return Holes(prior, held_out, shares, z, inputs, len(used))


def _measured(
    subject: Subject, used: np.ndarray, z: Tensor, inputs: dict[str, Tensor]
) -> pandas.DataFrame:
    """How well the posteriors of some images cover latents, by both criteria."""
    import pandas

    encoded, space = subject.encoded, subject.space
    try:
        some = subject.of(subject.split.take(used))
        mixture = log_mixture(some, space.unflatten(z), progress=subject.progress)
    except (NotImplementedError, KeyError):  # Pyro's flows raise a KeyError.
        raise InputError(
            "a posterior does not give the density of any latent: holes need one that does"
        ) from None
    with subject.quietly():
        parts = [slice(start, start + AT_ONCE) for start in range(0, len(z), AT_ONCE)]
        own = [{name: value[part] for name, value in inputs.items()} for part in parts]
        prior = [space.log_prior(z[p], **given) for p, given in zip(parts, own, strict=True)]
    ratio = (mixture - torch.cat(prior)).cpu().double().numpy()
    points = z.cpu().double().numpy()
    distance = nearest_posteriors(points, encoded.loc[used], encoded.scale[used])
    return pandas.DataFrame({"log_ratio": ratio, "distance": distance})


def nearest_posteriors(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    r"""The distance of each point to the nearest posterior, in its standard deviations.

    $$\min_n \sqrt{\sum_d \frac{(z_d - \mu_{nd})^2}{\sigma_{nd}^2}}$$

    Args:
        z: points `(M, D)`.
        loc: means of the posteriors, `(N, D)`.
        scale: their standard deviations, `(N, D)`; below 1e-6 they are taken for that.

    Returns:
        Distances `(M,)`; those of draws of one posterior are about $\sqrt D$.

    Example:
        >>> z, loc = np.array([[0.0, 3.0]]), np.array([[0.0, 0.0], [4.0, 3.0]])
        >>> float(nearest_posteriors(z, loc, np.array([[1.0, 1.0], [4.0, 1.0]]))[0])
        1.0
    """
    precision = 1 / np.square(np.maximum(scale, 1e-6))
    constant = (precision * loc**2).sum(1)
    found = [
        (z[part] ** 2 @ precision.T - 2 * z[part] @ (precision * loc).T + constant).min(1)
        for part in chunks(len(z))
    ]
    return np.sqrt(np.maximum(np.concatenate(found), 0))


def share_beyond(
    prior: np.ndarray, held_out: np.ndarray, alpha: float = 0.01, *, seed: int = 0
) -> tuple[float, float, float, float]:
    r"""The share of values below all but a share alpha of the held-out ones.

    The threshold is the k-th smallest of n held-out values, $k = \lfloor \alpha (n + 1) \rfloor$:
    then a value of the same distribution is below it with probability $k / (n + 1)$ exactly.

    Args:
        prior: values that are judged, `(M,)`; small ones are beyond.
        held_out: values that say what is usual, `(n,)`.
        alpha: the nominal share.
        seed: of the bootstrap.

    Returns:
        The share, its standard error by a bootstrap of both samples, the nominal share
        $k / (n + 1)$, and the threshold.

    Raises:
        InputError: if `alpha` leaves no held-out value below the threshold, or is not below 1.

    References:
        Conformal prediction: Algorithmic Learning in a Random World (Vovk et al., 2005,
        section 2.2.3)

    Example:
        >>> share_beyond(np.array([-1.0, 0.5, 2.0, 3.0]), np.arange(99.0), 0.02)[2:]
        (0.02, 1.0)
    """
    count = len(held_out)
    k = math.floor(alpha * (count + 1) + 1e-9)
    if not 1 <= k <= count:
        least = 1 / (count + 1)
        raise InputError(f"alpha {alpha} for {count} held-out images: allowed is {least:.2g} to 1")

    def share(values: np.ndarray, usual: np.ndarray) -> float:
        return float((values < np.partition(usual, k - 1)[k - 1]).mean())

    random = np.random.default_rng(seed)
    again = [
        share(random.choice(prior, len(prior)), random.choice(held_out, count))
        for _ in range(RESAMPLINGS)
    ]
    threshold = float(np.partition(held_out, k - 1)[k - 1])
    return share(prior, held_out), float(np.std(again)), k / (count + 1), threshold


def _shares(
    prior: pandas.DataFrame, held_out: pandas.DataFrame, alpha: float, seed: int
) -> tuple[pandas.DataFrame, list[np.ndarray]]:
    """The table of both criteria, and which draws are beyond by either."""
    import pandas

    rows, beyond = {}, []
    for name, sign in (("log_ratio", 1.0), ("distance", -1.0)):
        values, usual = sign * prior[name].to_numpy(), sign * held_out[name].to_numpy()
        if not np.isfinite(usual).all():
            raise InputError("the held-out encodings have no finite density under the posteriors")
        share, error, nominal, threshold = share_beyond(values, usual, alpha, seed=seed)
        beyond.append(values < threshold)
        medians = (prior[name].median(), held_out[name].median())
        both = _compared(values, usual)
        rows[name] = (share, error, nominal, sign * threshold, *medians, *both)
    columns = ["share", "error", "nominal", "threshold", "prior", "held_out"]
    columns += ["covered", "ks", "p_value"]
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.rename_axis("criterion"), beyond


def _compared(prior: np.ndarray, held_out: np.ndarray) -> tuple[float, float, float]:
    """The share of values above the other median; the Kolmogorov-Smirnov distance and p-value."""
    covered = float((prior > np.median(held_out)).mean())
    columns = (np.nan_to_num(values)[:, None] for values in (prior, held_out))
    distance, p_value = kolmogorov_smirnov(*columns)  # A prior's draw may have no density.
    return covered, float(distance[0]), float(p_value[0])
