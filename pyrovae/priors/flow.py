"""Flow priors: a standard Normal transformed by learned invertible maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_transform import TransformModule
from pyro.nn import DenseNN
from torch import Tensor, nn

from pyrovae.distributions import RationalSpline, Transformed
from pyrovae.distributions.constraints import at_least, positive
from pyrovae.priors.base import Prior
from pyrovae.utils.arguments import Recorded

__all__ = ["Flow", "FlowPrior", "NeuralSpline", "RealNVP"]


class Flow(Recorded, nn.Module, ABC):
    """An invertible map of vectors: coupling layers that transform one half given the other.

    The order of the dimensions is reversed after each layer, so that both halves are transformed.

    Args:
        dim: the length D of the vectors, at least 2.
        num_layers: how many layers, at least 1.
        hidden: widths of the hidden layers of each layer's network.
        num_params: sizes of the parameters that a layer needs per transformed dimension.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self, dim: int, num_layers: int, hidden: Sequence[int], num_params: list[int]
    ) -> None:
        super().__init__()
        for name, value, least in (("dim", dim, 2), ("num_layers", num_layers, 1)):
            if value < least:
                raise ValueError(f"{name} of a flow must be at least {least}, got {value}")
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden must be a list of positive numbers, got {list(hidden)}")
        self.dim, self.kept = dim, dim // 2
        sizes = [(dim - self.kept) * n for n in num_params]
        networks = (DenseNN(self.kept, list(hidden), sizes) for _ in range(num_layers))
        self.layers = nn.ModuleList(networks)
        self.register_buffer("reversal", torch.arange(dim).flip(0), persistent=False)

    @abstractmethod
    def layer(self, network: nn.Module) -> TransformModule:
        """The map of one layer, whose parameters the network computes."""

    def forward(self) -> list[TransformModule]:
        """The maps, in the order from the standard Normal to z."""
        found: list[TransformModule] = []
        for network in self.layers:
            found += [self.layer(network), transforms.Permute(self.reversal)]
        return found


class RealNVP(Flow):
    r"""Affine coupling layers, which scale and shift half of the dimensions given the others.

    $$y_a = x_a, \qquad y_b = x_b\, e^{\tanh s(x_a)} + t(x_a)$$

    The scales are bounded, so that the density of latents far from the origin, which early steps
    may draw, does not underflow.

    Use it by default: a step costs little more than without a flow.

    Args:
        dim: number of dimensions D, at least 2.
        num_layers: how many layers, at least 1.
        hidden: widths of the hidden layers of each layer's network.

    Raises:
        ValueError: if a number is out of range.

    References:
        Density Estimation using Real NVP (Dinh et al., 2017, equations 4 and 5),
        https://arxiv.org/abs/1605.08803
    """

    def __init__(
        self, dim: int = 128, num_layers: int = 4, hidden: Sequence[int] = (128, 128)
    ) -> None:
        super().__init__(dim, num_layers, hidden, [1, 1])

    def layer(self, network: nn.Module) -> TransformModule:
        """The map of one layer, whose parameters the network computes."""
        return transforms.AffineCoupling(self.kept, partial(_shift_and_log_scale, network))


def _shift_and_log_scale(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    shift, raw = network(x)
    return shift, raw.tanh()


class NeuralSpline(Flow):
    r"""Spline coupling layers, which transform half of the dimensions by monotone splines.

    $$y_a = x_a, \qquad y_b = S_{\theta(x_a)}(x_b)$$

    where each $S_\theta$ is a rational linear spline on $[-b, b]$ and the identity outside.

    Use it where a dimension has several modes; a layer costs several times as much as a layer of
    `RealNVP`.

    Args:
        dim: number of dimensions D, at least 2.
        num_layers: how many layers, at least 1.
        hidden: widths of the hidden layers of each layer's network.
        num_bins: number of bins of each spline, at least 2.
        bound: b, positive.

    Raises:
        ValueError: if a number is out of range.

    References:
        Neural Spline Flows (Durkan et al., 2019, section 3), https://arxiv.org/abs/1906.04032;
        Invertible Generative Modeling using Linear Rational Splines (Dolatabadi et al., 2020,
        section 3), https://arxiv.org/abs/2001.05168
    """

    def __init__(
        self,
        dim: int = 128,
        num_layers: int = 4,
        hidden: Sequence[int] = (128, 128),
        num_bins: int = 8,
        bound: float = 5.0,
    ) -> None:
        at_least("num_bins", num_bins, 2)
        super().__init__(dim, num_layers, hidden, [num_bins, num_bins, num_bins - 1, num_bins])
        self.num_bins, self.bound = num_bins, positive("bound", bound)

    def layer(self, network: nn.Module) -> TransformModule:
        """The map of one layer, whose parameters the network computes."""
        return _SplineCoupling(self.kept, network, self.bound)


class _SplineCoupling(TransformModule):
    """Keeps the first dimensions, and transforms the others by splines that depend on them."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, kept: int, network: nn.Module, bound: float) -> None:
        super().__init__(cache_size=1)
        self.kept, self.network, self.bound = kept, network, bound
        self._log_det: Tensor | None = None

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, RationalSpline]:
        """The kept dimensions, the others, and the splines."""
        given, rest = x[..., : self.kept], x[..., self.kept :]
        widths, heights, slopes, splits = (
            values.unflatten(-1, (rest.shape[-1], -1)) for values in self.network(given)
        )
        return given, rest, RationalSpline(widths, heights, slopes, splits, self.bound)

    def _call(self, x: Tensor) -> Tensor:
        given, rest, spline = self._parts(x)
        changed, log_slope = spline(rest)
        self._log_det = log_slope.sum(-1)
        return torch.cat([given, changed], -1)

    def _inverse(self, y: Tensor) -> Tensor:
        given, changed, spline = self._parts(y)
        rest, log_slope = spline.inverse(changed)
        self._log_det = -log_slope.sum(-1)
        return torch.cat([given, rest], -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Log of the absolute determinant, `(*,)`."""
        known_x, known_y = self._cached_x_y
        if x is not known_x or y is not known_y:
            self(x)
        assert self._log_det is not None
        return self._log_det


class FlowPrior(Prior):
    r"""Flow prior: a standard Normal transformed by learned invertible maps.

    $$z = f(\epsilon), \quad \epsilon \sim \mathcal{N}(0, 1), \quad
    \log p(z) = \log \mathcal{N}(f^{-1}(z)) + \log |\det \partial f^{-1} / \partial z|$$

    Use it to fit the aggregate posterior more closely than a mixture can; samples and densities
    are exact and cheap.

    Args:
        latent_dim: number of latent dimensions D, at least 2.
        flow: a function from D to a flow, such as `RealNVP` or `NeuralSpline`.

    Raises:
        ValueError: if a number is out of range.

    References:
        On the Necessity and Effectiveness of Learning the Prior of Variational Auto-Encoder
        (Xu et al., 2019, section 3), https://arxiv.org/abs/1905.13452

    Example:
        >>> from functools import partial
        >>> prior = FlowPrior(latent_dim=4, flow=partial(RealNVP, num_layers=2))
        >>> prior().sample((5,)).shape
        torch.Size([5, 4])
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, latent_dim: int = 128, flow: Callable[[int], Flow] = RealNVP) -> None:
        super().__init__(latent_dim)
        self.flow = flow(latent_dim)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("scale", torch.ones(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The distribution p(z): batch shape `()`, event shape `(D,)`."""
        return Transformed(dist.Normal(self.loc, self.scale).to_event(1), self.flow())
