"""Flow posteriors: invertible maps of the draws of a Normal."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import pyro.distributions.transforms as transforms
import torch
from pyro.distributions.transforms.householder import ConditionedHouseholder
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn

from pyrovae.distributions import Transformed
from pyrovae.distributions.constraints import at_least, bounded_log
from pyrovae.posteriors.base import LocationScale

__all__ = ["HouseholderFlow", "InverseAutoregressiveFlow"]


class HouseholderFlow(LocationScale):
    r"""Normal posterior whose axes are rotated by Householder reflections per image.

    $$z = H_T \cdots H_1\, (\mu + \sigma \odot \epsilon), \quad
    H_t = I - 2\, v_t v_t^T / \lVert v_t \rVert^2, \quad \epsilon \sim \mathcal{N}(0, 1)$$

    where $v_t = r_t + e_t$, with $e_t$ the axes in turn, $(\mu, s, r_1, \dots, r_T)$ are the parts
    of h and $\log \sigma_d = 7 \tanh(s_d / 7)$. Reflections preserve volume, so that the density
    needs no determinant. T = D reflections reach any orthogonal matrix, and q any covariance.

    Use it for dependent dimensions at a cost between `LowRankNormal` and `FullRankNormal`.

    Args:
        latent_dim: number of latent dimensions D, at least 1.
        num_reflections: number of reflections T, at least 1.

    Raises:
        ValueError: if a number is not positive.

    References:
        Improving Variational Auto-Encoders using Householder Flow (Tomczak and Welling, 2016,
        equation 9), https://arxiv.org/abs/1611.09630; Sylvester Normalizing Flows (van den Berg
        et al., 2018, section 4.2), https://arxiv.org/abs/1803.05649

    Example:
        >>> posterior = HouseholderFlow(latent_dim=3, num_reflections=2)
        >>> posterior(torch.randn(5, posterior.num_params)).rsample().shape
        torch.Size([5, 3])
    """

    SHORTEST = 1e-4

    axes: Tensor

    def __init__(self, latent_dim: int = 128, num_reflections: int = 8) -> None:
        super().__init__(latent_dim)
        self.num_reflections = at_least("num_reflections", num_reflections, 1)
        # Untrained networks return vectors close to zero, which have no direction.
        axes = torch.eye(latent_dim)[torch.arange(num_reflections) % latent_dim]
        self.register_buffer("axes", axes, persistent=False)

    @property
    def num_params(self) -> int:
        """Location, raw log scale, and the vectors r one after the other."""
        return (2 + self.num_reflections) * self.latent_dim

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, num_params)`: batch shape `*`."""
        loc, scale = self.location_and_scale(h[..., : 2 * self.latent_dim])
        raw = h[..., 2 * self.latent_dim :].unflatten(-1, (self.num_reflections, -1))
        vectors = raw.clamp(-self.LOC_LIMIT, self.LOC_LIMIT) + self.axes
        short = vectors.detach().norm(dim=-1, keepdim=True) < self.SHORTEST
        base = dist.Normal(loc, scale).to_event(1)
        return Transformed(base, [ConditionedHouseholder(vectors + short * self.axes)])

    def features(self, loc: Tensor, scale: Tensor) -> Tensor:
        """The encoder output h for this mean and scale, each `(*, D)`, and r = 0.

        At r = 0 each reflection only flips the sign of one dimension. The sign of the location is
        flipped as well, which cancels that.
        """
        signs = (1 - 2 * (self.axes.sum(0) % 2)).to(loc)
        raw_scale = bounded_log(scale, self.LOG_SCALE_LIMIT)
        nothing = loc.new_zeros(*loc.shape[:-1], self.num_reflections * self.latent_dim)
        return torch.cat([signs * loc, raw_scale, nothing], dim=-1)

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"latent_dim={self.latent_dim}, num_reflections={self.num_reflections}"


