"""What the ELBO would be if the guide took its time for each image: refined posteriors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyrovae.evaluation.evidence import latents_at_once, many_log_weights
from pyrovae.inspection.climbing import climb
from pyrovae.inspection.real import require_real
from pyrovae.posterior.space import LatentSpace
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.sites import latent_sites

__all__ = [
    "FullRankGuide",
    "OffsetGuide",
    "refine_full_rank",
    "refine_guide",
    "with_guide",
]

#: Draws of each image that choose between where a refinement starts and where it ends.
CHOOSING_DRAWS = 50

#: The least curvatures that are tried, in units of the guide's spread, and the largest: flat
#: directions leave the region in which the curvature was measured.
FLOORS, CEILING = (0.01, 0.1, 0.5), 1e6


def with_guide(programs: ModelGuidePair, guide: nn.Module) -> ModelGuidePair:
    """The pair of the same model and another guide."""
    return ModelGuidePair(
        programs.model, guide, programs.likelihood, programs.networks(), programs.attributes
    )


class OffsetGuide(nn.Module):
    """A guide whose networks give what they give, plus numbers for each image that are free.

    What a network gives is all that is amortised: with the best numbers the guide is the best
    of its own family for each image, whatever the family.

    Args:
        programs: the pair of programs.
        x: the observations `(B, C, H, W)` that it is a guide of.
        **inputs: what the programs take besides.

    Attributes:
        offsets: for each call of a network what is added to its output, zeros at the start.

    Raises:
        InputError: if no network of the guide is among those that the programs name.
    """

    def __init__(self, programs: ModelGuidePair, x: Tensor, **inputs: Tensor) -> None:
        super().__init__()
        inside = set(programs.guide.modules())
        self._guide = (programs.guide,)
        self._networks = [network for network in programs.networks() if network in inside]
        found: list[Tensor | None] = []

        def notice(output: Any) -> Any:
            free = isinstance(output, Tensor) and len(output) == len(x)
            found.append(torch.zeros_like(output) if free else None)
            return output

        with torch.no_grad(), self._hearing(notice):
            programs.guide(x, **inputs)
        self.offsets = found
        if not self.free:
            raise InputError(
                "the guide's own family cannot be refined: no network of the guide is among the "
                "networks that the programs name"
            )

    @property
    def free(self) -> list[Tensor]:
        """The offsets, without the calls that have none."""
        return [offset for offset in self.offsets if offset is not None]

    def forward(self, x: Tensor, **inputs: Tensor) -> Any:
        """The guide, with the offsets."""
        offsets = iter(self.offsets)

        def add(output: Any) -> Any:
            offset = next(offsets)
            return output if offset is None else output + offset

        with self._hearing(add):
            return self._guide[0](x, **inputs)

    def fixed(self) -> OffsetGuide:
        """The same, its offsets constants."""
        return self.at([None if o is None else o.detach() for o in self.offsets])

    def at(self, offsets: list[Tensor | None]) -> OffsetGuide:
        """The same with other offsets."""
        copy = OffsetGuide.__new__(OffsetGuide)
        nn.Module.__init__(copy)
        copy._guide, copy._networks, copy.offsets = self._guide, self._networks, offsets
        return copy

    @contextmanager
    def _hearing(self, change: Callable[[Any], Any]) -> Iterator[None]:
        """All that the networks give goes through a function."""
        hooks = [
            network.register_forward_hook(lambda module, given, output: change(output))
            for network in self._networks
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class FullRankGuide(nn.Module):
    r"""A Normal with a covariance matrix of its own for each image, over all sites together.

    $$z = m + L\,\epsilon, \quad \epsilon \sim \mathcal{N}(0, 1)$$

    The first site carries the density of all; the sites are points given that draw.

    Args:
        space: the latents.
        loc: m, `(B, D)`.
        scale_tril: L, lower triangular, `(B, D, D)`.
    """

    def __init__(self, space: LatentSpace, loc: Tensor, scale_tril: Tensor) -> None:
        super().__init__()
        self.space, self.loc, self.scale_tril = space, loc, scale_tril

    def z_dist(self) -> dist.TorchDistribution:
        """The Normals, batch shape `(B,)`, event shape `(D,)`."""
        return dist.MultivariateNormal(self.loc, scale_tril=self.scale_tril, validate_args=False)

    def forward(self, x: Tensor, **inputs: Tensor) -> None:
        """The program, for the images that it is a guide of."""
        q = self.z_dist()
        with pyro.plate("images", len(x), dim=-1):
            z = pyro.sample("all latents", q, infer={"is_auxiliary": True})
            for name, value in self.space.unflatten(z).items():
                pyro.sample(name, dist.Delta(value, event_dim=len(self.space.shapes[name])))


@torch.no_grad()
def refine_guide(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    steps: int = 400,
    num_particles: int = 2,
    learning_rate: float = 0.05,
) -> OffsetGuide:
    r"""The best guide of its own family for each image, found by SVI image by image.

    $$\max_{\delta_n} \mathbb{E}_{q(z \mid x_n, \delta_n)}\left[\log p(x_n, z)
    - \log q(z \mid x_n, \delta_n)\right]$$

    where $\delta_n$ is added to what the guide's networks give for image n. What the ELBO gains
    is the amortisation gap. Gradients are path gradients, without noise at an exact posterior;
    an image whose ELBO did not rise keeps the guide as it was. No weight is changed and no
    weight's gradient touched; draws are torch's.

    Args:
        space: the latents.
        x: observations `(B, C, H, W)`.
        inputs: what the programs take besides.
        steps: of Adam in a round, at a learning rate that falls to 0 as a half cosine. Rounds go
            on until no image gains 0.01 nats any more, see `climb`.
        num_particles: draws per image and step.
        learning_rate: at the start.

    Raises:
        InputError: if the programs name no network of the guide, or it draws what has no
            gradient.

    References:
        Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018, sections 3.1
        and 5.1), https://arxiv.org/abs/1801.03558; path gradients as in Sticking the Landing
        (Roeder et al., 2017, section 3), https://arxiv.org/abs/1703.09194
    """
    inputs = inputs or {}
    start = OffsetGuide(space.programs, x, **inputs)
    _require_gradients(space, x, inputs)

    def bound(free: list[Tensor]) -> Tensor:
        guide = start.at(_filled(start.offsets, free))
        programs = [with_guide(space.programs, g) for g in (guide, guide.fixed())]
        moved, fixed = (LatentSpace(pair, space.shapes) for pair in programs)
        z = moved.guide_draws(num_particles, x, **inputs)
        return _log_joint(space, z, x, inputs) - fixed.log_guide(z, x, **inputs)

    found = climb(bound, start.free, [learning_rate] * len(start.free), steps)
    end = start.at(_filled(start.offsets, found))
    before, after = (_elbo(with_guide(space.programs, g), x, inputs) for g in (start, end))
    rose = (after > before).to(x.device)
    return end.at([None if o is None else o * _column(rose, o) for o in end.offsets])


@torch.no_grad()
def refine_full_rank(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    guide: nn.Module | None = None,
    steps: int = 400,
    num_particles: int = 2,
    learning_rate: float = 0.1,
) -> FullRankGuide:
    r"""A Normal with a full covariance matrix for each image, of an ELBO as high as was found.

    It starts at the mean m of a guide, where a step of Newton's method gives a mean, and the
    curvature of $\log p(x, z)$ between one standard deviation s to either side, in each
    dimension, a covariance matrix: exact where the posterior is Normal. Adam goes on from there,
    in units of that matrix. Of the guide's moments, the start and the end each image keeps what
    has the highest ELBO in draws of their own. Draws are torch's, and nothing is changed.

    Args:
        space: the latents, which must fill R^D.
        x: observations `(B, C, H, W)`.
        inputs: what the programs take besides.
        guide: where to start, such as what `refine_guide` gives; by default the guide.
        steps: of Adam in a round, at a learning rate that falls to 0 as a half cosine. Rounds go
            on until no image gains 0.01 nats any more, see `climb`.
        num_particles: draws per image and step.
        learning_rate: at the start, for a mean; entries off the diagonal have less.

    Raises:
        InputError: if latents do not fill R^D.

    References:
        Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018, section 5.2),
        https://arxiv.org/abs/1801.03558
    """
    inputs = inputs or {}
    require_real(space, x, **inputs)
    others = LatentSpace(with_guide(space.programs, guide or space.programs.guide), space.shapes)
    z = others.guide_draws(200, x, **inputs)
    loc, scale = z.mean(0), z.std(0).clamp(min=1e-6)
    plain = FullRankGuide(space, loc, torch.diag_embed(scale))
    start = _best([plain, *_newton(space, loc, scale, x, inputs)], x, inputs)
    if not steps:
        return start
    end = _polished(start, x, inputs, steps, num_particles, learning_rate)
    return _best([start, end], x, inputs)


def _newton(
    space: LatentSpace, loc: Tensor, scale: Tensor, x: Tensor, inputs: dict[str, Tensor]
) -> Iterator[FullRankGuide]:
    """Normals of the curvature of log p(x, z) within a standard deviation of a mean."""
    sides = torch.eye(loc.shape[-1]).to(loc)
    slopes = [_slopes(space, loc, scale, side, x, inputs).double() for side in (sides, -sides)]
    curvature = (slopes[1] - slopes[0]).movedim(1, 0) / 2  # (B, D, D), of - log p
    middle = (slopes[0] + slopes[1]).mean(0).unsqueeze(-1) / 2
    values, vectors = torch.linalg.eigh((curvature + curvature.mT) / 2)
    for floor in FLOORS:
        covariance = (vectors / values.clamp(floor, CEILING).unsqueeze(-2)) @ vectors.mT
        step = (covariance @ middle).squeeze(-1).to(loc)
        tril = torch.linalg.cholesky(covariance).to(loc)
        yield FullRankGuide(space, loc + scale * step, scale.unsqueeze(-1) * tril)


def _slopes(
    space: LatentSpace,
    loc: Tensor,
    scale: Tensor,
    offsets: Tensor,
    x: Tensor,
    inputs: dict[str, Tensor],
) -> Tensor:
    """The gradients of log p(x, z), in units of the scale, at `(P, D)` offsets: `(P, B, D)`."""
    found = []
    most = latents_at_once(x[0].numel(), x.device)
    for part in offsets.split(max(1, most // len(x))):
        z = (loc + scale * part.unsqueeze(-2)).detach().requires_grad_()
        with torch.enable_grad():
            total = _log_joint(space, z, x, inputs).sum()
        found.append(scale * torch.autograd.grad(total, z)[0])
    return torch.cat(found)


def _log_joint(space: LatentSpace, z: Tensor, x: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    prior, fit = space.log_joint(z, x, **inputs)
    return prior + fit


def _polished(
    start: FullRankGuide,
    x: Tensor,
    inputs: dict[str, Tensor],
    steps: int,
    num_particles: int,
    learning_rate: float,
) -> FullRankGuide:
    """Where Adam goes from there, in units of where it starts."""
    space, size = start.space, start.loc.shape[-1]
    free = [torch.zeros_like(t) for t in (start.loc, start.loc, start.scale_tril)]

    def at(free: list[Tensor]) -> FullRankGuide:
        shift, log_scale, rest = free
        unit = torch.diag_embed(log_scale.exp()) + rest.tril(-1)
        loc = start.loc + (start.scale_tril @ shift.unsqueeze(-1)).squeeze(-1)
        return FullRankGuide(space, loc, start.scale_tril @ unit)

    def bound(free: list[Tensor]) -> Tensor:
        z = at(free).z_dist().rsample((num_particles,))
        fixed = at([tensor.detach() for tensor in free]).z_dist()
        return _log_joint(space, z, x, inputs) - fixed.log_prob(z)

    return at(climb(bound, free, [learning_rate, learning_rate, learning_rate / size], steps))


def _best(candidates: list[FullRankGuide], x: Tensor, inputs: dict[str, Tensor]) -> FullRankGuide:
    """Of each image the one of the highest ELBO."""
    space = candidates[0].space
    pairs = [with_guide(space.programs, guide) for guide in candidates]
    elbos = torch.stack([_elbo(pair, x, inputs) for pair in pairs])
    best = elbos.nan_to_num(-torch.inf).argmax(0).to(x.device)
    images = torch.arange(len(x), device=x.device)
    loc, tril = (torch.stack([getattr(g, n) for g in candidates]) for n in ("loc", "scale_tril"))
    return FullRankGuide(space, loc[best, images], tril[best, images])


def _elbo(programs: ModelGuidePair, x: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    return many_log_weights(programs, CHOOSING_DRAWS, x, None, **inputs).mean(0)


def _column(rows: Tensor, like: Tensor) -> Tensor:
    return rows.reshape(-1, *[1] * (like.ndim - 1))


def _filled(offsets: list[Tensor | None], free: list[Tensor]) -> list[Tensor | None]:
    """Free tensors where there are offsets."""
    values = iter(free)
    return [None if offset is None else next(values) for offset in offsets]


def _require_gradients(space: LatentSpace, x: Tensor, inputs: dict[str, Tensor]) -> None:
    trace = poutine.trace(space.programs.guide).get_trace(x, **inputs)
    for name in latent_sites(trace):
        if not trace.nodes[name]["fn"].has_rsample:
            raise InputError(
                f"the guide's own family cannot be refined: draws of its site {name} have no "
                f"gradient, allowed are families with `rsample`"
            )
