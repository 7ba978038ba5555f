"""Estimates of log p(x) by importance sampling, and the k-hat diagnostic of their weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import torch
from pyro.ops.stats import fit_generalized_pareto
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.evaluation.pairs import chunks
from pyrovae.posterior.passes import GROUP, each_batch
from pyrovae.programs.pair import ModelGuidePair, run_both
from pyrovae.utils.lazy import pandas
from pyrovae.utils.sites import sample_sites

__all__ = ["log_evidence", "log_weights", "pareto_k"]

#: k-hat above which neither the mean of the weights nor its standard error can be estimated.
UNRELIABLE = 0.7
#: Least difference of weights relative to the largest one.
TINY = 1e-30
#: Relative spread of sums in float32 that is due to rounding alone.
ROUNDING = 8 * float(np.finfo(np.float32).eps)
#: Pixels decoded at once: on a CPU, some 100 MB in most networks; on a GPU, where a batch eight
#: times as large takes no longer.
PIXELS_AT_ONCE, PIXELS_ON_GPU = 2**20, 2**23


def latents_at_once(pixels: int, device: torch.device) -> int:
    """The number of latents that are decoded at once.

    It depends only on the image size and the type of device, not on free memory, because draws
    depend on it.

    Args:
        pixels: values per image: channels times height times width.
        device: where to decode.

    Example:
        >>> [latents_at_once(3 * 64 * 64, torch.device(name)) for name in ("cpu", "cuda")]
        [85, 682]
    """
    most = PIXELS_ON_GPU if device.type == "cuda" else PIXELS_AT_ONCE
    return max(1, most // pixels)


def log_weights(programs: ModelGuidePair, num_samples: int, x: Tensor, **inputs: Tensor) -> Tensor:
    r"""Log importance weights of draws from the guide, `(K, B)`, in nats.

    $$\log w_k = \log p(x, z_k) - \log q(z_k \mid x), \quad z_k \sim q(z \mid x)$$

    All sample sites of both programs count; each image has its own weights. The network of the
    guide's first site runs once for all draws of an image.

    Args:
        programs: the pair of programs.
        num_samples: K.
        x: observations `(B, C, H, W)`.
        **inputs: further inputs of the programs.
    """

    def total(trace: Any) -> Tensor:
        sites = [trace.nodes[name] for name in sample_sites(trace)]
        scores = [site["fn"].log_prob(site["value"]) for site in sites]
        return sum(scores, torch.zeros(num_samples, len(x), device=x.device))

    with pyro.plate("draws of each image", num_samples, dim=-2):
        guide_trace, model_trace = run_both(programs.model, programs.guide, x, **inputs)
    return total(model_trace) - total(guide_trace)


def pareto_k(log_weights: np.ndarray) -> float:
    """Shape of the tail of importance weights: k-hat, a diagnostic of importance sampling.

    Below 0.5 the weights have finite variance and estimates are reliable. Above 0.7 estimates are
    unreliable for any practical number of draws: the guide misses mass of the posterior.

    Args:
        log_weights: log weights of one image, `(S,)`.

    Returns:
        k-hat of the largest `min(S / 5, 3 sqrt(S))` weights; NaN if these are fewer than 5;
        minus infinity if they are equal to within rounding, as for an exact posterior; infinity
        if most of them are too small, relative to the largest one, for double precision.

    References:
        Pareto Smoothed Importance Sampling (Vehtari et al., 2024, sections 3.1 and 3.2.4),
        https://arxiv.org/abs/1507.02646

    Example:
        >>> pareto_k(np.zeros(1000))
        -inf
    """
    count = len(log_weights)
    tail = min(count // 5, math.ceil(3 * math.sqrt(count)))
    if tail < 5 or not np.isfinite(log_weights).all():
        return math.nan
    ordered = np.sort(log_weights)
    # Relative to the largest weight, to avoid overflow and underflow.
    largest = np.exp(ordered[-tail - 1 :] - ordered[-1])
    excess = largest[1:] - largest[0]
    rounding = ROUNDING * np.abs(log_weights).max()
    if excess[-1] <= 1e-9 or ordered[-1] - ordered[-tail - 1] <= rounding:
        return -math.inf
    # The fit divides by a quartile, which would be zero if many weights equal the threshold.
    if excess[tail // 4] < TINY and ordered[tail // 4 - tail] - ordered[-tail - 1] > rounding:
        return math.inf
    return fit_generalized_pareto(torch.from_numpy(np.maximum(excess, TINY)))[0]


def log_evidence(
    programs: ModelGuidePair,
    images: Split | np.ndarray,
    num_samples: int = 5000,
    *,
    engine: Engine | None = None,
    seed: int = 0,
    at_once: int | None = None,
    first: int = 0,
    progress: bool = False,
) -> pandas.DataFrame:
    r"""Estimates log p(x) of each image by importance sampling from the guide.

    $$\log p(x) \approx \log \frac{1}{S} \sum_{s=1}^{S} w_s, \quad
    w_s = \frac{p(x \mid z_s)\, p(z_s)}{q(z_s \mid x)}, \quad z_s \sim q(z \mid x)$$

    In expectation it is a lower bound of log p(x), which rises to it with S; published tables use
    S = 5,000. Densities are evaluated at dequantised pixels; binarised images are drawn once.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or its uint8 images `(N, C, H, W)`.
        num_samples: draws per image, S.
        engine: where to compute; by default the CPU.
        seed: seed of the draws; they also depend on `at_once`.
        at_once: how many draws are decoded at once, which limits the memory; by default about
            100 MB, on a GPU eight times as much.
        first: the index of the first of these images in the whole split, a multiple of 10; the
            observation of an image depends on its index and the seed.
        progress: whether to show a progress bar.

    Returns:
        One row per image: `log_evidence` and its standard `error` over draws, the `elbo` (mean of
        log w), all in nats; `ess`, the effective number of draws; `k_hat`, see `pareto_k`, and 0
        where all weights are equal. The error is NaN where k-hat is above 0.7, since it cannot be
        estimated there.

    Raises:
        ValueError: if `num_samples` or `at_once` is not positive.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016, equation 8, section 5),
        https://arxiv.org/abs/1509.00519
    """
    how: dict[str, Any] = {"engine": engine, "seed": seed, "at_once": at_once, "first": first}
    passes = weights_of_images(programs, images, num_samples, progress=progress, **how)
    return pandas.concat(map(summary, passes), ignore_index=True)


def weights_of_images(
    programs: ModelGuidePair,
    images: Split | np.ndarray,
    num_samples: int,
    *,
    engine: Engine | None = None,
    seed: int = 0,
    at_once: int | None = None,
    first: int = 0,
    part: int = 0,
    rows: np.ndarray | None = None,
    progress: bool = False,
) -> Iterator[Tensor]:
    """Yields the log weights that `log_evidence` summarises, `(S, B)` per batch of images.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or its uint8 images `(N, C, H, W)`.
        num_samples: draws per image, S.
        engine: where to compute; by default the CPU.
        seed: seed of the draws.
        at_once: how many draws are decoded at once.
        first: the index of the first of these images in the whole split.
        part: number of this part of the draws; draws of different parts are independent.
        rows: indices of the images to draw for; by default all. Their observations are those
            that they have among all images.
        progress: whether to show a progress bar.
    """
    if num_samples < 1 or (at_once is not None and at_once < 1):
        raise ValueError(f"num_samples {num_samples}, at_once {at_once}: allowed is 1 or more")

    def compute(x: Tensor, **inputs: Tensor) -> Tensor:
        most = at_once or latents_at_once(x[0].numel(), x.device)
        parts = []
        for some in chunks(len(x), most):  # One iteration, except for very large images.
            own = {name: value[some] for name, value in inputs.items()}
            parts.append(many_log_weights(programs, num_samples, x[some], most, **own))
        return torch.cat(parts, 1)

    own = (programs, images, engine or Engine("cpu", "fp32"), compute)
    which: dict[str, Any] = {"first": first, "part": part, "rows": rows, "batch_size": GROUP}
    return each_batch(*own, seed=seed, description="log p(x)" if progress else None, **which)


def many_log_weights(
    programs: ModelGuidePair, count: int, x: Tensor, at_once: int | None = None, **inputs: Tensor
) -> Tensor:
    """The `log_weights` of many draws, computed in chunks: `(S, B)`, in doubles on the CPU.

    Args:
        programs: the pair of programs.
        count: S.
        x: observations `(B, C, H, W)`.
        at_once: how many latents are decoded at once; by default see `latents_at_once`.
        **inputs: further inputs of the programs.
    """
    each = max(1, (at_once or latents_at_once(x[0].numel(), x.device)) // len(x))
    counts = [min(each, count - done) for done in range(0, count, each)]
    found = [log_weights(programs, own, x, **inputs).double().cpu() for own in counts]
    return torch.cat(found)


def summary(log_w: Tensor) -> pandas.DataFrame:
    """Estimates from log weights `(S, B)`: one row per image, the columns of `log_evidence`."""
    count = len(log_w)
    k_hat = torch.tensor([pareto_k(own.numpy()) for own in log_w.T], dtype=torch.double)
    k_hat = torch.where(k_hat == -math.inf, 0.0, k_hat)
    ess = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()
    # The delta method: the variance of w over its squared mean is S / ESS - 1.
    error = (1 / ess - 1 / count).clamp(min=0).sqrt().where(~(k_hat > UNRELIABLE), math.nan)
    evidence = log_w.logsumexp(0) - math.log(count)
    columns = {"log_evidence": evidence, "error": error, "elbo": log_w.mean(0)}
    return pandas.DataFrame({**columns, "ess": ess, "k_hat": k_hat})