class _GateNetwork(ConditionalAutoRegressiveNN):
    """A network with bounded gate logits, so that the flow stays invertible."""

    LOGIT_LIMIT = 10.0

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The m and the bounded logits of g; Pyro adds 2 to the logits."""
        mean, logit = super().forward(x, context)
        return mean, self.LOGIT_LIMIT * torch.tanh(logit / self.LOGIT_LIMIT)


class InverseAutoregressiveFlow(LocationScale):
    r"""Normal posterior whose draws are transformed by autoregressive networks.

    $$z^{(0)} = \mu + \sigma \odot \epsilon, \qquad z^{(t)} = g_t \odot z^{(t-1)}
    + (1 - g_t) \odot m_t, \quad (m_t, \operatorname{logit} g_t) = f_t(z^{(t-1)}, c)$$

    where output d of the network $f_t$ depends on the dimensions before d only, the order is
    reversed from one flow to the next, and $(\mu, s, c)$ are the parts of h, with
    $\log \sigma_d = 7 \tanh(s_d / 7)$. The logits of the gates lie between -8 and 12, the
    entries of c between -1e4 and 1e4.

    Use it where posteriors are curved rather than correlated. The density of its own draws is
    cheap. The density of any other point, which `VampPrior` and path gradients need, takes D
    steps.

    Args:
        latent_dim: number of latent dimensions D, at least 2.
        num_flows: number of flows, at least 1.
        hidden: widths of the hidden layers of each flow's network, each at least D.
        context_dim: length of the context c that the encoder gives to the networks, at least 1.

    Raises:
        ValueError: if a number is out of range.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016,
        algorithm 1), https://arxiv.org/abs/1606.04934

    Example:
        >>> posterior = InverseAutoregressiveFlow(latent_dim=3, hidden=[16])
        >>> q = posterior(torch.randn(5, posterior.num_params))
        >>> q.log_prob(q.rsample()).shape
        torch.Size([5])
    """

    reversal: Tensor

    def __init__(
        self,
        latent_dim: int = 128,
        num_flows: int = 2,
        hidden: Sequence[int] = (256,),
        context_dim: int = 64,
    ) -> None:
        super().__init__(latent_dim)
        if latent_dim < 2 or num_flows < 1 or context_dim < 1:
            raise ValueError(
                "latent_dim must be at least 2, num_flows and context_dim at least 1, got "
                f"{latent_dim}, {num_flows} and {context_dim}"
            )
        if not hidden or min(hidden) < latent_dim:
            raise ValueError(
                f"hidden must be a list of widths of at least latent_dim = {latent_dim}, "
                f"got {list(hidden)}"
            )
        self.context_dim = context_dim
        order = torch.arange(latent_dim)
        self.networks = nn.ModuleList(
            _GateNetwork(latent_dim, context_dim, list(hidden), permutation=order)
            for _ in range(num_flows)
        )
        self.register_buffer("reversal", order.flip(0), persistent=False)

    @property
    def num_params(self) -> int:
        """Location, raw log scale, and the context of the networks."""
        return 2 * self.latent_dim + self.context_dim

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        """The distribution q(z given h) for h of shape `(*, num_params)`: batch shape `*`."""
        loc, scale = self.location_and_scale(h[..., : 2 * self.latent_dim])
        context = h[..., 2 * self.latent_dim :].clamp(-self.LOC_LIMIT, self.LOC_LIMIT)
        flows: list[transforms.Transform] = []
        for network in self.networks:
            flow = transforms.ConditionalAffineAutoregressive(network, stable=True)
            given = flow.condition(context)
            # The inverse reads the order; a tensor on the device would cause a sync.
            given.arn.permutation = range(self.latent_dim)
            flows += [given, transforms.Permute(self.reversal)]
        return Transformed(dist.Normal(loc, scale).to_event(1), flows)

    def extra_repr(self) -> str:
        """The arguments in `repr`."""
        return f"latent_dim={self.latent_dim}, context_dim={self.context_dim}"
