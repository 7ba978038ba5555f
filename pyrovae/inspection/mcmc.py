"""MCMC draws from the exact posterior of images, to compare the guide with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

from pyrovae.inspection import nuts
from pyrovae.inspection.real import require_real
from pyrovae.inspection.refinement import refine_full_rank
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["sample_posterior"]

#: The least numbers of chains: R-hat and effective draws need halves of two draws.
LEAST = {"warmup": 1, "num_samples": 4, "num_chains": 1, "tree_depth": 1}
#: Refinement steps of the Normal that preconditions the chains.
FITTING_STEPS = 50

#: Standard deviation of the chains' starts, in units of that Normal.
START_SPREAD = 1.5

#: Draws of the guide for its moments.
GUIDE_DRAWS = 2000


@dataclass(frozen=True)
class Chains:
    """Draws of NUTS from the posterior of one image, and draws of the guide.

    Attributes:
        names: of the D dimensions.
        draws: `(chains, draws, D)`.
        guide: draws of the guide, `(draws, D)`.
        moved: the share of each chain's kept draws that differ from the draw before, which is
            near 1 for NUTS.
        divergences: the number of divergent kept draws of each chain.
    """

    names: list[str]
    draws: np.ndarray
    guide: np.ndarray
    moved: list[float]
    divergences: list[int]

    def only(self, columns: np.ndarray) -> Chains:
        """The draws of some dimensions."""
        names = [self.names[column] for column in columns]
        draws, guide = self.draws[..., columns], self.guide[:, columns]
        return replace(self, names=names, draws=draws, guide=guide)

    @property
    def r_hat(self) -> np.ndarray:
        """Split R-hat of each dimension, `(D,)`: above 1.05 the chains have not mixed."""
        return split_gelman_rubin(torch.from_numpy(self.draws)).numpy()

    @property
    def effective_draws(self) -> np.ndarray:
        """The effective sample size of each dimension, `(D,)`, at most N log10 N for N draws.

        Negatively correlated draws have a larger effective sample size than independent ones.
        The estimator diverges for them and may become negative: such values are set to the
        largest one.

        References:
            Rank-Normalization, Folding, and Localization (Vehtari et al., 2021, section 3),
            https://arxiv.org/abs/1903.08008
        """
        return _effective(self.draws)

    def table(self) -> pandas.DataFrame:
        r"""The moments of the guide and of the chains, one row per dimension.

        Returns:
            `mean` and `sd` of the chains, `r_hat` and `ess` (effective sample size), `guide_mean`
            and `guide_sd`, `shift` (the guide's mean minus the chains', in the chains' standard
            deviations), `ratio` (the guide's standard deviation over the chains'), its standard
            error `ratio_error` due to the draws of both, and `kl`, $KL(q \,\|\, p)$ in nats of
            Normals with these moments. `ratio_error` uses the effective sample size of the
            squares: negatively correlated draws give a more exact mean, but not a more exact
            standard deviation.
        """
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
    """The effective sample size of `(chains, draws, D)`, see `Chains.effective_draws`."""
    count = values.shape[0] * values.shape[1]
    found = effective_sample_size(torch.from_numpy(values)).numpy()
    most = count * math.log10(count)
    return np.where(found < 0, most, np.minimum(found, most))


@torch.no_grad()
def sample_posterior(
    space: LatentSpace, x: Tensor, inputs: dict[str, Tensor] | None = None, **numbers: Any
) -> Chains:
    r"""Draws from p(z given x) of one image with NUTS, see `sample_posteriors`.

    Args:
        space: the latents, whose support must be R^D.
        x: observations of one image `(1, C, H, W)`.
        inputs: further inputs of the programs.
        **numbers: `warmup`, `num_samples`, `num_chains` and `tree_depth`, as for
            `sample_posteriors`.

    Raises:
        InputError: if the support of latents is not R^D, there is not exactly one image, or a
            number is too small.
    """
    if len(x) != 1:
        raise InputError(f"{len(x)} images: sample_posterior allows one, see sample_posteriors")
    return sample_posteriors(space, x, inputs, **numbers)[0]


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

    The chains of all images run in parallel and independently. A chain runs on $\epsilon$ in
    $z = m + L\,\epsilon$, with the Normal of `refine_full_rank` for its image and the potential
    $-\log p(x, m + L\,\epsilon)$. The fit affects how fast chains mix, not their target. Chains
    start at draws of a wider Normal. Draws use torch's global random generators; the programs
    stay unchanged.

    Args:
        space: the latents, whose support must be R^D.
        x: observations `(B, C, H, W)`.
        inputs: further inputs of the programs.
        warmup: warm-up steps of each chain, at least 1.
        num_samples: draws to keep of each chain, at least 4.
        num_chains: chains per image, at least 1.
        tree_depth: d, at least 1: a draw takes at most $2^d - 1$ gradients.
        bar: wraps the range of the steps, to show progress.

    Returns:
        The chains of each image.

    Raises:
        InputError: if the support of latents is not R^D, or a number is too small.

    References:
        The No-U-Turn Sampler (Hoffman and Gelman, 2014, section 3.1),
        https://jmlr.org/papers/v15/hoffman14a.html; split R-hat and effective draws as in
        Bayesian Data Analysis (Gelman et al., 3rd edition, section 11.4)
    """
    inputs = inputs or {}
    _check_numbers(
        warmup=warmup, num_samples=num_samples, num_chains=num_chains, tree_depth=tree_depth
    )
    require_real(space, x, **inputs)
    guide = space.guide_draws(GUIDE_DRAWS, x, **inputs).double().cpu().numpy()
    fitted = refine_full_rank(space, x, inputs, steps=FITTING_STEPS)
    loc, tril = fitted.loc, fitted.scale_tril

    def potential(units: Tensor, chains: Tensor) -> Tensor:
        image = chains % len(x)
        z = loc[image] + (tril[image] @ units.unsqueeze(-1)).squeeze(-1)
        own = {name: value[image] for name, value in inputs.items()}
        return -torch.stack(space.log_joint(z, x[image], **own)).sum(0)

    starts = START_SPREAD * torch.randn(num_chains * len(x), space.size).to(loc)
    drawn = nuts.draw(
        potential, starts, warmup=warmup, num_samples=num_samples, tree_depth=tree_depth, bar=bar
    )
    units = drawn.values.unflatten(0, (num_chains, len(x))).transpose(1, 2)  # (C, S, B, D)
    z = (loc + (tril @ units.unsqueeze(-1)).squeeze(-1)).double().cpu().numpy()
    both = (drawn.moved, drawn.divergences)
    moved, diverged = (own.unflatten(0, (num_chains, len(x))).T.tolist() for own in both)
    each = zip(z.transpose(2, 0, 1, 3), guide.transpose(1, 0, 2), moved, diverged, strict=True)
    return [Chains(space.names, *own) for own in each]


def _check_numbers(**given: int) -> None:
    """Raises `InputError` if a number is smaller than the chains need."""
    for name, value in given.items():
        if value < LEAST[name]:
            raise InputError(f"{name} must be at least {LEAST[name]}, got {value}")
