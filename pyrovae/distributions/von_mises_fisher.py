r"""Distributions on the unit sphere: von Mises-Fisher and uniform, exact in any dimension.

A von Mises-Fisher distribution is determined by the angle t between a draw and its location. Its
density is $f(t) \propto \sin^{D-2} t \; e^{\kappa \cos t}$ on $[0, \pi]$. No Bessel function is
needed: f is entire, so Gauss-Legendre quadrature over the part that is not negligible is exact to
rounding. The quadrature is in float64 for all types of parameters.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions.kl import register_kl
from torch.nn.functional import normalize

__all__ = ["SphereUniform", "VonMisesFisher"]

#: Gauss-Legendre quadrature on [-1, 1]: 32 points in each of two intervals give 1e-13.
_NODES, _WEIGHTS = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(32))

#: Integrals leave out the tail where the log density is this many nats below its start.
_TAIL = 40.0


def _log_area(dim: int) -> float:
    """Log area of the unit sphere in `dim` dimensions."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def _contraction(concentration: Tensor, dim: int) -> Tensor:
    """Wood's b: 1 for the uniform distribution, near 0 for concentrated ones."""
    half = (dim - 1) / 2
    return half / (concentration + (concentration.square() + half**2).sqrt())


def _centre(concentration: Tensor, dim: int) -> Tensor:
    """An angle in the middle of the distribution, never 0 or pi."""
    return 2 * _contraction(concentration, dim).sqrt().atan()


