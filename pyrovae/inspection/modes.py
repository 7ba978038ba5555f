"""Searches modes of the posterior that the guide misses, from draws of the prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrovae.distributions.full_rank import MultivariateNormal
from pyrovae.evaluation.evidence import latents_at_once, summary
from pyrovae.inspection.climbing import adam, downhill
from pyrovae.inspection.real import require_real
from pyrovae.inspection.refinement import FittedImages, FullRankGuide, refine_full_rank
from pyrovae.inspection.tracing import Traced
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.lazy import pandas

__all__ = ["find_modes"]

#: Draws of the prior per image, from which the starts are chosen.
DRAWN = 64

#: Steps of Adam from each start, their first size, in standard deviations of the prior, and its
#: decay rates.
STEPS, RATE, BETAS = 120, 0.1, (0.9, 0.999)

#: Ends this many nats of log p(x, z) below the guide's mean hold no mass that counts.
DEPTH = 50.0

#: Ends per image that are used besides the guide's mode.
MOST = 4


@torch.no_grad()
def find_modes(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor],
    fitted: FullRankGuide,
    *,
    starts: int = 16,
    num_samples: int = 1000,
) -> pandas.DataFrame:
    r"""Searches modes of each posterior that draws of the guide do not reach.

    Importance sampling from the guide cannot show mass that the guide misses: its log p(x) is too
    low, and its k-hat and effective draws look good. So the search starts at draws of the prior,
    resampled with the weights $p(x \mid z)^\beta$, where beta leaves as many effective draws as
    there are starts. Adam climbs log p(x, z) from each start. A Normal is fitted at the best ends
    outside of the guide's mode. The equal mixture of these Normals and the one at the guide's
    mode is a proposal for log p(x), a lower bound in expectation.

    The search may miss modes, above all in many dimensions. `reached` shows how often it finds the
    known mode.

    Args:
        space: the latents, whose support must be R^D.
        x: observations `(B, C, H, W)`.
        inputs: further inputs of the programs.
        fitted: a Normal at the guide's mode of each image, from `refine_full_rank`.
        starts: starts per image, up to 64.
        num_samples: draws per image of the mixture.

    Returns:
        One row per image: `modes`, the number of ends outside of the guide's mode that may have
        mass; `reached`, the share of starts that end in the guide's mode; `log_evidence` by the
        mixture and its standard `error`, NaN without such ends.

    Raises:
        InputError: if the support of latents is not R^D.

    References:
        Importance sampling from a mixture: Safe and Effective Importance Sampling (Owen and Zhou,
        2000, section 4), https://doi.org/10.1080/01621459.2000.10473909
    """
    require_real(space, x, **inputs)
    images = FittedImages(space, x, inputs)
    rows = torch.arange(len(x), device=x.device).repeat(min(starts, DRAWN))
    z, scale = _starts(images, min(starts, DRAWN))
    z = _climbed(images, z, rows, scale)
    heights = _terms(images, z, rows).sum(0)
    known = _terms(images, fitted.loc, rows[: len(x)]).sum(0)
    inside = _close(z, fitted.loc[rows], fitted.scale_tril[rows])
    other = ~inside & (heights > known[rows] - DEPTH)
    found = []
    for image in range(len(x)):
        own = (other & (rows == image)).nonzero().squeeze(1)
        ordered = z[own[heights[own].argsort(descending=True)]]
        ends = _distinct(ordered, fitted.scale_tril[image])
        row = {"modes": len(ends), "reached": float(inside[rows == image].double().mean())}
        found.append(row | _evidence(images, fitted, image, ends, num_samples))
    return pandas.DataFrame(found)


def _terms(images: FittedImages, z: Tensor, rows: Tensor) -> Tensor:
    """Log p(z) and log p(x given z) of latents `(N, D)` of images `(N,)`: `(2, N)`."""
    most = latents_at_once(images.x[0].numel(), z.device)  # In parts that limit the memory.
    both = zip(z.split(most), rows.split(most), strict=True)
    return torch.cat([images.take(own).terms(some) for some, own in both], 1)


def _close(z: Tensor, loc: Tensor, tril: Tensor) -> Tensor:
    """Whether latents `(N, D)` lie where Normals have nearly all of their mass, `(N,)`."""
    units = torch.linalg.solve_triangular(tril, (z - loc).unsqueeze(-1), upper=False)
    return units.square().sum((-1, -2)) < 2 * z.shape[-1] + 9


def _distinct(ends: Tensor, tril: Tensor) -> Tensor:
    """The first ends that are not close to an earlier one, at most `MOST`."""
    kept: list[int] = []
    for row in range(len(ends)):
        others = ends[torch.tensor(kept, dtype=torch.long, device=ends.device)]
        if not _close(ends[row].expand_as(others), others, tril.expand(len(kept), -1, -1)).any():
            kept.append(row)
    return ends[torch.tensor(kept[:MOST], dtype=torch.long, device=ends.device)]


def _starts(images: FittedImages, count: int) -> tuple[Tensor, Tensor]:
    """Draws of the prior, `(count * B, D)`, resampled, and the prior's standard deviations."""
    every = torch.arange(len(images.x), device=images.x.device).repeat(DRAWN)
    z = images.space.prior_draws(len(every), **images.take(every).inputs)
    fits = _terms(images, z, every)[1].unflatten(0, (DRAWN, -1)).T.double().nan_to_num(-1e30)
    beta = torch.ones(len(fits), 1).to(fits)
    for _ in range(60):
        weights = (beta * fits).softmax(-1)
        beta = torch.where(1 / weights.square().sum(-1, True) < count, beta / 2, beta)
    rows = (weights + 1e-12).multinomial(count).T  # (count, B), without replacement.
    own = z.unflatten(0, (DRAWN, -1))
    chosen = own.gather(0, rows.unsqueeze(-1).expand(-1, -1, z.shape[-1]))
    return chosen.flatten(0, 1), z.std(0).clamp(min=1e-6)


