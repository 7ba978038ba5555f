"""Completions of images with missing pixels, from the posterior given the seen ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyrovae.distributions.masked import MaskedPixels
from pyrovae.evaluation.evidence import latents_at_once, summary
from pyrovae.inspection.given_values import Handled, joint_values, with_values
from pyrovae.inspection.many_latents import refine_many_latents
from pyrovae.inspection.mcmc import sample_posterior
from pyrovae.inspection.refinement import refine_full_rank
from pyrovae.posterior.space import LatentSpace, quietly
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.randomness import private_randomness
from pyrovae.utils.text import listed

__all__ = ["MANY", "Completions", "complete", "with_mask"]

#: Rounds in which missing pixels are decoded and the image is encoded again.
FILLS = 20
#: Steps per round of the refinement of the proposal.
STEPS = 100
#: Latent dimensions from which a covariance matrix is measured once, and not fitted by steps;
#: then the steps of each of the two fits of mean and scales.
MANY, FEWER_STEPS = 300, 150


class _Seen(Messenger):
    """Replaces the distribution of the site x by that of its seen pixels."""

    def __init__(self, seen: Tensor) -> None:
        super().__init__()
        self.seen = seen

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] == "x":
            msg["fn"] = MaskedPixels(msg["fn"], self.seen)


def with_mask(programs: ModelGuidePair, seen: Tensor) -> ModelGuidePair:
    r"""The same programs with a model of the seen pixels, $p(z)\,p(x_{\text{seen}} \mid z)$.

    Args:
        programs: the pair of programs.
        seen: which pixels are seen, booleans `(H, W)`, on the device of the programs.
    """
    model = Handled(programs.model, _Seen(seen))
    own = programs.guide, programs.likelihood, programs.networks(), programs.attributes
    return ModelGuidePair(model, *own)


@dataclass(frozen=True)
class Completions:
    """Draws from p(unseen pixels given the seen ones).

    Attributes:
        images: decoded draws with the seen pixels as they are, floats in [0, 1], `(N, C, H, W)`.
        mean: the mean of the decoded images over the posterior, `(C, H, W)`.
        deviation: its standard deviation over the posterior, `(C, H, W)`, without the
            likelihood's noise.
        latents: draws of z, `(S, D)`.
        weights: their normalised importance weights, `(S,)`; equal for MCMC, and where there are
            fewer effective draws than completions.
        k_hat: of the importance weights, above 0.7 they are unreliable; NaN for MCMC.
        effective: the effective number of draws, by the importance weights.
        r_hat: the largest split R-hat of MCMC; NaN for importance sampling.
        discrete: whether latents are discrete, which NUTS cannot draw.
    """

    images: Tensor
    mean: Tensor
    deviation: Tensor
    latents: Tensor
    weights: Tensor
    k_hat: float
    effective: float
    r_hat: float
    discrete: bool = False


@torch.no_grad()
def complete(
    programs: ModelGuidePair,
    image: Tensor,
    seen: Tensor,
    inputs: dict[str, Tensor] | None = None,
    *,
    num_images: int = 8,
    num_draws: int = 1000,
    mcmc: bool = False,
    seed: int = 0,
    bar: Callable[[range], Iterable[int]] = lambda steps: steps,
    progress: bool = False,
) -> Completions:
    r"""Draws completions of an image with missing pixels.

    $$p(x_{\text{unseen}} \mid x_{\text{seen}}) = \int p(x_{\text{unseen}} \mid z)\,
    p(z \mid x_{\text{seen}})\, dz$$

    The guide encodes only complete images. So the missing pixels are first decoded and the image
    is encoded again, several times. From there a Normal with a full covariance matrix is fitted to
    $p(z \mid x_{\text{seen}})$, see `refine_full_rank`. Its draws are weighted by $p(z)\,
    p(x_{\text{seen}} \mid z) / q(z)$, and completions are drawn by these weights. With fewer
    effective draws than completions the draws of the Normal are used without weights. For more
    than 300 latent dimensions the covariance matrix is measured rather than fitted, see
    `refine_many_latents`. Each value of discrete latents, such as each class, gets draws of its
    own. With `mcmc` NUTS draws z instead. Other latents that are not in R^D, as on a sphere, are
    drawn from the guide and weighted.

    Args:
        programs: the pair of programs.
        image: grey values from 0 to 255, `(C, H, W)`; the values of missing pixels do not count.
        seen: which pixels are seen, booleans `(H, W)`.
        inputs: further inputs of the programs, of one image.
        num_images: completions to draw.
        num_draws: draws of z, S; half of them warm up each of two chains of NUTS.
        mcmc: whether to draw z with NUTS.
        seed: seed of all draws.
        bar: wraps the range of the steps of NUTS, to show progress.
        progress: whether to show the progress of fits of many latents.

    Raises:
        InputError: if no pixel or every pixel is missing, the mask has another size, the
            likelihood has no density per pixel, or NUTS cannot draw the latents: it takes up to
            300.

    References:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models (Rezende et
        al., 2014, appendix F), https://arxiv.org/abs/1401.4082; Leveraging the Exact Likelihood of
        Deep Latent Variable Models (Mattei and Frellsen, 2018, section 3),
        https://arxiv.org/abs/1802.04826
    """
    _check(image, seen, num_images, num_draws)
    task = _Task(programs, seen, inputs or {}, progress)
    with quietly(programs), private_randomness(seed, image.device):
        x = task.filled(programs.observe_greys(image[None]))
        space = task.space(x)
        values = joint_values(space, x, task.inputs)
        if mcmc:
            drawn = task.sampled(space, x, num_draws, bar)
        elif values:
            drawn = task.of_each_value(space, x, values, num_draws)
        else:
            drawn = task.weighted(space, x, num_draws)
        return task.decoded(space, image, drawn, num_images)


def _check(image: Tensor, seen: Tensor, num_images: int, num_draws: int) -> None:
    if seen.shape != image.shape[-2:]:
        size, wanted = ("x".join(map(str, own.shape[-2:])) for own in (seen, image))
        raise InputError(f"the mask is {size} (height x width), allowed is {wanted}")
    if seen.all() or not seen.any():
        which = "no pixel" if seen.all() else "every pixel"
        raise InputError(f"{which} of the image is missing: nothing to complete")
    if num_images < 1 or num_draws < 20:
        raise InputError(
            f"{num_images} completions and {num_draws} draws: allowed are at least 1 completion "
            "(--num) and 20 draws (--draws)"
        )


class _Drawn(NamedTuple):
    """Draws of the latents.

    Attributes:
        z: `(S, D)`.
        log_w: their log importance weights, `(S,)`.
        alike: log weights to use if too few draws are effective, `(S,)`.
        r_hat: the largest split R-hat of MCMC, or NaN.
    """

    z: Tensor
    log_w: Tensor
    alike: Tensor
    r_hat: float = math.nan


@dataclass(frozen=True)
class _Task:
    """What stays the same for all draws of the latents of an image.

    Attributes:
        programs: the pair of programs.
        seen: which pixels are seen, `(H, W)`.
        inputs: further inputs of the programs.
        progress: whether to show the progress of fits of many latents.
    """

    programs: ModelGuidePair
    seen: Tensor
    inputs: dict[str, Tensor]
    progress: bool

    def filled(self, x: Tensor) -> Tensor:
        """The observation with its missing pixels decoded from its own encoding, repeatedly."""
        known = torch.where(self.seen, x, 0.0)
        mean = known.sum((-2, -1), keepdim=True) / self.seen.sum()
        filled = torch.where(self.seen, x, mean)
        for _ in range(FILLS):
            space = LatentSpace.of(self.programs, filled, **self.inputs)
            z = space.guide_draws(1, filled, **self.inputs)[0]
            shown = space.show(z, **self.inputs)
            filled = torch.where(self.seen, x, self.programs.observe_greys(255 * shown))
        return filled

    def space(self, x: Tensor) -> LatentSpace:
        """The latents of the model of the seen pixels."""
        return LatentSpace.of(with_mask(self.programs, self.seen), x, **self.inputs)

    def weighted(self, space: LatentSpace, x: Tensor, count: int) -> _Drawn:
        """Draws of a fitted Normal, or of the guide, and their log importance weights."""
        try:
            if space.size > MANY:
                how: dict[str, Any] = {"steps": FEWER_STEPS, "progress": self.progress}
                q = refine_many_latents(space, x, self.inputs, **how).z_dist()
            else:
                q = refine_full_rank(space, x, self.inputs, steps=STEPS).z_dist()
            z = q.sample((count,))
            log_q = q.log_prob(z)
        except InputError:  # The latents are not in R^D.
            z = space.guide_draws(count, x, **self.inputs)
            log_q = space.log_guide(z, x, **self.inputs)
        parts = z.split(latents_at_once(x[0].numel(), x.device))
        terms = [torch.stack(space.log_joint(own, x, **self.inputs)).sum(0) for own in parts]
        return _Drawn(z[:, 0], (torch.cat(terms) - log_q)[:, 0], torch.zeros_like(log_q[:, 0]))

    def of_each_value(
        self, whole: LatentSpace, x: Tensor, values: list[dict[str, Tensor]], count: int
    ) -> _Drawn:
        """As many draws for each joint value of the discrete sites, such as each class.

        Given the value, the other latents are in R^D. Their weights have the probability of the
        value, so together they are importance weights of all latents. With too few effective draws
        those of one value count equally, and each value by the mean of its weights.
        """
        each, parts = -(-count // len(values)), []
        for own in values:
            task = replace(self, programs=with_values(self.programs, own), progress=False)
            filled = task.filled(x)
            space = replace(task.space(filled), given=own)
            found = task.weighted(space, filled, each)
            mean = found.log_w.logsumexp(0) - math.log(each)
            parts.append((whole.flatten(space.values(found.z)), found.log_w, mean.expand(each)))
        z, log_w, alike = (torch.cat(own) for own in zip(*parts, strict=True))
        return _Drawn(z, log_w, alike)

    def sampled(self, space: LatentSpace, x: Tensor, count: int, bar: Any) -> _Drawn:
        """Draws of NUTS, with equal weights, and the largest split R-hat."""
        if space.size > MANY:
            raise InputError(
                f"NUTS would take hours for {space.size:,} latent dimensions, allowed are up to "
                f"{MANY}"
            )
        if space.discrete:
            raise InputError(
                f"NUTS draws continuous latents, and {listed(sorted(space.discrete))} is "
                "discrete: leave --mcmc out, and each value gets draws of its own"
            )
        half = max(10, count // 2)
        chains = sample_posterior(space, x, self.inputs, warmup=half, num_samples=half, bar=bar)
        z = torch.from_numpy(chains.draws.reshape(-1, space.size)).to(x)
        return _Drawn(z, z.new_zeros(len(z)), z.new_zeros(len(z)), float(chains.r_hat.max()))

    def decoded(
        self, space: LatentSpace, image: Tensor, drawn: _Drawn, num_images: int
    ) -> Completions:
        """Completions drawn by the weights, and the moments of all draws."""
        z, log_w, alike, r_hat = drawn
        table = summary(log_w.double().cpu()[:, None]).iloc[0]
        enough = float(table.ess) >= num_images
        weights = (log_w if enough else alike).double().softmax(0)
        mean = square = torch.zeros(image.shape, dtype=torch.double, device=image.device)
        most = latents_at_once(image.numel(), image.device)
        for own, weight in zip(z.split(most), weights.split(most), strict=True):
            shown = space.show(own[:, None], **self.inputs)[:, 0].double()
            mean = mean + torch.einsum("s,schw->chw", weight, shown)
            square = square + torch.einsum("s,schw->chw", weight, shown.square())
        chosen = torch.multinomial(weights, num_images, replacement=True)
        images = space.show(z[chosen][:, None], **self.inputs)[:, 0]
        known, spread = image / 255, (square - mean.square()).clamp(min=0).sqrt()
        images = torch.where(self.seen, known, images)
        mean = torch.where(self.seen, known, mean.to(known))
        spread = torch.where(self.seen, 0.0, spread.to(known))
        k_hat, ess = float(table.k_hat) if math.isnan(r_hat) else math.nan, float(table.ess)
        discrete = bool(space.discrete)
        return Completions(images, mean, spread, z, weights, k_hat, ess, r_hat, discrete)
