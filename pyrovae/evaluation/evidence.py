"""How probable images are: log p(x) by importance sampling, and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from pyro.ops.stats import fit_generalized_pareto
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.posterior.passes import GROUP, each_batch
from pyrovae.programs.pair import ModelGuidePair, run_both
from pyrovae.utils.sites import sample_sites

if TYPE_CHECKING:
    import pandas

__all__ = [
    "UNRELIABLE",
    "latents_at_once",
    "log_evidence",
    "log_weights",
    "many_log_weights",
    "pareto_k",
    "summary",
    "weights_of_images",
]

#: k-hat above which weights tell neither their mean nor how far off it is.
UNRELIABLE = 0.7
#: Pixels that are decoded at once on a CPU, some 100 MB in most networks, and on a GPU, where
#: a small batch takes as long as one eight times as large.
PIXELS_AT_ONCE, PIXELS_ON_GPU = 2**20, 2**23


def latents_at_once(pixels: int, device: torch.device) -> int:
    """How many latents are decoded at once: of the kind of device alone, as draws depend on it.

    Args:
        pixels: of one image, all channels.
        device: where.

    Example:
        >>> [latents_at_once(3 * 64 * 64, torch.device(name)) for name in ("cpu", "cuda")]
        [85, 682]
    """
    most = PIXELS_ON_GPU if device.type == "cuda" else PIXELS_AT_ONCE
    return max(1, most // pixels)


def log_weights(programs: ModelGuidePair, num_samples: int, x: Tensor, **inputs: Tensor) -> Tensor:
    r"""Log importance weights of draws from the guide, `(K, B)`, in nats.

    $$\log w_k = \log p(x, z_k) - \log q(z_k \mid x), \quad z_k \sim q(z \mid x)$$

    All sites of both programs count, whatever they are called; each image has weights of its
    own. The encoder runs once for all draws of an image where the guide's first site is drawn.

    Args:
        programs: the pair of programs.
        num_samples: K.
        x: observations `(B, C, H, W)`.
        **inputs: what the programs take besides.
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

    Below 0.5 the weights' variance is finite and estimates are good; above 0.7 they cannot be
    trusted, however many draws there are: the guide misses mass of the posterior.

    Args:
        log_weights: log weights of one image, `(S,)`.

    Returns:
        k-hat of the largest `min(S / 5, 3 sqrt(S))` weights; NaN for fewer than 5 of them, and
        minus infinity where all weights are equal, as those of an exact posterior.

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
    # Relative to the largest: neither too large nor too small for floats.
    largest = np.exp(ordered[-tail - 1 :] - ordered[-1])
    excess = largest[1:] - largest[0]
    if excess[-1] <= 1e-9:
        return -math.inf
    # The fit divides by a quartile, which ties with the threshold may make zero.
    return fit_generalized_pareto(torch.from_numpy(np.maximum(excess, 1e-30)))[0]


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

    In expectation it is a lower bound that rises to log p(x) with S; published tables use 5,000.
    Densities are scored at dequantised pixels, binarised images are drawn once.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or its uint8 images `(N, C, H, W)`.
        num_samples: draws an image, S.
        engine: where to compute; by default the CPU.
        seed: seed of the draws; they also depend on `at_once`.
        at_once: how many draws are decoded at once, which bounds the memory; by default some
            100 MB worth, on a GPU eight times that.
        first: the place of the first of these images in the whole split, a multiple of 10: what
            is observed of an image depends on its place and the seed.
        progress: whether to show a progress bar.

    Returns:
        A row an image: `log_evidence` and its standard `error` over draws, the `elbo` (mean of
        log w), all in nats; `ess`, the effective number of draws; `k_hat`, see `pareto_k`. The
        error is NaN where k-hat is above 0.7: there the draws do not tell how far off they are.

    Raises:
        ValueError: if `num_samples` or `at_once` is not positive.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016, equation 8, section 5),
        https://arxiv.org/abs/1509.00519
    """
    import pandas

    passes = weights_of_images(
        programs,
        images,
        num_samples,
        engine=engine,
        seed=seed,
        at_once=at_once,
        first=first,
        progress=progress,
    )
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
    """The log weights that `log_evidence` sums up, `(S, B)` for some images at a time.

    Args:
        programs: as for `log_evidence`, as the rest.
        images: which ones.
        num_samples: draws an image, S.
        engine: where to compute.
        seed: seed of the draws.
        at_once: how many draws are decoded at once.
        first: the place of the first of these images.
        part: of all draws of these images; those of another part are independent.
        rows: places of those that are drawn for, each observed as all of them would be.
        progress: whether to show a progress bar.
    """
    if num_samples < 1 or (at_once is not None and at_once < 1):
        raise ValueError(f"num_samples {num_samples}, at_once {at_once}: allowed is 1 or more")

    def compute(x: Tensor, **inputs: Tensor) -> Tensor:
        most = at_once or latents_at_once(x[0].numel(), x.device)
        parts = []
        for start in range(0, len(x), most):  # All of them but where images are very large.
            some = slice(start, start + most)
            own = {name: value[some] for name, value in inputs.items()}
            parts.append(many_log_weights(programs, num_samples, x[some], most, **own))
        return torch.cat(parts, 1)

    return each_batch(
        programs,
        images,
        engine or Engine("cpu", "fp32"),
        compute,
        seed=seed,
        batch_size=GROUP,
        first=first,
        part=part,
        rows=rows,
        description="log p(x)" if progress else None,
    )


def many_log_weights(
    programs: ModelGuidePair,
    num_samples: int,
    x: Tensor,
    at_once: int | None = None,
    **inputs: Tensor,
) -> Tensor:
    """Log weights `(S, B)` as `log_weights` gives them, in doubles on the CPU, in little memory.

    Args:
        programs: the pair of programs.
        num_samples: S.
        x: observations `(B, C, H, W)`.
        at_once: how many latents are decoded at once; by default see `latents_at_once`.
        **inputs: what the programs take besides.
    """
    each = max(1, (at_once or latents_at_once(x[0].numel(), x.device)) // len(x))
    counts = [min(each, num_samples - done) for done in range(0, num_samples, each)]
    found = [log_weights(programs, count, x, **inputs).double().cpu() for count in counts]
    return torch.cat(found)


def summary(log_w: Tensor) -> pandas.DataFrame:
    """What log weights `(S, B)` say: a row an image, with the columns of `log_evidence`."""
    import pandas

    count = len(log_w)
    k_hat = torch.tensor([pareto_k(own.numpy()) for own in log_w.T], dtype=torch.double)
    log_ess = 2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)
    ess = log_ess.exp()
    return pandas.DataFrame(
        {
            "log_evidence": log_w.logsumexp(0) - math.log(count),
            # The delta method: the variance of w over its squared mean is S / ESS - 1.
            "error": (1 / ess - 1 / count)
            .clamp(min=0)
            .sqrt()
            .where(~(k_hat > UNRELIABLE), math.nan),
            "elbo": log_w.mean(0),
            "ess": ess,
            "k_hat": k_hat,
        }
    )
