"""Holes of the aggregate posterior: regions of prior mass that no image is encoded to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyrovae.data.rows import spread_rows
from pyrovae.evaluation.latents import log_mixture
from pyrovae.evaluation.pairs import chunks
from pyrovae.inspection.aggregate import kolmogorov_smirnov
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.space import inputs_of
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["find_holes"]

#: Least number of images: with fewer, too few are held out for a threshold.
LEAST = 100
#: Latents per evaluation of the prior density, which also decodes them.
AT_ONCE = 100
#: Posteriors of the mixture if there are several latent sites.
SOME = 16
RESAMPLINGS = 500


@dataclass(frozen=True)
class Holes:
    """Draws of the prior, and how well the aggregate posterior covers them.

    Attributes:
        prior: one row per draw of the prior: `log_ratio` (log q(z) - log p(z), in nats),
            `distance` to the nearest posterior in its standard deviations; `hole` and `far`,
            whether it is beyond the threshold of the first and of the second.
        held_out: `log_ratio` and `distance` of one draw of the guide per held-out image, indexed
            by the images' names.
        shares: one row per criterion: the `share` of the prior's draws beyond the threshold, its
            standard `error`, the `nominal` share, the `threshold`, the medians `prior` and
            `held_out`; the share of the prior's draws that are better `covered` than the median
            held-out image (one half for equal distributions), the Kolmogorov-Smirnov distance
            `ks` of both samples with its `p_value`, and `share_p`, the p-value of the share, see
            `share_p_value`.
        z: the draws of the prior, `(M, D)`.
        inputs: further inputs of the programs for each draw.
        images: the number of posteriors in the aggregate.
    """

    prior: pandas.DataFrame
    held_out: pandas.DataFrame
    shares: pandas.DataFrame
    z: Tensor
    inputs: dict[str, Tensor]
    images: int

    def extremes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The indices of the draws with the lowest and with the highest `log_ratio`."""
        order = self.prior["log_ratio"].to_numpy().argsort(kind="stable")
        return order[:count], order[::-1][:count]

    def show(self, subject: Subject, rows: np.ndarray) -> Tensor:
        """The decoded images of some draws: floats in [0, 1], `(len(rows), C, H, W)`."""
        inputs = {name: value[rows.copy()] for name, value in self.inputs.items()}
        with subject.quietly():
            return subject.space.show(self.z[rows.copy()], **inputs)


def find_holes(subject: Subject, *, alpha: float | None = None) -> Holes:
    r"""Finds draws of the prior that the aggregate posterior hardly covers, by two criteria.

    The aggregate is the mixture of the posteriors of every second image,
    $q(z) = \frac{1}{N} \sum_n q(z \mid x_n)$. The other images are held out, with one draw of
    the guide each. A draw of the prior is a *hole* if

    $$\log q(z) - \log p(z)$$

    is below the alpha quantile of the held-out draws. It is *far* if its distance to the nearest
    posterior, in standard deviations of that posterior, is above their 1 - alpha quantile. If the
    true aggregate posterior equals the prior, a share alpha of the prior is beyond each
    threshold, for any number of images and dimensions. A larger share is prior mass that images
    do not use.

    N narrow posteriors in many dimensions cover neither draws of the prior nor encodings of other
    images; therefore the thresholds come from held-out images. The criteria find regions that no
    image is encoded to, and differences of spread or correlation between encodings and prior.
    They do not find holes smaller than the distance between the posteriors of two images, and do
    not depend on what a hole decodes to. Distances are over continuous sites. With
    several latent sites, distances use the posterior of each site at one draw of the others, and
    the mixture has at most 16 posteriors, since each runs the guide's networks once per point.

    Args:
        subject: what is inspected; its budget sets the number of draws.
        alpha: the nominal share; by default 0.01, or with few held-out images the share of five
            of them.

    Raises:
        InputError: if there are fewer than 100 images, `alpha` is too small for the held-out
            images, or a posterior has no density.

    References:
        On the Latent Holes of VAEs for Text Generation (Li et al., 2021): a survey of searches
        like this one, which use the encoder, and a search that uses the decoder,
        https://arxiv.org/abs/2110.03318
    """
    count = len(subject.split)
    if count < LEAST:
        raise InputError(
            f"{count} images are too few to look for holes: allowed is {LEAST} or more"
        )
    used, kept = _halves(subject, count)
    z, inputs = subject.prior_draws(subject.budget.draws)
    other = torch.from_numpy(subject.encoded.draws[kept]).to(z)
    prior = _measured(subject, used, z, inputs)
    given = inputs_of(subject.programs, subject.split, kept, subject.engine)
    held_out = _measured(subject, used, other, given)
    level = usual_level(len(kept)) if alpha is None else alpha
    shares, beyond = _shares(prior, held_out, level, subject.seed)
    prior["hole"], prior["far"] = beyond
    names = [str(subject.split.names[int(row)]) for row in kept]
    held_out.index = pandas.Index(names, name="image")
    return Holes(prior, held_out, shares, z, inputs, len(used))


