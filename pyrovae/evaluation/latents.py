"""What the latents hold: active units, mutual information, the aggregate posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.errors import InputError
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.passes import each_batch
from pyrovae.moments import centre
from pyrovae.programs import Programs, latent_sites, run_both

__all__ = ["SATURATED", "Codes", "active_units", "aggregate", "codes", "log_mixture"]

#: Nats below log N from which I(x; z) is bounded by so few images: of Normals in 8 to 128
#: dimensions whose aggregate is the prior it is 0.2 to 0.5 nats too low there, and ever more.
SATURATED = 2.5
#: Numbers in one block of draws times images times dimensions: some 100 MB.
BLOCK = 2**24


@dataclass(frozen=True)
class Codes:
    """What the guide says of each image of a split, and one draw of it.

    Attributes:
        means: centres of the posteriors, sites side by side, `(N, D)`.
        draws: for each site one draw an image, `(N, ...)`.
        log_q: log density of the draw under the guide, all sites together, `(N,)`, in nats.
        log_p: the same under the model's prior.
    """

    means: Tensor
    draws: dict[str, Tensor]
    log_q: Tensor
    log_p: Tensor


def codes(
    programs: Programs, images: Split | np.ndarray, engine: Engine, *, seed: int = 0
) -> Codes:
    """Encodes a split, one draw an image.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or its uint8 images `(N, C, H, W)`.
        engine: where to compute.
        seed: seed of the draws.
    """

    def compute(x: Tensor, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor, Tensor]:
        guide, model = run_both(programs.model, programs.guide, x, **inputs)
        names = latent_sites(guide)
        draws = {name: guide.nodes[name]["value"] for name in names}
        means = [centre(guide.nodes[name]["fn"]).reshape(len(x), -1) for name in names]
        scores = [
            sum(trace.nodes[name]["fn"].log_prob(draws[name]) for name in names)
            for trace in (guide, model)
        ]
        return torch.cat(means, 1), draws, scores[0], scores[1]

    found = list(each_batch(programs, images, engine, compute, seed=seed))
    means, log_q, log_p = (torch.cat([batch[i] for batch in found]) for i in (0, 2, 3))
    draws = {name: torch.cat([batch[1][name] for batch in found]) for name in found[0][1]}
    return Codes(means, draws, log_q, log_p)


def active_units(means: Tensor, threshold: float = 0.01) -> int:
    r"""How many latent dimensions tell images apart.

    $$A_d = \operatorname{Var}_x\left(\mathbb{E}_{q(z \mid x)}[z_d]\right) > 0.01$$

    Args:
        means: centres of the posteriors, `(N, D)`.
        threshold: what the variance must exceed.

    Raises:
        InputError: if there are fewer than two images.

    References:
        Importance Weighted Autoencoders (Burda et al., 2016, section 2 of the appendix and 5.2),
        https://arxiv.org/abs/1509.00519

    Example:
        >>> active_units(torch.tensor([[0.0, 5.0], [1.0, 5.0]]))
        1
    """
    if len(means) < 2:
        raise InputError(f"active units need at least 2 images, got {len(means)}")
    return int((means.double().var(0) > threshold).sum())


def aggregate(
    programs: Programs,
    images: Split | np.ndarray,
    engine: Engine,
    found: Codes,
    *,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Estimate]:
    r"""The rate in two: what the latents tell of the image, and how far all of them are off.

    $$\underbrace{\mathbb{E}_x KL(q(z \mid x) \,\|\, p(z))}_{\text{rate}} =
    \underbrace{I(x; z)}_{\text{mutual information}} + KL(q(z) \,\|\, p(z)), \quad
    q(z) = \frac{1}{N} \sum_n q(z \mid x_n)$$

    The aggregate posterior q(z) is the mixture over these N images, so that the mutual
    information is that of a draw and the image's place among them: at most log N, which is
    given as its `limit`, and below that of other images. The closer it comes to that, the
    more it falls short, and the second part is too large by as much: from 2.5 nats below it on
    by half a nat and more.

    Args:
        programs: the pair of programs, on the engine's device.
        images: what `found` was made of.
        engine: where to compute.
        found: from `codes`.
        seed: the seed that `found` was made with.
        progress: whether to show a progress bar; the work grows with the square of N.

    Returns:
        `mutual_information`, `aggregate_kl` and `limit`, in nats.

    References:
        ELBO Surgery (Hoffman and Johnson, 2016, section 2)
    """
    count = len(found.log_q)
    if count < 2:
        raise InputError(f"the aggregate posterior needs at least 2 images, got {count}")

    mixture = log_mixture(programs, images, engine, found.draws, seed=seed, progress=progress)
    return {
        "mutual_information": Estimate.of((found.log_q - mixture).cpu()),
        "aggregate_kl": Estimate.of((mixture - found.log_p).cpu()),
        "limit": Estimate(math.log(count)),
    }


def log_mixture(
    programs: Programs,
    images: Split | np.ndarray,
    engine: Engine,
    draws: dict[str, Tensor],
    *,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    r"""The log density of any latents under the aggregate posterior of a split.

    $$\log q(z) = \log \frac{1}{N} \sum_n q(z \mid x_n)$$

    All sites together; where programs take attributes, each posterior is given those of its own
    image.

    Args:
        programs: the pair of programs, on the engine's device.
        images: the N images: a split, or its uint8 images `(N, C, H, W)`.
        engine: where to compute.
        draws: the values of each latent site, `(M, ...)`.
        seed: decides what is observed of images that are dequantised or binarised.
        progress: whether to show a progress bar; the work grows with M times N.

    Returns:
        Nats, `(M,)`.

    Raises:
        NotImplementedError: if a posterior has no density.
    """

    def compute(x: Tensor, **inputs: Tensor) -> Tensor:
        return _log_summed(programs, draws, x, **inputs)

    said = "aggregate posterior" if progress else None
    parts = list(each_batch(programs, images, engine, compute, seed=seed, said=said))
    return torch.stack(parts).logsumexp(0) - math.log(len(images))


def _log_summed(
    programs: Programs, draws: dict[str, Tensor], x: Tensor, **inputs: Tensor
) -> Tensor:
    """The log of the summed densities of all draws under the posteriors of a batch, `(M,)`."""
    trace = poutine.trace(programs.guide).get_trace(x, **inputs)
    sizes = [trace.nodes[name]["fn"].event_shape.numel() for name in draws]
    size = max(1, BLOCK // (len(x) * max(1, sum(sizes))))
    blocks = []
    for start in range(0, len(next(iter(draws.values()))), size):
        some = {n: _repeated(z[start : start + size], len(x)) for n, z in draws.items()}
        if len(draws) > 1:  # A site may depend on the others.
            given = poutine.condition(programs.guide, data=some)
            trace = poutine.trace(given).get_trace(x, **inputs)
        scores = [trace.nodes[name]["fn"].log_prob(z) for name, z in some.items()]
        blocks.append(sum(scores[1:], scores[0]).logsumexp(-1))
    return torch.cat(blocks)


def _repeated(z: Tensor, count: int) -> Tensor:
    """Draws `(M, ...)` once for each of so many images, `(M, B, ...)`."""
    return z.unsqueeze(1).expand(len(z), count, *z.shape[1:])
