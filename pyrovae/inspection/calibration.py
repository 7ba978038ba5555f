"""Simulation-based calibration: a test of the guide's uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyrovae.evaluation.pairs import chunks
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import pandas

__all__ = ["ranks_of_truth"]

#: Draws of the guide per latent, and bins: 100 ranks in 20 bins of 5.
NUM_DRAWS, BINS = 99, 20

#: Images drawn and encoded at once.
BATCH = 100

#: The name of the guide's log density among the dimensions.
DENSITY = "log q"


@dataclass(frozen=True)
class Ranks:
    """The ranks of latents among draws of the guide, for images drawn from the model.

    Attributes:
        names: of the dimensions; the last may be `log q`, the guide's log density.
        ranks: the number of the guide's draws below the true value, `(N, Q)`, 0 to `num_draws`.
        num_draws: the draws of the guide per image, L.
    """

    names: list[str]
    ranks: np.ndarray
    num_draws: int

    def __len__(self) -> int:
        return len(self.ranks)

    def only(self, columns: np.ndarray) -> Ranks:
        """The ranks of some dimensions, and of `log q`, which stays that of all dimensions."""
        places = [*columns, *[place for place, n in enumerate(self.names) if n == DENSITY]]
        names = [self.names[place] for place in places]
        return replace(self, names=names, ranks=self.ranks[:, places])

    @property
    def shares(self) -> np.ndarray:
        """The ranks scaled to (0, 1), `(N, Q)`: uniform if the guide is the exact posterior."""
        return (self.ranks + 0.5) / (self.num_draws + 1)

    def table(self) -> pandas.DataFrame:
        r"""A chi-square test of each dimension, with measures of bias, spread and coverage.

        Returns:
            One row per dimension: the `chi_square` of the ranks in 20 bins, its `p`; `p_joint`,
            $\min(1, Q\,p)$ (Bonferroni) over all rows; `bias`, the mean scaled rank minus 1/2
            (above 0: the guide is too low); `spread`, the mean square deviation of the ranks from
            1/2 over that of uniform ranks (above 1: the guide is too narrow or biased, below 1:
            too wide); `coverage_50` and `coverage_90`, how often the guide's central intervals
            contain the true value.
        """
        from scipy.stats import chi2

        bins = self.ranks * BINS // (self.num_draws + 1)
        counts = np.stack([np.bincount(column, minlength=BINS) for column in bins.T])
        expected = len(self) / BINS
        score = np.square(counts - expected).sum(1) / expected
        p = chi2.sf(score, BINS - 1)
        off = np.abs(self.shares - 0.5)
        uniform = (1 - (self.num_draws + 1.0) ** -2) / 12
        columns = {
            "chi_square": score,
            "p": p,
            "p_joint": np.minimum(1, p * len(p)),
            "bias": self.shares.mean(0) - 0.5,
            "spread": np.square(self.shares - 0.5).mean(0) / uniform,
            "coverage_50": (off < 0.25).mean(0),
            "coverage_90": (off < 0.45).mean(0),
        }
        return pandas.DataFrame(columns, index=pandas.Index(self.names, name="dimension"))

    def band(self, alpha: float = 0.05) -> float:
        r"""The half-width of a joint band for the distribution functions of all rows.

        $$\sqrt{\log(2 Q / \alpha) / (2 N)}$$

        If all ranks are uniform, all empirical distribution functions differ from the uniform one
        by less than this with a probability of at least $1 - \alpha$.

        Args:
            alpha: the false-alarm rate.

        References:
            The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality (Massart, 1990,
            corollary 1), https://doi.org/10.1214/aop/1176990746

        Example:
            >>> round(Ranks(["z[0]"], np.zeros((800, 1), int), 99).band(), 3)
            0.048
        """
        return math.sqrt(math.log(2 * len(self.names) / alpha) / (2 * len(self)))


@torch.no_grad()
def ranks_of_truth(
    space: LatentSpace,
    z: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    num_draws: int = NUM_DRAWS,
) -> Ranks:
    r"""The ranks of latents among draws of the guide, for images drawn from the model.

    $$z \sim p(z), \quad x \sim p(x \mid z), \quad z_1 \ldots z_L \sim q(z \mid x), \quad
    r_d = \#\{l : z_{l, d} < z_d\}$$

    If q is the exact posterior, each rank is uniform on 0 to L. The images include the noise of
    the likelihood. If the guide has a density, $\log q(z \mid x)$ is ranked as one more
    dimension: its rank is low if the true latents are jointly improbable under the guide. Draws
    use the current state of torch's random generators.

    Args:
        space: the latents.
        z: latents drawn from the model, `(N, D)`, at least 100.
        inputs: further inputs of the programs for these latents, `(N, ...)` each.
        num_draws: L; L + 1 must be a multiple of 20.

    Raises:
        InputError: if there are too few latents, or `num_draws` is not allowed.

    References:
        Validating Bayesian Inference Algorithms with Simulation-Based Calibration (Talts et al.,
        2018, section 4, algorithm 1), https://arxiv.org/abs/1804.06788; ranks of functions of z
        and x as in Simulation-Based Calibration Checking for Bayesian Computation: The Choice of
        Test Quantities Shapes Sensitivity (Modrak et al., 2023, section 3),
        https://arxiv.org/abs/2211.02383
    """
    if len(z) < 5 * BINS:
        raise InputError(f"calibration needs at least {5 * BINS} latents, got {len(z)}")
    if num_draws < 1 or (num_draws + 1) % BINS:
        raise InputError(f"num_draws {num_draws}: allowed are numbers one below multiples of 20")
    found = []
    for rows in chunks(len(z), BATCH):
        own = {name: value[rows] for name, value in (inputs or {}).items()}
        found.append(_ranks(space, num_draws, z[rows], own))
    ranks = torch.cat(found).cpu().numpy()
    return Ranks([*space.names, DENSITY][: ranks.shape[1]], ranks, num_draws)


def _ranks(space: LatentSpace, num_draws: int, z: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """Ranks `(B, Q)` of the latents of a batch, the rank of their log density last."""
    x = space.decode(z, **inputs).sample()
    trace = space.guide_trace(num_draws, x, **inputs)
    nodes = {name: trace.nodes[name] for name in space.shapes}
    draws = space.flatten({name: node["value"] for name, node in nodes.items()})
    ranks = [_rank(draws, z)]
    try:
        log_q = sum(node["fn"].log_prob(node["value"]) for node in nodes.values())
        truth = space.log_guide(z, x, **inputs)
    except NotImplementedError:
        return ranks[0]
    return torch.cat([*ranks, _rank(log_q, truth).unsqueeze(-1)], -1)


def _rank(draws: Tensor, truth: Tensor) -> Tensor:
    """The number of draws `(L, *)` below the true value `(*,)`; ties are broken at random."""
    below, ties = (draws < truth).sum(0), (draws == truth).sum(0)
    return below + (torch.rand(truth.shape, device=truth.device) * (ties + 1)).long()