def _halves(subject: Subject, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The images of the mixture, and those that are held out."""
    used, kept = np.arange(0, count, 2), np.arange(1, count, 2)
    if len(subject.space.shapes) > 1:
        used = used[spread_rows(len(used), SOME)]
    return used, kept


def usual_level(count: int) -> float:
    """The nominal share for `count` held-out images: 0.01, or the share of five of them."""
    return max(0.01, 5 / (count + 1))


def _measured(
    subject: Subject, used: np.ndarray, z: Tensor, inputs: dict[str, Tensor]
) -> pandas.DataFrame:
    """Both criteria for latents, given the posteriors of some images."""
    encoded, space = subject.encoded, subject.space
    try:
        some = subject.of(subject.split.take(used))
        mixture = log_mixture(some, space.unflatten(z), progress=subject.progress)
    except (NotImplementedError, KeyError):  # Pyro's flows raise a KeyError.
        raise InputError(
            "a posterior cannot evaluate its density at other latents: holes need such a density"
        ) from None
    prior = []
    with subject.quietly():
        for part in chunks(len(z), AT_ONCE):
            own = {name: value[part] for name, value in inputs.items()}
            prior.append(space.log_prior(z[part], **own))
    ratio = (mixture - torch.cat(prior)).cpu().double().numpy()
    points = z.cpu().double().numpy()
    real = ~encoded.discrete  # Values of a discrete site have no distance in standard deviations.
    loc, scale = encoded.loc[used][:, real], encoded.scale[used][:, real]
    distance = nearest_posteriors(points[:, real], loc, scale)
    return pandas.DataFrame({"log_ratio": ratio, "distance": distance})


def nearest_posteriors(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    r"""The distance of each point to the nearest posterior, in its standard deviations.

    $$\min_n \sqrt{\sum_d \frac{(z_d - \mu_{nd})^2}{\sigma_{nd}^2}}$$

    Args:
        z: points `(M, D)`.
        loc: means of the posteriors, `(N, D)`.
        scale: their standard deviations, `(N, D)`; smaller values than 1e-6 count as 1e-6.

    Returns:
        Distances `(M,)`; draws of a posterior have about $\sqrt D$ to it.

    Example:
        >>> z, loc = np.array([[0.0, 3.0]]), np.array([[0.0, 0.0], [4.0, 3.0]])
        >>> float(nearest_posteriors(z, loc, np.array([[1.0, 1.0], [4.0, 1.0]]))[0])
        1.0
    """
    return np.concatenate([each.min(1) for each in posterior_distances(z, loc, scale)])


def posterior_distances(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the distances of up to 512 points to all N posteriors; see `nearest_posteriors`."""
    precision = 1 / np.square(np.maximum(scale, 1e-6))
    constant = (precision * loc**2).sum(1)
    for part in chunks(len(z)):
        squares = z[part] ** 2 @ precision.T - 2 * z[part] @ (precision * loc).T + constant
        yield np.sqrt(np.maximum(squares, 0))


def share_beyond(
    prior: np.ndarray, held_out: np.ndarray, alpha: float = 0.01, *, seed: int = 0
) -> tuple[float, float, float, float]:
    r"""The share of values below the alpha quantile of the held-out ones.

    The threshold is the k-th smallest of n held-out values, $k = \lfloor \alpha (n + 1) \rfloor$:
    then a value of the same distribution is below it with probability $k / (n + 1)$ exactly.

    Args:
        prior: values to compare with the threshold, `(M,)`.
        held_out: values that the threshold comes from, `(n,)`.
        alpha: the nominal share.
        seed: of the bootstrap.

    Returns:
        The share, its standard error by a bootstrap of both samples, the nominal share
        $k / (n + 1)$, and the threshold.

    Raises:
        InputError: if `alpha` is below 1 / (n + 1), or not below 1.

    References:
        Conformal prediction: Algorithmic Learning in a Random World (Vovk et al., 2005,
        section 2.2.3)

    Example:
        >>> share_beyond(np.array([-1.0, 0.5, 2.0, 3.0]), np.arange(99.0), 0.02)[2:]
        (0.02, 1.0)
    """
    count, k = len(held_out), place_of(alpha, len(held_out))

    def share(values: np.ndarray, usual: np.ndarray) -> float:
        return float((values < np.partition(usual, k - 1)[k - 1]).mean())

    draw = np.random.default_rng(seed).choice
    again = [share(draw(prior, len(prior)), draw(held_out, count)) for _ in range(RESAMPLINGS)]
    threshold = float(np.partition(held_out, k - 1)[k - 1])
    return share(prior, held_out), float(np.std(again)), k / (count + 1), threshold


def place_of(alpha: float, count: int) -> int:
    """The place k of the threshold among `count` held-out values, see `share_beyond`."""
    k = math.floor(alpha * (count + 1) + 1e-9)
    if not 1 <= k <= count:
        least = 1 / (count + 1)
        raise InputError(f"alpha {alpha} for {count} held-out images: allowed is {least:.2g} to 1")
    return k


def share_p_value(beyond: int, draws: int, nominal: float, count: int) -> float:
    r"""The probability of at least as many draws beyond the threshold if nothing differs.

    $$P(X \ge x), \quad X \sim \text{BetaBinomial}(M, k, n + 1 - k)$$

    for M draws of the distribution that the n held-out values come from, and the k-th smallest
    held-out value as the threshold. It is exact, since the share of that distribution below the
    threshold has a Beta distribution.

    Args:
        beyond: the number of draws beyond the threshold, x.
        draws: M.
        nominal: $k / (n + 1)$.
        count: n.

    References:
        Order Statistics (David and Nagaraja, 3rd edition, section 2.1)

    Example:
        >>> round(share_p_value(1, 1, 0.02, 99), 6)
        0.02
    """
    from scipy.stats import betabinom

    k = round(nominal * (count + 1))
    found = betabinom.pmf(np.arange(beyond, draws + 1), draws, k, count + 1 - k)
    return min(1.0, float(found.sum()))


def _shares(
    prior: pandas.DataFrame, held_out: pandas.DataFrame, alpha: float, seed: int
) -> tuple[pandas.DataFrame, list[np.ndarray]]:
    """The table of both criteria, and for each criterion which draws are beyond the threshold."""
    rows, beyond = {}, []
    for name, sign in (("log_ratio", 1.0), ("distance", -1.0)):
        values, usual = sign * prior[name].to_numpy(), sign * held_out[name].to_numpy()
        if not np.isfinite(usual).all():
            raise InputError("the held-out encodings have no finite density under the posteriors")
        share, error, nominal, threshold = share_beyond(values, usual, alpha, seed=seed)
        beyond.append(values < threshold)
        medians = (prior[name].median(), held_out[name].median())
        both = _compared(values, usual)
        p_value = share_p_value(int(beyond[-1].sum()), len(values), nominal, len(usual))
        rows[name] = (share, error, nominal, sign * threshold, *medians, *both, p_value)
    columns = "share error nominal threshold prior held_out covered ks p_value share_p".split()
    table = pandas.DataFrame.from_dict(rows, orient="index", columns=columns)
    return table.rename_axis("criterion"), beyond


def _compared(prior: np.ndarray, held_out: np.ndarray) -> tuple[float, float, float]:
    """The share of `prior` above the median of `held_out`, and a Kolmogorov-Smirnov test."""
    covered = float((prior > np.median(held_out)).mean())
    columns = (np.nan_to_num(values)[:, None] for values in (prior, held_out))
    distance, p_value = kolmogorov_smirnov(*columns)  # Draws of the prior may have density 0.
    return covered, float(distance[0]), float(p_value[0])
