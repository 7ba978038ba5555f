"""The ELBO of a split, its rate and distortion, and bits per dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.distributions.kl import divergence
from pyrovae.engine import Engine
from pyrovae.likelihoods import Likelihood
from pyrovae.posterior.passes import each_batch
from pyrovae.programs.pair import ModelGuidePair, run_both
from pyrovae.utils.errors import check_kind
from pyrovae.utils.sites import drawn_in_order, latent_sites, observed_sites
from pyrovae.utils.statistics import error_of_mean

__all__ = ["Evaluation", "evaluate", "image_terms", "summarise", "terms"]

#: What the names of the terms of one latent site begin with.
OF_SITE = "rate_"
#: Bits per dimension of independent grey values, all as probable.
UNIFORM_BITS = 8


@dataclass(frozen=True)
class Evaluation:
    """Means over a split, in nats per image unless stated otherwise.

    Attributes:
        elbo: the evidence lower bound at beta 1, `-(rate + distortion)`.
        rate: the KL of q(z given x) and the prior.
        distortion: the expected negative log likelihood of x under q(z given x).
        bits_per_dim: bits per pixel and channel of the 8-bit image; None where undefined.
        num_images: number of images.
        elbo_error: standard error of the mean ELBO; None for one image, or one group.
        rates: the part of the rate of each latent site, if there are several.
    """

    elbo: float
    rate: float
    distortion: float
    bits_per_dim: float | None
    num_images: int
    elbo_error: float | None
    rates: dict[str, float] = field(default_factory=dict)

    def numbers(self) -> dict[str, float | int | None]:
        """The values by name; the rate of a latent site is `rate_NAME`."""
        found = asdict(self)
        rates = found.pop("rates")
        return found | {f"{OF_SITE}{name}": rate for name, rate in rates.items()}

    def headline(self, name: str = "ELBO") -> str:
        """Bits per dimension and the ELBO with its standard error, for the terminal.

        Bits per dimension come first: nats of densities and of probabilities cannot be compared.

        Args:
            name: what the ELBO is called: without latents it is log p(x).
        """
        bits = ""
        if self.bits_per_dim is not None:
            bits = f"{self.bits_per_dim:.3f} bits/dim"
            if self.bits_per_dim > UNIFORM_BITS:
                bits += f" (worse than uniform pixels: {UNIFORM_BITS})"
        error = "" if self.elbo_error is None else f" ± {self.elbo_error:,.1f}"
        return f"{bits}  {name} {self.elbo:,.1f}{error}".lstrip()

    def __str__(self) -> str:
        """One line for the terminal."""
        return f"{self.headline()}  rate {self.rate:,.1f}  distortion {self.distortion:,.1f}"


def terms(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
) -> dict[str, Tensor]:
    r"""Rate and distortion per image, from one run of guide and model.

    $$\text{rate} = \sum_{\text{latent sites}} KL(q \,\|\, p), \quad
    \text{distortion} = -\sum_{\text{observed sites}} \log p$$

    The KL of a site is exact where it has a closed form, else estimated by $\log q - \log p$ at
    the value drawn. It is also estimated where the guide draws sites in another order than the
    model, see `drawn_in_order`.

    Args:
        model: a program whose sites are independent along one plate of images.
        guide: its guide.
        *args: arguments of both programs.
        **kwargs: keyword arguments of both programs.

    Returns:
        `{"rate": (B,), "distortion": (B,)}`, in nats. With several latent sites also `rate_NAME`
        of each: the KL given draws of the sites that the guide drew before.
    """
    guide_trace, model_trace = run_both(model, guide, *args, **kwargs)
    observed = [model_trace.nodes[name] for name in observed_sites(model_trace)]
    distortion = -sum(site["fn"].log_prob(site["value"]) for site in observed)
    rates, ordered = {}, drawn_in_order(guide_trace, model_trace)
    for name in latent_sites(guide_trace):
        q, p = guide_trace.nodes[name], model_trace.nodes[name]
        site_rate = divergence(q["fn"], p["fn"], q["value"], name in ordered)
        rates[f"{OF_SITE}{name}"] = site_rate
    rate = sum(rates.values(), torch.zeros_like(distortion))
    return {"rate": rate, "distortion": distortion} | (rates if len(rates) > 1 else {})


def evaluate(
    programs: ModelGuidePair,
    images: Split | np.ndarray,
    engine: Engine | None = None,
    *,
    seed: int = 0,
) -> Evaluation:
    """Estimates the ELBO of a split with one posterior draw per image.

    Densities are scored at dequantised pixels, so that bits per dimension are a bound. Draws
    depend on the seed only. Neither weights nor random generators are changed.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split; or uint8 images `(N, C, H, W)`, if the programs need no attributes.
        engine: the device and the precision; by default the programs' device, in fp32.
        seed: seed of the draws.

    Raises:
        TypeError: if an argument has the wrong type, such as a data set in place of a split, or
            floats in place of 8-bit images.
    """
    check_kind("programs", programs, ModelGuidePair)
    check_kind("images", images, Split | np.ndarray, '; data.split("test") is a split')
    if isinstance(images, np.ndarray) and images.dtype.kind not in "iu":
        raise TypeError(
            f"images must be integers, the grey values 0 to 255, got {images.dtype}; "
            "ArrayData(images) converts other types"
        )
    engine = engine or Engine(str(next(programs.parameters()).device), "fp32")
    check_kind("engine", engine, Engine, '; such as Engine("cuda")')
    table = image_terms(programs, images, engine, seed=seed)
    pixels = images.images if isinstance(images, Split) else images
    groups = images.groups if isinstance(images, Split) else None
    return summarise(table, programs.likelihood, math.prod(pixels.shape[1:]), groups)


def image_terms(
    programs: ModelGuidePair, images: Split | np.ndarray, engine: Engine, *, seed: int = 0
) -> dict[str, Tensor]:
    """What `terms` returns for each image of a split, `(N,)` each; see `evaluate`."""
    compute = partial(terms, programs.model, programs.guide)
    found = each_batch(programs, images, engine, compute, seed=seed)
    columns = [{name: own.cpu().double() for name, own in batch.items()} for batch in found]
    return {name: torch.cat([batch[name] for batch in columns]) for name in columns[0]}


def summarise(
    table: Mapping[str, Tensor],
    likelihood: Likelihood,
    num_dims: int,
    groups: np.ndarray | None = None,
) -> Evaluation:
    """The means of `image_terms` of images with `num_dims` dimensions, of these groups."""
    rate, distortion = table["rate"], table["distortion"]
    elbo = -(rate + distortion)
    mean, error = elbo.mean().item(), error_of_mean(elbo.numpy(), groups)
    return Evaluation(
        elbo=mean,
        rate=rate.mean().item(),
        distortion=distortion.mean().item(),
        bits_per_dim=likelihood.bits_per_dim(mean, num_dims),
        num_images=len(elbo),
        elbo_error=None if math.isnan(error) else error,
        rates={
            name.removeprefix(OF_SITE): own.mean().item()
            for name, own in table.items()
            if name.startswith(OF_SITE)
        },
    )
