"""Simulation-based calibration and TARP: tests of the guide's uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

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
#: The name of the distance to random points.
TARP = "distance to random points"


@dataclass(frozen=True)
class Ranks:
    """The ranks of latents among draws of the guide, for images drawn from the model.

    Attributes:
        names: of the dimensions; the last may be `log q`, the guide's log density.
        ranks: the number of the guide's draws below the true value, `(N, Q)`, 0 to `num_draws`.
        num_draws: the draws of the guide per image, L.
        distances: the number of the guide's draws that are closer to a random point than the
            true vector of all dimensions is, `(N,)`, 0 to `num_draws`.
    """

    names: list[str]
    ranks: np.ndarray
    num_draws: int
    distances: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def __len__(self) -> int:
        return len(self.ranks)

    def only(self, columns: np.ndarray) -> Ranks:
        """The ranks of some dimensions, and of `log q`, which stays that of all dimensions."""
        places = [*columns, *[place for place, n in enumerate(self.names) if n == DENSITY]]
        names = [self.names[place] for place in places]
        return replace(self, names=names, ranks=self.ranks[:, places])

    def tarp(self) -> Ranks:
        r"""The joint test of all dimensions: TARP, tests of accuracy with random points.

        $$f = P_{q(z' \mid x)}\left(\lVert z' - r \rVert < \lVert z - r \rVert\right)$$

        for the true z and a random point r. The ball around r with credibility c contains z if f <
        c. If q is the exact posterior, f is uniform, so the ball contains z in a share c of the
        images: the expected coverage.

        References:
            Sampling-Based Accuracy Testing of Posterior Estimators for General Inference (Lemos
            et al., 2023, theorem 3, algorithm 2), https://arxiv.org/abs/2302.03026
        """
        return Ranks([TARP], self.distances[:, None], self.num_draws)

    def coverage(self) -> pandas.DataFrame:
        """The expected coverage of credible regions, one row per credibility level.

        Returns:
            For the only dimension, such as that of `tarp`: the `credibility`, the `coverage`,
            which is the share of images whose rank is below it, and the `band`: for an exact
            posterior all coverages lie within it in 95 of 100 runs.
        """
        levels = np.linspace(0, 1, BINS + 1)
        found = (self.ranks[:, 0, None] < levels * (self.num_draws + 1)).mean(0)
        columns = {"credibility": levels, "coverage": found, "band": self.band()}
        return pandas.DataFrame(columns)

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
    found, points = [], _Points(z.shape[-1])
    for rows in chunks(len(z), BATCH):
        own = {name: value[rows] for name, value in (inputs or {}).items()}
        found.append(_ranks(space, num_draws, z[rows], own, points))
    ranks, distances = (torch.cat(part).cpu().numpy() for part in zip(*found, strict=True))
    return Ranks([*space.names, DENSITY][: ranks.shape[1]], ranks, num_draws, distances)


def _ranks(
    space: LatentSpace, num_draws: int, z: Tensor, inputs: dict[str, Tensor], points: _Points
) -> tuple[Tensor, Tensor]:
    """Ranks `(B, Q)` of the latents of a batch, that of log q last, and of distances `(B,)`."""
    x = space.decode(z, **inputs).sample()
    trace = space.guide_trace(num_draws, x, **inputs)
    nodes = {name: trace.nodes[name] for name in space.shapes}
    draws = space.flatten({name: node["value"] for name, node in nodes.items()})
    ranks = [_rank(draws, z)]
    distances = points.rank(draws, z)
    try:
        log_q = sum(node["fn"].log_prob(node["value"]) for node in nodes.values())
        truth = space.log_guide(z, x, **inputs)
    except NotImplementedError:
        return ranks[0], distances
    return torch.cat([*ranks, _rank(log_q, truth).unsqueeze(-1)], -1), distances


def _rank(draws: Tensor, truth: Tensor, random: torch.Generator | None = None) -> Tensor:
    """The number of draws `(L, *)` below the true value `(*,)`; ties are broken at random."""
    below, ties = (draws < truth).sum(0), (draws == truth).sum(0)
    chance = torch.rand(truth.shape, device=truth.device, generator=random)
    return below + (chance * (ties + 1)).long()


class _Points:
    """Random points of TARP, one per image.

    A point depends on the true latents and the guide's draws only through their mean and standard
    deviations together, as the unit of the distance does. If the guide is exact, truth and draws
    are exchangeable given these, so ranks of distances are uniform. All points lie to the same
    side of the mean in each dimension: otherwise shifts and wrong correlations, which have the
    same sign in all images, would cancel. The points have their own random generator.

    Args:
        size: the number of dimensions.
    """

    def __init__(self, size: int) -> None:
        self._random = torch.Generator().manual_seed(0)
        self._side = torch.randn(size, generator=self._random).sign()

    def rank(self, draws: Tensor, truth: Tensor) -> Tensor:
        """The number of draws `(L, B, D)` closer to the point than the truth `(B, D)` is."""
        together = torch.cat([draws, truth[None]])
        loc, scale = together.mean(0), together.std(0).clamp(min=1e-9)
        away = torch.randn(truth.shape, generator=self._random).abs() * self._side
        units = (together - loc) / scale - away.to(truth)
        distances = units.square().sum(-1).cpu()  # The device of the generator.
        return _rank(distances[:-1], distances[-1], self._random)
