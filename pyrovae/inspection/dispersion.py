"""Whether the likelihood's noise is as large as the residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.engine import Engine
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.information import ratio_values
from pyrovae.posterior.passes import each_batch
from pyrovae.programs.pair import ModelGuidePair, run_both

__all__ = ["dispersion"]

#: Draws that stand for a likelihood whose moments no formula knows.
DRAWS = 20


def dispersion(
    programs: ModelGuidePair, images: Split | np.ndarray, engine: Engine, *, seed: int = 0
) -> Estimate:
    r"""How large residuals are, over how large the likelihood says they are.

    $$\frac{\sum_{n, i} (x_{ni} - \mathbb{E}[x_i \mid z_n])^2}
    {\sum_{n, i} \operatorname{Var}[x_i \mid z_n]}, \quad z_n \sim q(z \mid x_n)$$

    over images n and pixels i. It is 1 where the likelihood's noise is right: an image and a
    draw from its exact posterior are a draw from the model, so that the expected residual is the
    variance. Above 1 the likelihood is too narrow, and the rate is bought too dear; below 1 it is
    too wide, and detail is left to noise. One draw an image: of the mean over several draws of z
    the ratio would be below 1 even for the true model.

    Args:
        programs: the pair of programs, on the engine's device.
        images: a split, or where the programs need no attributes its uint8 images
            `(N, C, H, W)`.
        engine: where to compute.
        seed: seed of the draws.

    Returns:
        The ratio, with a standard error over images by the delta method. A likelihood without a
        formula for its moments is drawn from, without bias in either sum.

    Example:
        >>> from pyrovae import DiagonalNormal, MLPDecoder, MLPEncoder, Normal, StandardNormal, VAE
        >>> vae = VAE(
        ...     encoder=MLPEncoder((1, 8, 8), num_outputs=4),
        ...     decoder=MLPDecoder((1, 8, 8), latent_dim=2, num_maps=1),
        ...     prior=StandardNormal(2), likelihood=Normal(0.01), posterior=DiagonalNormal(2),
        ... )
        >>> noise = np.random.default_rng(0).integers(0, 256, (10, 1, 8, 8), dtype=np.uint8)
        >>> dispersion(vae, noise, Engine("cpu", "fp32")).value > 100  # the noise is not 0.01
        True
    """

    def compute(x: Tensor, **inputs: Tensor) -> Tensor:
        _, model = run_both(programs.model, programs.guide, x, **inputs)
        node = model.nodes["x"]
        return torch.stack(_squares(node["fn"], node["value"]), -1)

    found = torch.cat(list(each_batch(programs, images, engine, compute, seed=seed)))
    squares, variances = found.cpu().double().numpy().T[:, :, None]
    return Estimate.of(ratio_values(squares, variances)[:, 0])


def _squares(p: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Squared residuals of images and their variances, each summed over pixels, `(B,)`."""
    try:
        mean, variance = p.mean, p.variance
    except (NotImplementedError, AttributeError):
        draws = p.sample((DRAWS,))
        mean, variance = draws.mean(0), draws.var(0)
        # The mean of draws is off by its own variance.
        squares = (x - mean).square() - variance / DRAWS
    else:
        squares = (x - mean).square()
    return squares.flatten(1).sum(1), variance.flatten(1).sum(1)
