"""Normals fitted to posteriors over hundreds of latent dimensions or more."""

from __future__ import annotations

import itertools
import sys

import pyro.distributions as dist
import torch
from torch import Tensor
from tqdm import tqdm

from pyrovae.inspection.climbing import adam
from pyrovae.inspection.real import require_real
from pyrovae.inspection.refinement import FittedImages, FullRankGuide, best_of, newton
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.progress import hides_bar

__all__ = ["refine_many_latents"]


@torch.no_grad()
def refine_many_latents(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    steps: int = 200,
    learning_rate: float = 0.1,
    progress: bool = False,
) -> FullRankGuide:
    r"""Fits a Normal to the posterior of each image, for hundreds of latent dimensions or more.

    Adam fits a Normal with a diagonal covariance matrix, from the moments of the guide, with one
    draw per step and path gradients. From there a Newton step gives a full covariance matrix, as
    in `refine_full_rank`: its cost is two gradients per dimension. Adam then fits the mean and
    the scales along its axes. Each image keeps the one with the highest ELBO.

    Args:
        space: the latents, whose support must be R^D.
        x: observations `(B, C, H, W)`.
        inputs: further inputs of the programs.
        steps: steps of each fit by Adam; the learning rate falls to 0 as a half cosine.
        learning_rate: at the start, in units of standard deviations.
        progress: whether to show progress bars, with the ELBO per image in nats.

    Raises:
        InputError: if the support of latents is not R^D.
    """
    images = FittedImages(space, x, inputs or {})
    require_real(space, x, **images.inputs)
    hidden = hides_bar(progress)
    z = space.guide_draws(200, x, **images.inputs)
    plain = FullRankGuide(space, z.mean(0), torch.diag_embed(z.std(0).clamp(min=1e-6)))
    first = _climbed(images, plain, steps, learning_rate, hidden)
    scale = first.scale_tril.diagonal(dim1=-2, dim2=-1)
    start = best_of(images, [first, *newton(images, first.loc, scale, hidden)])
    end = _climbed(images, start, steps, learning_rate, hidden)
    return best_of(images, [start, end])


def _climbed(
    images: FittedImages, start: FullRankGuide, steps: int, rate: float, hidden: bool | None
) -> FullRankGuide:
    """The result of Adam on the mean and the scales, in the coordinates of a start."""
    loc, tril = start.loc, start.scale_tril
    volume = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    done = itertools.count()
    bar = tqdm(total=steps, desc="fit of the latents", disable=hidden, file=sys.stderr)

    def slopes(*given: Tensor) -> tuple[Tensor, ...]:
        free = [own.detach().requires_grad_() for own in given]
        with torch.enable_grad():
            q = dist.Normal(free[0], free[1].exp())
            fixed = dist.Normal(q.loc.detach(), q.scale.detach())
            u = q.rsample()
            z = loc + (tril @ u.unsqueeze(-1)).squeeze(-1)
            elbos = images.log_joint(z[None])[0] - fixed.log_prob(u).sum(-1) + volume
            found = torch.autograd.grad(-elbos.sum(), free)
        if not next(done) % 10:
            bar.set_postfix_str(f"ELBO {elbos.mean().item():,.1f}")
        bar.update()
        return found

    zeros, ones = [torch.zeros_like(loc)] * 2, [torch.ones_like(loc)] * 2
    with bar:
        shift, log_scale = adam(slopes, zeros, ones, [rate] * 2, steps)
    moved = loc + (tril @ shift.unsqueeze(-1)).squeeze(-1)
    return FullRankGuide(start.space, moved, tril * log_scale.exp().unsqueeze(-2))