def _climbed(images: FittedImages, start: Tensor, rows: Tensor, scale: Tensor) -> Tensor:
    """The ends of gradient ascent on log p(x, z)."""
    most = latents_at_once(images.x[0].numel(), start.device)

    def slope(z: Tensor, own: Tensor) -> tuple[Tensor, ...]:
        some = images.take(own)
        return downhill(lambda free: some.terms(free[0]).sum(0, keepdim=True), z)

    traced = Traced(slope)

    def slopes(z: Tensor) -> tuple[Tensor, ...]:
        both = zip(z.split(most), rows.split(most), strict=True)
        return (torch.cat([traced(*some)[0] for some in both]),)

    return adam(slopes, [start], [scale], [RATE], STEPS, betas=BETAS)[0]


def _evidence(
    images: FittedImages, fitted: FullRankGuide, image: int, ends: Tensor, num_samples: int
) -> dict[str, Any]:
    """Log p(x) of one image by the mixture of Normals at the ends and at the guide's mode."""
    if not len(ends):
        return {"log_evidence": float("nan"), "error": float("nan")}
    own = images.take(torch.full((len(ends),), image, device=ends.device))
    tril = fitted.scale_tril[image]
    scale = tril.square().sum(-1).sqrt()
    guide = FullRankGuide(images.space, ends, torch.diag_embed(scale.expand_as(ends)))
    for _ in range(2):  # The second Newton step starts closer.
        guide = refine_full_rank(own.space, own.x, own.inputs, guide=guide, steps=0)
    loc = torch.cat([fitted.loc[image : image + 1], guide.loc])
    parts = MultivariateNormal(
        loc, scale_tril=torch.cat([tril.unsqueeze(0), guide.scale_tril]), validate_args=False
    )
    z = parts.sample((-(-num_samples // len(loc)),)).flatten(0, 1)[:num_samples]
    log_q = parts.log_prob(z.unsqueeze(-2)).logsumexp(-1) - torch.tensor(len(loc)).log()
    joint = _terms(images, z, torch.full((num_samples,), image, device=loc.device)).sum(0)
    row = summary((joint - log_q).double().cpu().unsqueeze(-1)).iloc[0]
    # Rounding may give equal weights a little more than all draws.
    variance = max(1 / row["ess"] - 1 / len(z), 0.0)
    return {"log_evidence": row["log_evidence"], "error": variance**0.5}
