"""Refined guides: the best posterior per image in the guide's family, and of full rank."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from tqdm import tqdm

from pyrovae.distributions.full_rank import MultivariateNormal
from pyrovae.evaluation.evidence import latents_at_once, many_log_weights
from pyrovae.inspection.climbing import Bound, adam, climb, downhill
from pyrovae.inspection.offsets import OffsetGuide
from pyrovae.inspection.real import require_real
from pyrovae.posterior.space import LatentSpace
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.sites import latent_sites

__all__ = ["refine_full_rank", "refine_guide", "refine_quickly"]

#: Draws that estimate the Fisher information of offsets, and its least value.
UNIT_DRAWS, FLAT = 16, 0.01

#: Draws per image that decide between the start and the end of a refinement.
CHOOSING_DRAWS = 50

#: Candidates of the least curvature, in units of the guide's spread, and the largest curvature.
#: Along flat directions a Newton step would leave the region where the curvature was measured.
FLOORS, CEILING = (0.01, 0.1, 0.5), 1e6


def with_guide(programs: ModelGuidePair, guide: nn.Module) -> ModelGuidePair:
    """The same programs with another guide."""
    return ModelGuidePair(
        programs.model, guide, programs.likelihood, programs.networks(), programs.attributes
    )


class FullRankGuide(nn.Module):
    r"""A Normal over all latent sites jointly, with a full covariance matrix per image.

    $$z = m + L\,\epsilon, \quad \epsilon \sim \mathcal{N}(0, 1)$$

    An auxiliary site draws z and has the joint density; the latent sites are Delta distributions
    given that draw.

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
        return MultivariateNormal(self.loc, scale_tril=self.scale_tril, validate_args=False)

    def forward(self, x: Tensor, **inputs: Tensor) -> None:
        """Runs the guide for the images that it was fitted to."""
        q = self.z_dist()
        with pyro.plate("images", len(x), dim=-1):
            z = pyro.sample("all latents", q, infer={"is_auxiliary": True})
            for name, value in self.space.unflatten(z).items():
                pyro.sample(name, dist.Delta(value, event_dim=len(self.space.shapes[name])))


@dataclass(frozen=True)
class FittedImages:
    """The images that guides are fitted to, with the further inputs of the programs."""

    space: LatentSpace
    x: Tensor
    inputs: dict[str, Tensor]

    def take(self, rows: Tensor) -> FittedImages:
        """Some of the images."""
        inputs = {name: value[rows] for name, value in self.inputs.items()}
        return FittedImages(self.space, self.x[rows], inputs)

    def terms(self, z: Tensor) -> Tensor:
        """Log p(z) and log p(x given z), `(2, *, B)`."""
        return torch.stack(self.space.log_joint(z, self.x, **self.inputs))

    def log_joint(self, z: Tensor) -> Tensor:
        """Log p(x, z), `(*, B)`."""
        prior, fit = self.space.log_joint(z, self.x, **self.inputs)
        return prior + fit

    def elbo(self, guide: nn.Module) -> Tensor:
        """The ELBO of each image under a guide, `(B,)`, from separate draws."""
        pair = with_guide(self.space.programs, guide)
        return many_log_weights(pair, CHOOSING_DRAWS, self.x, None, **self.inputs).mean(0)


@torch.no_grad()
def refine_guide(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    steps: int = 400,
    num_particles: int = 2,
    learning_rate: float = 0.3,
) -> OffsetGuide:
    r"""The best member of the guide's family for each image, found by SVI per image.

    $$\max_{\delta_n} \mathbb{E}_{q(z \mid x_n, \delta_n)}\left[\log p(x_n, z)
    - \log q(z \mid x_n, \delta_n)\right]$$

    where $\delta_n$ is added to the outputs of the guide's networks for image n. The gain of the
    ELBO is the amortisation gap. It uses path gradients, which have no noise at an exact
    posterior. An image without a gain keeps offsets of 0. Weights and their gradients stay
    unchanged; draws use torch's global random generators.

    Args:
        space: the latents.
        x: observations `(B, C, H, W)`.
        inputs: further inputs of the programs.
        steps: steps of Adam per round; the learning rate falls to 0 as a half cosine. Rounds go
            on until no image gains more than 0.02 nats, see `climb`.
        num_particles: draws per image and step.
        learning_rate: at the start of each round, in units of the change of an offset that
            changes the log density of draws by about 1.

    Returns:
        The guide with the best offsets.

    Raises:
        InputError: if `programs.networks()` has no network of the guide, or draws of the guide
            have no gradient.

    References:
        Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018, sections 3.1
        and 5.1), https://arxiv.org/abs/1801.03558; path gradients as in Sticking the Landing
        (Roeder et al., 2017, section 3), https://arxiv.org/abs/1703.09194
    """
    images = FittedImages(space, x, inputs or {})
    start = OffsetGuide(space.programs, x, **images.inputs)
    bound = _path_bound(images, start, num_particles)

    def units(free: list[Tensor]) -> list[Tensor]:
        return _units(images, start.at(free))

    end = start.at(climb(bound, start.free, [learning_rate] * len(start.free), steps, units))
    rose = (images.elbo(start) < images.elbo(end)).to(x.device)
    return end.at([own * rose.reshape(-1, *[1] * (own.ndim - 1)) for own in end.free])