def _panel(angle: Tensor, side: Tensor, concentration: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Nodes t and weights, `(*, 32)`, for the integral of f(t) / f(angle) over a tail of f.

    The tail begins at an angle `(*,)` and extends towards 0 (`side` -1) or pi (`side` 1).
    """
    centre = _centre(concentration, dim)
    curvature = (dim - 2) / centre.sin().square() + concentration * centre.cos()
    curvature = 0.3 * curvature.clamp(min=0.2)
    fall = (side * (concentration * angle.sin() - (dim - 2) / angle.tan())).clamp(min=0)
    length = 2 * _TAIL / (fall + (fall.square() + 2 * _TAIL * curvature).sqrt())
    length = torch.minimum(length, torch.where(side < 0, angle, math.pi - angle)).unsqueeze(-1)
    angle, step = angle.unsqueeze(-1), side.unsqueeze(-1) * length * (_NODES.to(angle) + 1) / 2
    t = angle + step
    rise = (dim - 2) * (t.sin() / angle.sin()).log()
    rise = rise - 2 * concentration.unsqueeze(-1) * (angle + step / 2).sin() * (step / 2).sin()
    return t, rise.exp() * length * _WEIGHTS.to(angle) / 2


def _one_minus_cos(angle: Tensor) -> Tensor:
    return 2 * (angle / 2).sin().square()


def _moments(concentration: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log density at the location; mean of 1 - cos t; variance and third moment of cos t."""
    centre = _centre(concentration, dim)
    sides = torch.tensor([-1.0, 1.0]).to(centre)
    panels = _panel(centre.unsqueeze(-1), sides, concentration.unsqueeze(-1), dim)
    t, weights = (panel.flatten(-2) for panel in panels)
    total = weights.sum(-1, keepdim=True)
    weights, gap = weights / total, _one_minus_cos(t)
    lack = (weights * gap).sum(-1, keepdim=True)
    second, third = ((weights * (lack - gap) ** n).sum(-1) for n in (2, 3))
    at_centre = (dim - 2) * centre.sin().log() - concentration * _one_minus_cos(centre)
    log_peak = -_log_area(dim - 1) - at_centre - total.squeeze(-1).log()
    return log_peak, lack.squeeze(-1), second, third


def _angle_slope(angle: Tensor, concentration: Tensor, lack: Tensor, dim: int) -> Tensor:
    r"""The derivative of an angle by kappa at a fixed quantile: $-\partial_\kappa F(t) / f(t)$.

    The derivative of F is the integral of $(\cos t - E[\cos t]) f(t)$, over the shorter tail.
    """
    side = torch.where(angle < _centre(concentration, dim), -1.0, 1.0).to(angle)
    t, weights = _panel(angle, side, concentration, dim)
    return side * (weights * (lack.unsqueeze(-1) - _one_minus_cos(t))).sum(-1)


def _draw_angles(concentration: Tensor, dim: int) -> Tensor:
    """Draws t exactly by Wood's rejection sampling, which accepts at least 65% of proposals.

    A proposal is the angle of a uniform point (from two uniform numbers, as by Ulrich and Bailey)
    whose stereographic image is contracted towards the location by the factor sqrt(b).
    """
    contraction = _contraction(concentration, dim).flatten()
    angles = torch.empty_like(contraction)
    left = torch.arange(len(angles), device=angles.device)
    while len(left):
        b = contraction[left]
        energy, trial = b.new_empty(2, len(b)).exponential_()
        turn = 2 * math.pi * torch.rand_like(b)
        shift = ((2 * energy / (dim - 1)).expm1().sqrt() * turn.cos()).asinh()
        angles[left] = 2 * (b.sqrt() * (-shift).exp()).atan()
        ratio = 1 + (1 - b) / (1 + b) * shift.tanh()
        left = left[trial < (dim - 1) * (ratio.log() + 1 / ratio - 1)]
    return angles.reshape(concentration.shape)


class _WithDerivative(torch.autograd.Function):
    """Returns a value; its derivative with respect to the argument is given in advance."""

    @staticmethod
    def forward(ctx: Any, argument: Tensor, value: Tensor, derivative: Tensor) -> Tensor:
        ctx.save_for_backward(derivative)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (derivative,) = ctx.saved_tensors
        return grad * derivative, None, None


class VonMisesFisher(TorchDistribution):
    r"""Von Mises-Fisher distribution on the unit sphere of D dimensions.

    $$q(z \mid \mu, \kappa) = \frac{\kappa^{D/2 - 1}}{(2 \pi)^{D/2} I_{D/2 - 1}(\kappa)}
    \, e^{\kappa \mu^T z}, \quad \|z\| = 1$$

    This is a density per area of the sphere, for any $D \ge 2$ and any $\kappa$ from 0 to 1e7.
    Densities, moments and the KL divergence from `SphereUniform` are exact to rounding, and draws
    are exact. All of them have gradients with respect to both parameters. Draws use implicit
    reparameterisation for $\kappa$ and the shortest rotation for $\mu$. Second derivatives with
    respect to $\kappa$ raise an error.

    Args:
        loc: the mean direction $\mu$, unit vectors `(*, D)`.
        concentration: $\kappa$, `(*,)`.
        validate_args: whether to check parameters and values; as Pyro has it by default.

    Raises:
        ValueError: if D is below 2.

    References:
        Computer Generation of Distributions on the m-Sphere (Ulrich, 1984); Simulation of the
        von Mises Fisher Distribution (Wood, 1994); Polar Generation of Random Variates with the
        t-Distribution (Bailey, 1994); Implicit Reparameterization Gradients (Figurnov et al.,
        2018, section 3), https://arxiv.org/abs/1805.08498

    Example:
        >>> q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(10.0))
        >>> q.log_prob(torch.tensor([0.0, 1.0, 0.0]))
        tensor(-9.5353)
        >>> q.mean
        tensor([0.0000, 0.0000, 0.9000])
    """

    arg_constraints = {"loc": constraints.sphere, "concentration": constraints.nonnegative}
    support = constraints.sphere
    has_rsample = True

    def __init__(
        self, loc: Tensor, concentration: Tensor, *, validate_args: bool | None = None
    ) -> None:
        dim = loc.shape[-1] if loc.dim() else 0
        if dim < 2:
            raise ValueError(f"loc must have at least 2 dimensions, got shape {tuple(loc.shape)}")
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(*batch_shape, dim)
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)
        with torch.no_grad():
            self._known = _moments(self.concentration.double(), dim)

    def expand(self, batch_shape: Any, _instance: Any = None) -> VonMisesFisher:
        """The distribution with a larger batch shape."""
        new = self._get_checked_instance(VonMisesFisher, _instance)
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        new.concentration = self.concentration.expand(batch_shape)
        new._known = tuple(moment.expand(batch_shape) for moment in self._known)
        super(VonMisesFisher, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _moment(self, index: int, sign: float) -> Tensor:
        """A moment in float64; its derivative by kappa is the next moment times `sign`."""
        value, derivative = self._known[index], sign * self._known[index + 1]
        return _WithDerivative.apply(self.concentration.double(), value, derivative)

    @property
    def _log_peak(self) -> Tensor:
        return self._moment(0, 1.0)

    @property
    def _lack(self) -> Tensor:
        return self._moment(1, -1.0)

    @property
    def mean(self) -> Tensor:
        """The mean `(*, D)`: the location times the mean cosine; it lies inside the sphere."""
        return (1 - self._lack).to(self.loc).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """The direction `(*, D)` of the highest density."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate, `(*, D)`."""
        along, lack = self._moment(2, 1.0), self._lack
        across = (lack * (2 - lack) - along) / (self.event_shape[0] - 1)
        along, across = (part.to(self.loc).unsqueeze(-1) for part in (along, across))
        return across + (along - across) * self.loc.square()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density per area, in nats, computed from the distance to the location."""
        if self._validate_args:
            self._validate_sample(value)
        distance = (value - self.loc).square().sum(-1)
        return self._log_peak.to(self.loc) - self.concentration * distance / 2

    def entropy(self) -> Tensor:
        """The differential entropy in nats, `(*,)`."""
        return (self.concentration * self._lack - self._log_peak).to(self.loc)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draws `(*sample_shape, *, D)` that pass gradients to both parameters."""
        shape = self._extended_shape(sample_shape)
        angle = self._angle(shape[:-1]).unsqueeze(-1)
        z = angle.cos().to(self.loc) * self.loc + angle.sin().to(self.loc) * self._tangent(shape)
        return normalize(z, dim=-1)

    def _angle(self, shape: torch.Size) -> Tensor:
        """Draws of the angle between a draw and the location, in float64."""
        concentration, dim = self.concentration.double().expand(shape), self.event_shape[0]
        differentiable = concentration.requires_grad and torch.is_grad_enabled()
        with torch.no_grad():
            angle = _draw_angles(concentration, dim)
            if not differentiable:
                return angle
            slope = _angle_slope(angle, concentration, self._known[1].expand(shape), dim)
        return _WithDerivative.apply(concentration, angle, slope)

    def _tangent(self, shape: torch.Size) -> Tensor:
        """Random unit vectors orthogonal to the location, with gradients.

        A Householder reflection maps the first axis to the location. The derivative is that of
        the shortest rotation, which does not rotate the draws around the location.
        """
        loc = self.loc.detach()
        flat = torch.randn(shape, dtype=loc.dtype, device=loc.device)
        flat[..., 0] = 0
        flat = normalize(flat, dim=-1)
        normal = loc.clone()
        normal[..., 0] += torch.where(loc[..., 0] < 0, -1.0, 1.0).to(loc)
        share = (flat * loc).sum(-1, keepdim=True) / (1 + loc[..., :1].abs())
        tangent = flat - share * normal
        cosine = (loc * self.loc).sum(-1, keepdim=True)
        turn = (tangent * self.loc).sum(-1, keepdim=True) / (1 + cosine)
        return tangent - turn * (loc + self.loc)


class SphereUniform(TorchDistribution):
    r"""Uniform distribution on the unit sphere of D dimensions.

    $$p(z) = \frac{\Gamma(D/2)}{2 \pi^{D/2}}, \quad \|z\| = 1$$

    This is a density per area of the sphere.

    Args:
        dim: D, at least 2.
        batch_shape: the batch shape.
        dtype: the type of draws; torch's default if None.
        device: where draws are made; torch's default if None.
        validate_args: whether to check values; as Pyro has it by default.

    Raises:
        ValueError: if `dim` is below 2.

    Example:
        >>> p = SphereUniform(3)
        >>> p.log_prob(p.sample((2,)))
        tensor([-2.5310, -2.5310])
    """

    arg_constraints: dict[str, Any] = {}
    support = constraints.sphere
    has_rsample = True

    def __init__(
        self,
        dim: int,
        batch_shape: torch.Size = torch.Size(),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if dim < 2:
            raise ValueError(f"dim must be at least 2, got {dim}")
        self._zero = torch.zeros((), dtype=dtype, device=device)
        super().__init__(batch_shape, torch.Size([dim]), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SphereUniform:
        """The distribution with a larger batch shape."""
        new = self._get_checked_instance(SphereUniform, _instance)
        new._zero = self._zero
        shape = torch.Size(batch_shape)
        super(SphereUniform, new).__init__(shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The mean `(*, D)`: zero."""
        return self._zero.expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate, `(*, D)`: 1 / D."""
        return self.mean + 1 / self.event_shape[0]

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density per area, in nats: a constant."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return (self._zero - _log_area(self.event_shape[0])).expand(shape)

    def entropy(self) -> Tensor:
        """The differential entropy in nats, `(*,)`: the log area of the sphere."""
        return (self._zero + _log_area(self.event_shape[0])).expand(self.batch_shape)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        """Draws `(*sample_shape, *, D)`: Normal vectors scaled to unit length."""
        shape = self._extended_shape(sample_shape)
        normal = torch.randn(shape, dtype=self._zero.dtype, device=self._zero.device)
        return normalize(normal, dim=-1)


def _kl_von_mises_fisher_uniform(q: VonMisesFisher, p: SphereUniform) -> Tensor:
    """KL(q ‖ p) in nats: log area minus entropy, clamped at 0 against rounding."""
    if q.event_shape != p.event_shape:
        raise ValueError(f"dimensions differ: {q.event_shape[0]} and {p.event_shape[0]}")
    value = _log_area(q.event_shape[0]) + q._log_peak - q.concentration * q._lack
    value = value + (-value.detach()).clamp(min=0)
    return value.to(q.loc).expand(torch.broadcast_shapes(q.batch_shape, p.batch_shape))


register_kl(VonMisesFisher, SphereUniform)(_kl_von_mises_fisher_uniform)
