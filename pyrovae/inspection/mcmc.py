"""Draws from the exact posterior of an image, to hold the guide's draws against."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

from pyrovae.inspection import nuts
from pyrovae.inspection.real import require_real
from pyrovae.inspection.refinement import refine_full_rank
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.errors import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["Chains", "sample_posterior", "sample_posteriors"]

#: Steps of refinement of the Normal in whose units the chains walk.
FITTING_STEPS = 50

#: How wide the chains' starts lie, in standard deviations of that Normal.
START_SPREAD = 1.5

#: Draws of the guide that it is compared by.
GUIDE_DRAWS = 2000


@dataclass(frozen=True)
class Chains:
    """What NUTS drew from the posterior of one image, and the guide.

    Attributes:
        names: of the D dimensions.
        draws: `(chains, draws, D)`.
        guide: draws of the guide, `(draws, D)`.
        moved: the share of each chain's kept draws that are not the one before: near 1 for
            NUTS, which rarely stays.
        divergences: how many kept draws of each chain diverged.
    """

    names: list[str]
    draws: np.ndarray
    guide: np.ndarray
    moved: list[float]
    divergences: list[int]

    def only(self, columns: np.ndarray) -> Chains:
        """Some of the dimensions."""
        names = [self.names[column] for column in columns]
        draws, guide = self.draws[..., columns], self.guide[:, columns]
        return replace(self, names=names, draws=draws, guide=guide)

    @property
    def r_hat(self) -> np.ndarray:
        """Split R-hat of each dimension, `(D,)`: above 1.05 the chains have not mixed."""
        return split_gelman_rubin(torch.from_numpy(self.draws)).numpy()

    @property
    def effective_draws(self) -> np.ndarray:
        """Effective draws of each dimension, `(D,)`, at most N log10 N of N draws.

        Draws that turn back on themselves tell more than independent ones. The estimate of how
        much diverges, and is negative beyond that: such chains get the most there can be.

        References:
            Rank-Normalization, Folding, and Localization (Vehtari et al., 2021, section 3),
            https://arxiv.org/abs/1903.08008
        """
        return _effective(self.draws)

    def table(self) -> pandas.DataFrame:
        r"""The moments of the guide and of the chains, one row per dimension.

        Returns:
            `mean` and `sd` of the chains, `r_hat` and `ess` (effective draws), `guide_mean` and
            `guide_sd`, `shift` (guide's mean minus the chains', in the chains' standard
            deviations), `ratio` (of the guide's standard deviation to the chains'), its standard
            error `ratio_error` by the draws of both, and `kl`, of Normals with these moments,
            $KL(q \,\|\, p)$ in nats. For `ratio_error` the chains' draws count by how effective
            their squares are: those that turn back tell more of a mean, and no more of a spread.
        """
        import pandas

        flat = self.draws.reshape(-1, len(self.names))
        mean, sd = flat.mean(0), flat.std(0, ddof=1)
        guide_mean, guide_sd = self.guide.mean(0), self.guide.std(0, ddof=1)
        shift, ratio = (guide_mean - mean) / sd, guide_sd / sd
        squares = _effective(np.square(self.draws - mean))
        # Of a Normal's standard deviation from n draws the relative error is 1 / sqrt(2 n).
        relative = np.sqrt((1 / np.maximum(squares, 1) + 1 / len(self.guide)) / 2)
        columns = {
            "mean": mean,
            "sd": sd,
            "r_hat": self.r_hat,
            "ess": self.effective_draws,
            "guide_mean": guide_mean,
            "guide_sd": guide_sd,
            "shift": shift,
            "ratio": ratio,
            "ratio_error": ratio * relative,
            "kl": (shift**2 + ratio**2 - 1) / 2 - np.log(ratio),
        }
        return pandas.DataFrame(columns, index=pandas.Index(self.names, name="dimension"))


def _effective(values: np.ndarray) -> np.ndarray:
    """Effective draws of `(chains, draws, D)`, see `Chains.effective_draws`."""
    count = values.shape[0] * values.shape[1]
    found = effective_sample_size(torch.from_numpy(values)).numpy()
    most = count * math.log10(count)
    return np.where(found < 0, most, np.minimum(found, most))


@torch.no_grad()
def sample_posterior(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    warmup: int = 200,
    num_samples: int = 200,
    num_chains: int = 2,
    tree_depth: int = 5,
) -> Chains:
    r"""Draws from p(z given x) of one image with NUTS: `sample_posteriors` of one.

    Args:
        space: the latents, which must fill R^D.
        x: observations of one image `(1, C, H, W)`.
        inputs: what the programs take besides.
        warmup: steps of each chain that are not kept, at least 1.
        num_samples: draws kept of each chain, at least 4.
        num_chains: how many chains, at least 1.
        tree_depth: a draw takes $2^d - 1$ gradients at most, d at least 1.

    Raises:
        InputError: if latents do not fill R^D, there is not one image, or a number is too
            small.
    """
    if len(x) != 1:
        raise InputError(f"chains are for one image at a time, got {len(x)}")
    found = sample_posteriors(
        space,
        x,
        inputs,
        warmup=warmup,
        num_samples=num_samples,
        num_chains=num_chains,
        tree_depth=tree_depth,
    )
    return found[0]


@torch.no_grad()
def sample_posteriors(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    warmup: int = 200,
    num_samples: int = 200,
    num_chains: int = 2,
    tree_depth: int = 5,
    bar: Callable[[range], Iterable[int]] = lambda steps: steps,
) -> list[Chains]:
    r"""Draws from p(z given x) of each image with NUTS.

    The chains of all images walk at once, each by itself, in units of a Normal fitted to its
    image, $z = m + L\,\epsilon$ as `refine_full_rank` finds it, with the potential
    $-\log p(x, m + L\,\epsilon)$: what is fitted changes how fast they mix, not what they draw
    from. They start apart, at draws of that Normal made wider. Draws are torch's, and nothing
    is changed.

    Args:
        space: the latents, which must fill R^D.
        x: observations `(B, C, H, W)`.
        inputs: what the programs take besides.
        warmup: steps of each chain that are not kept, at least 1.
        num_samples: draws kept of each chain, at least 4.
        num_chains: how many chains per image, at least 1.
        tree_depth: a draw takes $2^d - 1$ gradients at most, d at least 1.
        bar: wraps the range of the steps, to show progress.

    Returns:
        The chains of each image.

    Raises:
        InputError: if latents do not fill R^D, or a number is too small.

    References:
        The No-U-Turn Sampler (Hoffman and Gelman, 2014, section 3.1),
        https://jmlr.org/papers/v15/hoffman14a.html; split R-hat and effective draws as in
        Bayesian Data Analysis (Gelman et al., 3rd edition, section 11.4)
    """
    inputs = inputs or {}
    _check(warmup, num_samples, num_chains, tree_depth)
    require_real(space, x, **inputs)
    guide = space.guide_draws(GUIDE_DRAWS, x, **inputs).double().cpu().numpy()
    fitted = refine_full_rank(space, x, inputs, steps=FITTING_STEPS)
    loc, tril = fitted.loc, fitted.scale_tril

    def potential(units: Tensor, chains: Tensor) -> Tensor:
        image = chains % len(x)
        z = loc[image] + (tril[image] @ units.unsqueeze(-1)).squeeze(-1)
        own = {name: value[image] for name, value in inputs.items()}
        prior, fit = space.log_joint(z, x[image], **own)
        return -(prior + fit)

    starts = START_SPREAD * torch.randn(num_chains * len(x), space.size).to(loc)
    drawn = nuts.draw(
        potential,
        starts,
        warmup=warmup,
        num_samples=num_samples,
        tree_depth=tree_depth,
        bar=bar,
    )
    units = drawn.values.unflatten(0, (num_chains, len(x))).transpose(1, 2)  # (C, S, B, D)
    z = (loc + (tril @ units.unsqueeze(-1)).squeeze(-1)).double().cpu().numpy()
    moved, diverged = (
        own.unflatten(0, (num_chains, len(x))).T.tolist()
        for own in (drawn.moved, drawn.divergences)
    )
    return [
        Chains(space.names, z[:, :, row], guide[:, row], moved[row], diverged[row])
        for row in range(len(x))
    ]


def _check(warmup: int, num_samples: int, num_chains: int, tree_depth: int) -> None:
    if warmup < 1 or num_samples < 4 or num_chains < 1 or tree_depth < 1:
        raise InputError(
            f"warmup {warmup}, num_samples {num_samples}, num_chains {num_chains}, tree_depth "
            f"{tree_depth}: allowed are at least 1, 4, 1 and 1"
        )