@torch.no_grad()
def refine_quickly(
    space: LatentSpace,
    x: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    steps: int = 20,
    num_particles: int = 2,
    learning_rate: float = 0.1,
) -> OffsetGuide:
    """The guide after a short refinement, as by `refine_guide`, whose gain is not checked.

    Args:
        space: the latents.
        x: observations `(B, C, H, W)`.
        inputs: further inputs of the programs.
        steps: steps of Adam.
        num_particles: draws per image and step.
        learning_rate: at the start.

    Raises:
        InputError: if the guide cannot be refined, see `refine_guide`.
    """
    images = FittedImages(space, x, inputs or {})
    start = OffsetGuide(space.programs, x, **images.inputs)
    bound = _path_bound(images, start, num_particles)
    # One round of `climb`, whether or not images have gained.
    rates, ones = [learning_rate] * len(start.free), [torch.ones_like(own) for own in start.free]
    slopes = partial(downhill, bound)
    return start.at(adam(slopes, start.free, ones, rates, steps, steps // 4))


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
    r"""Fits a Normal with a full covariance matrix to the posterior of each image.

    The fit starts at the mean of a guide. A Newton step gives the mean of the Normal. Its
    covariance matrix comes from the curvature of $\log p(x, z)$, measured in each dimension
    between one standard deviation of the guide to either side. Both are exact if the posterior is
    Normal. Adam continues from there, in units of that matrix. Each image keeps the one with the
    highest ELBO of the guide's moments, the start and the end, measured with separate draws.
    Draws use torch's global random generators; the programs stay unchanged.

    Args:
        space: the latents, whose support must be R^D.
        x: observations `(B, C, H, W)`.
        inputs: further inputs of the programs.
        guide: where to start, such as the result of `refine_guide`; by default the guide of the
            programs.
        steps: steps of Adam per round; the learning rate falls to 0 as a half cosine. Rounds go
            on until no image gains more than 0.02 nats, see `climb`.
        num_particles: draws per image and step.
        learning_rate: of the mean at the start of a round; that of off-diagonal entries is lower.

    Returns:
        The fitted guide.

    Raises:
        InputError: if the support of latents is not R^D.

    References:
        Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018, section 5.2),
        https://arxiv.org/abs/1801.03558
    """
    images = FittedImages(space, x, inputs or {})
    require_real(space, x, **images.inputs)
    others = LatentSpace(with_guide(space.programs, guide or space.programs.guide), space.shapes)
    z = others.guide_draws(200, x, **images.inputs)
    loc, scale = z.mean(0), z.std(0).clamp(min=1e-6)
    plain = FullRankGuide(space, loc, torch.diag_embed(scale))
    start = best_of(images, [plain, *newton(images, loc, scale)])
    if not steps:
        return start
    end = _polished(images, start, steps, num_particles, learning_rate)
    return best_of(images, [start, end])


def newton(
    images: FittedImages, loc: Tensor, scale: Tensor, hidden: bool | None = True
) -> Iterator[FullRankGuide]:
    """Normals from the curvature of log p(x, z) within one standard deviation of a mean."""
    sides = torch.eye(loc.shape[-1]).to(loc)
    slopes = [_slopes(images, loc, scale, side, hidden).double() for side in (sides, -sides)]
    curvature = (slopes[1] - slopes[0]).movedim(1, 0) / 2  # (B, D, D), of - log p
    middle = (slopes[0] + slopes[1]).mean(0).unsqueeze(-1) / 2
    values, vectors = torch.linalg.eigh((curvature + curvature.mT) / 2)
    for floor in FLOORS:
        covariance = (vectors / values.clamp(floor, CEILING).unsqueeze(-2)) @ vectors.mT
        step = (covariance @ middle).squeeze(-1).to(loc)
        tril = torch.linalg.cholesky(covariance).to(loc)
        yield FullRankGuide(images.space, loc + scale * step, scale.unsqueeze(-1) * tril)


def _slopes(
    images: FittedImages, loc: Tensor, scale: Tensor, offsets: Tensor, hidden: bool | None
) -> Tensor:
    """The gradients of log p(x, z), in units of the scale, at `(P, D)` offsets: `(P, B, D)`."""
    found = []
    most = latents_at_once(images.x[0].numel(), images.x.device)
    parts = offsets.split(max(1, most // len(images.x)))
    for part in tqdm(parts, "curvature", disable=hidden, file=sys.stderr):
        z = (loc + scale * part.unsqueeze(-2)).detach().requires_grad_()
        with torch.enable_grad():
            total = images.log_joint(z).sum()
        found.append(scale * torch.autograd.grad(total, z)[0])
    return torch.cat(found)


def _polished(
    images: FittedImages, start: FullRankGuide, steps: int, num_particles: int, rate: float
) -> FullRankGuide:
    """The result of Adam from a start, in units of the start's covariance."""
    free = [torch.zeros_like(t) for t in (start.loc, start.loc, start.scale_tril)]

    def at(free: list[Tensor]) -> FullRankGuide:
        shift, log_scale, rest = free
        unit = torch.diag_embed(log_scale.exp()) + rest.tril(-1)
        loc = start.loc + (start.scale_tril @ shift.unsqueeze(-1)).squeeze(-1)
        return FullRankGuide(start.space, loc, start.scale_tril @ unit)

    def bound(free: list[Tensor]) -> Tensor:
        z = at(free).z_dist().rsample((num_particles,))
        fixed = at([tensor.detach() for tensor in free]).z_dist()
        return images.log_joint(z) - fixed.log_prob(z)

    rates = [rate, rate, rate / start.loc.shape[-1]]
    return at(climb(bound, free, rates, steps))


def best_of(images: FittedImages, candidates: list[FullRankGuide]) -> FullRankGuide:
    """The candidate with the highest ELBO for each image."""
    elbos = torch.stack([images.elbo(guide) for guide in candidates]).nan_to_num(-torch.inf)
    best = elbos.argmax(0).to(images.x.device)
    rows = torch.arange(len(best), device=best.device)
    loc, tril = (torch.stack([getattr(g, n) for g in candidates]) for n in ("loc", "scale_tril"))
    return FullRankGuide(images.space, loc[best, rows], tril[best, rows])


def _path_bound(images: FittedImages, start: OffsetGuide, num_particles: int) -> Bound:
    """The ELBO of draws as a function of the offsets, with path gradients."""
    _require_gradients(images)
    space = images.space

    def bound(free: list[Tensor]) -> Tensor:
        guide = start.at(free)
        programs = [with_guide(space.programs, g) for g in (guide, guide.fixed())]
        moved, fixed = (LatentSpace(pair, space.shapes) for pair in programs)
        z = moved.guide_draws(num_particles, images.x, **images.inputs)
        return images.log_joint(z) - fixed.log_guide(z, images.x, **images.inputs)

    return bound


def _units(images: FittedImages, guide: OffsetGuide) -> list[Tensor]:
    """The changes of a guide's offsets that change the log density of its draws by about 1.

    They are the inverse roots of the diagonal of the Fisher information.
    """
    space = LatentSpace(with_guide(images.space.programs, guide), images.space.shapes)
    draws = space.guide_draws(UNIT_DRAWS, images.x, **images.inputs)
    free = [offset.clone().requires_grad_() for offset in guide.free]
    space = LatentSpace(with_guide(images.space.programs, guide.at(free)), images.space.shapes)
    squares = [torch.zeros_like(tensor) for tensor in free]
    for z in draws:
        with torch.enable_grad():
            total = space.log_guide(z, images.x, **images.inputs).sum()
        for own, slope in zip(squares, torch.autograd.grad(total, free), strict=True):
            own += slope.square() / len(draws)
    return [own.clamp(min=FLAT).rsqrt() for own in squares]


def _require_gradients(images: FittedImages) -> None:
    trace = poutine.trace(images.space.programs.guide).get_trace(images.x, **images.inputs)
    for name in latent_sites(trace):
        if not trace.nodes[name]["fn"].has_rsample:
            raise InputError(
                f"the guide's own family cannot be refined: draws of its site {name} have no "
                f"gradient; allowed are families with `rsample`"
            )
