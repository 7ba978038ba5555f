"""The No-U-Turn sampler for many chains in parallel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pyro.infer.mcmc.adaptation import WarmupAdapter
from pyro.ops.dual_averaging import DualAveraging
from pyro.ops.welford import WelfordCovariance
from torch import Tensor

from pyrovae.inspection.climbing import chosen_rows
from pyrovae.inspection.tracing import Traced

__all__ = ["Drawn", "Potential", "draw"]

#: Minus the log density of vectors `(N, D)` up to a constant, `(N,)`, given the chain of each
#: vector, `(N,)`.
Potential = Callable[[Tensor, Tensor], Tensor]

#: Momentum and sum of momenta at the first point of each open subtree, by its level.
_Kept = dict[int, tuple[Tensor, Tensor]]

#: Least number of warm-up steps for which the scales of dimensions are adapted.
ADAPTED = 150
#: The acceptance probability that step sizes are adapted to, and the first step size.
TARGET, FIRST_STEP = 0.8, 0.3
#: A point has diverged if its energy is above that of the start by more than this.
DIVERGED = 1000.0
#: Largest number of doublings or halvings of the first step size.
SEARCHES = 30


@dataclass(frozen=True)
class Drawn:
    """The draws of K chains after their warm-up.

    Attributes:
        values: `(K, S, D)`.
        moved: the share of each chain's draws that differ from the draw before, `(K,)`.
        divergences: the number of divergent draws of each chain, `(K,)`.
    """

    values: Tensor
    moved: Tensor
    divergences: Tensor


@torch.no_grad()
def draw(
    potential: Potential,
    starts: Tensor,
    *,
    warmup: int,
    num_samples: int,
    tree_depth: int,
    bar: Callable[[range], Iterable[int]] = lambda steps: steps,
) -> Drawn:
    """Draws with NUTS for all chains in parallel.

    Chains are independent: each has its own tree, step size and, with a warm-up of 150 steps or
    more, scales. They share only the batched evaluations of the potential. A chain with a
    finished tree waits for the others, so a draw takes as long as the largest tree. Draws use
    torch's global random generator of the device of the starts.

    Args:
        potential: called as `potential(vectors, chains)`: minus the log density of each vector.
        starts: where the chains start, `(K, D)`.
        warmup: warm-up steps.
        num_samples: draws to keep of each chain, S.
        tree_depth: d: a draw takes at most $2^d - 1$ gradients.
        bar: wraps the range of all steps, to show progress.

    Returns:
        The kept draws.

    References:
        The No-U-Turn Sampler (Hoffman and Gelman, 2014), multinomial as in A Conceptual
        Introduction to Hamiltonian Monte Carlo (Betancourt, 2017, appendix A),
        https://arxiv.org/abs/1701.02434; trees without recursion as in Composable Effects for
        Flexible and Accelerated Probabilistic Programming (Phan et al., 2019, appendix A),
        https://arxiv.org/abs/1912.11554
    """
    field = _Field(potential, len(starts), starts.device)
    start = field.at(starts, torch.zeros_like(starts))
    tuning = _Tuning(field, start, warmup)
    values, moved, diverged = [], [], []
    for step in bar(range(warmup + num_samples)):
        found = _transition(field, start, tuning, tree_depth)
        if step >= warmup:
            values.append(found.proposal.z)
            moved.append((found.proposal.z != start.z).any(-1))
            diverged.append(found.diverged)
        start = found.proposal
        if step < warmup:
            tuning.learn(step, start, found.acceptance)
    share = torch.stack(moved).double().mean(0)
    return Drawn(torch.stack(values, 1), share, torch.stack(diverged).sum(0))


class _Point(NamedTuple):
    """The state of K chains: vectors `(K, D)`, and the potential `(K,)`."""

    z: Tensor
    momentum: Tensor
    slope: Tensor
    potential: Tensor

    def where(self, chosen: Tensor, other: _Point) -> _Point:
        """These points for the chosen chains `(K,)`, those of `other` for the rest."""
        pairs = zip(self, other, strict=True)
        return _Point(*(chosen_rows(chosen, own, others) for own, others in pairs))

    def take(self, rows: Tensor) -> _Point:
        """The points of some chains."""
        return _Point(*(own[rows] for own in self))

    def put(self, rows: Tensor, some: _Point) -> _Point:
        """The points, with those of some chains replaced."""
        pairs = zip(self, some, strict=True)
        return _Point(*(own.index_copy(0, rows, new) for own, new in pairs))

    def kicked(self, inverse_mass: Tensor) -> _Point:
        """The same points with new random momenta."""
        return self._replace(momentum=torch.randn_like(self.z) / inverse_mass.sqrt())

    def energy(self, inverse_mass: Tensor) -> Tensor:
        """Potential plus kinetic energy, `(K,)`; infinite instead of NaN."""
        kinetic = (inverse_mass * self.momentum.square()).sum(-1) / 2
        return (self.potential + kinetic).nan_to_num(torch.inf, torch.inf)


class _Field:
    """The potential, its gradient, and leapfrog steps.

    Args:
        potential: as for `draw`.
        count: the number of chains.
        device: of the chains.
    """

    def __init__(self, potential: Potential, count: int, device: torch.device) -> None:
        self.every = torch.arange(count, device=device)
        # A CPU saves time with fewer chains; a GPU loses it by new shapes and synchronisation.
        self.spares = device.type == "cpu"

        def slopes(z: Tensor, chains: Tensor) -> tuple[Tensor, Tensor]:
            z = z.detach().requires_grad_()
            with torch.enable_grad():
                energy = potential(z, chains)
                (slope,) = torch.autograd.grad(energy.sum(), z)
            return energy.detach(), slope

        self.slopes = Traced(slopes)

    def at(self, z: Tensor, momentum: Tensor, chains: Tensor | None = None) -> _Point:
        """The points of some chains, by default of all, at positions `z`."""
        energy, slope = self.slopes(z, self.every if chains is None else chains)
        return _Point(z, momentum, slope, energy)

    def step(
        self, point: _Point, size: Tensor, inverse_mass: Tensor, chains: Tensor | None = None
    ) -> _Point:
        """One leapfrog step of sizes `(N, 1)`; negative sizes go back in time."""
        half = point.momentum - size / 2 * point.slope
        found = self.at(point.z + size * inverse_mass * half, half, chains)
        return found._replace(momentum=half - size / 2 * found.slope)

    def step_of(self, going: Tensor, point: _Point, size: Tensor, inverse_mass: Tensor) -> _Point:
        """One step of the chains where `going` is true; the others stay."""
        if not self.spares:
            return self.step(point, size, inverse_mass).where(going, point)
        if going.all():
            return self.step(point, size, inverse_mass)
        rows = going.nonzero().squeeze(1)
        some = self.step(point.take(rows), size[rows], inverse_mass[rows], rows)
        return point.put(rows, some)


@dataclass
class _Tree:
    """A trajectory per chain, with a draw from its points in proportion to their densities.

    Attributes:
        left: its earliest point.
        right: its latest point.
        proposal: the draw.
        total: the sum of the momenta, `(K, D)`.
        log_weight: the log of the sum of the densities over that of the start, `(K,)`.
        going: which chains' trajectories may grow.
        diverged: which trajectories have diverged.
        accepted: the sum of the acceptance probabilities of its points.
        points: the number of points.
    """

    left: _Point
    right: _Point
    proposal: _Point
    total: Tensor
    log_weight: Tensor
    going: Tensor
    diverged: Tensor
    accepted: Tensor
    points: Tensor

    @property
    def acceptance(self) -> Tensor:
        """The mean acceptance probability, `(K,)`."""
        return self.accepted / self.points.clamp(min=1)


def _transition(field: _Field, start: _Point, tuning: _Tuning, tree_depth: int) -> _Tree:
    """One draw of each chain."""
    inverse_mass = tuning.inverse_mass
    first = start.kicked(inverse_mass)
    nothing = torch.zeros_like(start.potential)
    no = torch.zeros_like(nothing, dtype=torch.bool)
    tree = _Tree(first, first, first, first.momentum, nothing, ~no, no, nothing, nothing)
    energy = first.energy(inverse_mass)
    for depth in range(tree_depth):
        if not tree.going.any():
            break
        forward = torch.rand_like(nothing) < 0.5
        grown = _grow(field, tree, tuning, forward, energy, depth)
        _join(tree, grown, forward, inverse_mass)
    return tree


def _grow(
    field: _Field, tree: _Tree, tuning: _Tuning, forward: Tensor, start_energy: Tensor, depth: int
) -> _Tree:
    """The new half of a tree: up to 2^depth points beyond one of its ends."""
    inverse_mass = tuning.inverse_mass
    step = chosen_rows(forward, tuning.step, -tuning.step).unsqueeze(-1)
    point = tree.right.where(forward, tree.left)
    empty = torch.full_like(tree.log_weight, -torch.inf)
    total, no = torch.zeros_like(tree.total), torch.zeros_like(tree.going)
    grown = _Tree(point, point, point, total, empty, tree.going, no, tree.accepted, tree.points)
    kept: _Kept = {}
    for place in range(2**depth):
        if place and not grown.going.any():
            break
        point = field.step_of(grown.going, point, step, inverse_mass)
        _add(grown, point, start_energy - point.energy(inverse_mass))
        turning = _turns_back(kept, place, point.momentum, grown.total, inverse_mass)
        grown.going = grown.going & ~turning & ~grown.diverged
    grown.right = point
    return grown


def _add(grown: _Tree, point: _Point, log_density: Tensor) -> None:
    """Adds a point to the growing trees, given its log density minus that of the start."""
    going = grown.going
    whole = torch.logaddexp(grown.log_weight, log_density)
    taken = going & (torch.rand_like(whole).log() < log_density - whole)
    grown.proposal = point.where(taken, grown.proposal)
    grown.log_weight = torch.where(going, whole, grown.log_weight)
    grown.total = grown.total + point.momentum * going.unsqueeze(-1)
    grown.accepted = grown.accepted + log_density.exp().clamp(max=1) * going
    grown.points = grown.points + going
    grown.diverged = grown.diverged | (going & (log_density < -DIVERGED))


def _turns_back(
    kept: _Kept, place: int, momentum: Tensor, total: Tensor, inverse_mass: Tensor
) -> Tensor:
    """Whether a balanced subtree that ends at this index turns back, `(K,)`.

    `kept` has the first point of each subtree that is still open.
    """
    last = (place >> 1).bit_count()
    if place % 2 == 0:
        kept[last] = momentum, total
    closed = (~place & (place + 1)).bit_length() - 1  # Trailing ones of its binary form.
    found = torch.zeros_like(total[:, 0], dtype=torch.bool)
    for level in range(last, last - closed, -1):
        first, before = kept[level]
        found = found | _turning(first, momentum, total - before + first, inverse_mass)
    return found


def _turning(left: Tensor, right: Tensor, total: Tensor, inverse_mass: Tensor) -> Tensor:
    """Whether the ends of trajectories with these momenta approach each other, `(K,)`."""
    way = inverse_mass * (total - (left + right) / 2)
    return ((left * way).sum(-1) <= 0) | ((right * way).sum(-1) <= 0)


def _join(tree: _Tree, grown: _Tree, forward: Tensor, inverse_mass: Tensor) -> None:
    """Joins the new half to a tree, for the chains where all of it is valid."""
    whole, chance = grown.going, torch.rand_like(tree.log_weight).log()
    taken = whole & (chance < grown.log_weight - tree.log_weight)
    tree.proposal = grown.proposal.where(taken, tree.proposal)
    tree.right = grown.right.where(whole & forward, tree.right)
    tree.left = grown.right.where(whole & ~forward, tree.left)
    tree.total = chosen_rows(whole, tree.total + grown.total, tree.total)
    joint = torch.logaddexp(tree.log_weight, grown.log_weight)
    tree.log_weight = torch.where(whole, joint, tree.log_weight)
    tree.accepted, tree.points = grown.accepted, grown.points
    tree.diverged = tree.diverged | grown.diverged
    ends = tree.left.momentum, tree.right.momentum
    tree.going = whole & ~_turning(*ends, tree.total, inverse_mass)


class _Tuning:
    """Step sizes and scales of the dimensions per chain, adapted during warm-up.

    Args:
        field: the potential.
        start: where the chains are.
        warmup: the number of warm-up steps.

    Attributes:
        inverse_mass: variances of the dimensions, `(K, D)`.
        step: step sizes, `(K,)`.
    """

    def __init__(self, field: _Field, start: _Point, warmup: int) -> None:
        self.field, self.inverse_mass = field, torch.ones_like(start.z)
        self.step = torch.full_like(start.potential, FIRST_STEP)
        self.learns_mass, self.average = warmup >= ADAPTED, DualAveraging()
        self.variance, self.ends = WelfordCovariance(), _window_ends(warmup)
        self.search(start)

    def search(self, start: _Point) -> None:
        """Doubles or halves step sizes until the acceptance probability crosses its target.

        Args:
            start: where the chains are.
        """
        first = start.kicked(self.inverse_mass)
        before, way = first.energy(self.inverse_mass), torch.zeros_like(self.step)
        going = torch.ones_like(self.step, dtype=torch.bool)
        for _ in range(SEARCHES):
            last = self.field.step(first, self.step.unsqueeze(-1), self.inverse_mass)
            up = before - last.energy(self.inverse_mass) > math.log(TARGET)
            sign = torch.where(up, 1.0, -1.0).to(way)
            going = going & ((way == 0) | (way == sign))
            way = sign
            if not going.any():
                break
            self.step = torch.where(going, self.step * 2.0**sign, self.step)
        self.average.prox_center = (10 * self.step).log()
        self.average.reset()

    def learn(self, step: int, now: _Point, acceptance: Tensor) -> None:
        """Adapts step sizes and scales after one warm-up step.

        Args:
            step: its index, from 0.
            now: the points of the chains after it.
            acceptance: the mean acceptance probability of the points of each tree.
        """
        self.average.step(TARGET - acceptance)
        last = step == self.ends[-1]
        self.step = self.average.get_state()[int(last)].exp()
        if last or not self.learns_mass or not self.ends[0] < step <= self.ends[-2]:
            return
        self.variance.update(now.z)
        if step in self.ends:
            self.inverse_mass = self.variance.get_covariance()
            self.variance.reset()
            self.search(now)


def _window_ends(warmup: int) -> list[int]:
    """The last step of each window of the warm-up, as in Stan."""
    adapter = WarmupAdapter(adapt_step_size=True)
    adapter.configure(warmup, 1.0, {("z",): (1,)}, None)
    return [window.end for window in adapter.adaptation_schedule]
