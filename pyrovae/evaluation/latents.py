"""The mutual information of image and latents, and the aggregate posterior."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae.data.rows import spread_rows
from pyrovae.evaluation.estimates import Estimate
from pyrovae.posterior.passes import each_batch
from pyrovae.posterior.view import PosteriorView
from pyrovae.programs.pair import run_both
from pyrovae.utils.errors import InputError

__all__ = ["aggregate", "log_mixture"]

#: Within this many nats of log N the estimate of I(x; z) is limited by the number of images. For
#: Normals in 8 to 128 dimensions whose aggregate is the prior, it is 0.2 to 0.5 nats too low at
#: this distance, and more so closer to log N.
SATURATED = 2.5
#: Numbers in one block of draws times images times dimensions: some 100 MB.
BLOCK = 2**24
#: The same where networks run for each of them: they need many times this memory.
RUN = 2**21
#: Draws for the mean of log q(z) of programs with several latent sites: each draw runs the guide's
#: networks once per image.
SOME = 64


def aggregate(view: PosteriorView, *, progress: bool = False) -> dict[str, Estimate]:
    r"""ELBO surgery: the rate as I(x; z) + KL(q(z) ‖ p(z)).

    $$\underbrace{\mathbb{E}_x KL(q(z \mid x) \,\|\, p(z))}_{\text{rate}} =
    \underbrace{I(x; z)}_{\text{mutual information}} + KL(q(z) \,\|\, p(z)), \quad
    q(z) = \frac{1}{N} \sum_n q(z \mid x_n)$$

    The aggregate posterior q(z) is the mixture over these N images, so I(x; z) is the mutual
    information of a draw and the index of its image. It is at most log N, given as `limit`, and
    a lower bound of the mutual information over all possible images. The closer it is to log N,
    the more it is too low, and the KL is too high by the same amount: by half a nat or more within
    2.5 nats of log N.

    Programs that take attributes may have a different prior for each image. Then p(z) is the
    mixture of the priors of these images, the two parts do not sum to the rate, and I(x; z)
    includes the information of the attributes.

    Programs with several latent sites run the guide for each pair of a draw and an image. So
    I(x; z) is a mean over the draws of 64 images, spread over the split; the mixture has all N
    images. The other part is the rate minus I(x; z).

    Args:
        view: the programs and the N images.
        progress: whether to show a progress bar; the work grows with the square of N.

    Returns:
        `mutual_information`, `aggregate_kl` and `limit`, in nats. `aggregate_kl` is NaN for
        programs that take attributes and have several latent sites.

    References:
        ELBO Surgery (Hoffman and Johnson, 2016, section 2)
    """
    count = len(view.split)
    if count < 2:
        raise InputError(f"the aggregate posterior needs at least 2 images, got {count}")

    rows = spread_rows(count, SOME if len(view.draws) > 1 else 0)
    draws = {name: z[rows] for name, z in view.draws.items()}
    mixture = log_mixture(view, draws, progress=progress)
    log_q, log_p = (
        torch.from_numpy(values).to(mixture) for values in (view.encoded.log_q, view.encoded.log_p)
    )
    prior = _log_prior_mixture(view, draws) if view.programs.attributes else log_p[rows]
    apart = mixture - prior
    if len(rows) < count:  # So that both parts sum to the rate of all draws.
        rates = log_q - log_p
        apart = apart + rates.mean() - rates[rows].mean()
    groups = None if view.split.groups is None else view.split.groups[rows]
    return {
        "mutual_information": Estimate.of((log_q[rows] - mixture).cpu(), groups),
        "aggregate_kl": Estimate.of(apart.cpu(), groups),
        "limit": Estimate(math.log(count)),
    }


def log_mixture(
    view: PosteriorView, draws: dict[str, Tensor], *, progress: bool = False
) -> Tensor:
    r"""The log density of latents under the aggregate posterior of a split.

    $$\log q(z) = \log \frac{1}{N} \sum_n q(z \mid x_n)$$

    The density is the joint one of all latent sites. Where programs take attributes, each
    posterior uses those of its image.

    Args:
        view: the programs and the N images.
        draws: the values of each latent site, `(M, ...)`.
        progress: whether to show a progress bar. The work grows with M times N; programs with
            several latent sites run the guide's networks for each pair.

    Returns:
        Nats, `(M,)`.

    Raises:
        NotImplementedError: if a posterior has no density.
    """

    def compute(x: Tensor, **inputs: Tensor) -> Tensor:
        def run(given: dict[str, Tensor]) -> Any:
            guide = poutine.condition(view.programs.guide, data=given)
            return poutine.trace(guide).get_trace(x, **inputs)

        return _log_summed(run, draws, len(x))

    return _log_mean(view, compute, "aggregate posterior" if progress else None)


def _log_prior_mixture(view: PosteriorView, draws: dict[str, Tensor]) -> Tensor:
    """The log density of draws under the mixture of the images' priors, `(M,)`."""
    if len(draws) > 1:  # It would decode every draw with the attributes of every image.
        return torch.full((len(next(iter(draws.values()))),), math.nan, device=view.engine.device)

    def compute(x: Tensor, **inputs: Tensor) -> Tensor:
        model = run_both(view.programs.model, view.programs.guide, x, **inputs)[1]
        return _log_summed(lambda given: model, draws, len(x))

    return _log_mean(view, compute)


def _log_mean(
    view: PosteriorView, compute: Callable[..., Tensor], title: str | None = None
) -> Tensor:
    """The log of the mean over all images, from log sums per batch: `(M,)`."""
    own = (view.programs, view.split, view.engine)
    parts = list(each_batch(*own, compute, seed=view.seed, description=title))
    return torch.stack(parts).logsumexp(0) - math.log(len(view.split))


def _log_summed(
    run: Callable[[dict[str, Tensor]], Any], draws: dict[str, Tensor], count: int
) -> Tensor:
    """The log of the sum over the images of a batch of each draw's density, `(M,)`.

    Args:
        run: returns the trace of the program on the batch, given values of latent sites.
        draws: the values of each latent site, `(M, ...)`.
        count: the number of images in the batch.
    """
    trace = run({})
    sizes = [trace.nodes[name]["fn"].event_shape.numel() for name in draws]
    most = BLOCK if len(draws) == 1 else RUN
    size = max(1, most // (count * max(1, sum(sizes))))
    blocks = []
    for start in range(0, len(next(iter(draws.values()))), size):
        some = {n: _repeated(z[start : start + size], count) for n, z in draws.items()}
        if len(draws) > 1:  # A site may depend on the others.
            trace = run(some)
        scores = [trace.nodes[name]["fn"].log_prob(z) for name, z in some.items()]
        blocks.append(sum(scores[1:], scores[0]).logsumexp(-1))
    return torch.cat(blocks)


def _repeated(z: Tensor, count: int) -> Tensor:
    """Draws `(M, ...)` repeated for each of `count` images, `(M, B, ...)`."""
    return z.unsqueeze(1).expand(len(z), count, *z.shape[1:])
