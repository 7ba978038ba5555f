"""Scores of how anomalous an image is: typicality, likelihood regret, input complexity, AUROC."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import latents_at_once, many_log_weights
from pyrovae.evaluation.pairs import chunks
from pyrovae.inspection.refinement import refine_quickly, with_guide
from pyrovae.inspection.subject import Subject
from pyrovae.utils.randomness import private_randomness

__all__ = ["SCORES", "auroc", "compressed_nats", "likelihood_regret"]

#: The scores in words, whether larger values are more anomalous (1) or smaller ones (-1), units.
SCORES = {
    "elbo": ("ELBO", -1, "nats"),
    "log_evidence": ("log p(x)", -1, "nats"),
    "typicality": ("typicality", 1, "nats"),
    "regret": ("likelihood regret", 1, "nats"),
    "complexity": ("log p(x) + complexity", -1, "nats"),
    "residual": ("largest residual", 1, "times the usual"),
}
#: Draws and steps of the refinement, and draws of the ELBO before and after it.
PARTICLES, STEPS, DRAWS = 2, 20, 16


def auroc(
    usual: np.ndarray,
    others: np.ndarray,
    usual_groups: np.ndarray | None = None,
    other_groups: np.ndarray | None = None,
) -> Estimate:
    r"""The probability that a score of another set is larger than a usual one; ties count half.

    $$\text{AUROC} = P(s' > s) + \tfrac{1}{2} P(s' = s)$$

    Args:
        usual: scores of images of the inspected split, `(N,)`.
        others: scores of images of another set, `(M,)`.
        usual_groups: the group of each usual image, such as a patient; by default each is one.
        other_groups: that of each image of the other set.

    Returns:
        The AUROC with its standard error, which is that of independent groups.

    References:
        Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves
        (DeLong et al., 1988, section 2), https://doi.org/10.2307/2531595

    Example:
        >>> auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0])).value
        0.875
    """
    larger = others[:, None] > usual
    wins = larger + 0.5 * (others[:, None] == usual)
    parts = (wins.mean(0), usual_groups), (wins.mean(1), other_groups)
    return Estimate(float(wins.mean()), math.hypot(*(Estimate.of(*p).error or 0 for p in parts)))


def compressed_nats(images: np.ndarray) -> np.ndarray:
    """The lengths in nats of losslessly compressed images, `(N,)`.

    As in a PNG file, each pixel is stored as its difference from the pixel to its left, and the
    differences are compressed by deflate.

    Args:
        images: uint8 `(N, C, H, W)`.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 256, (1, 1, 32, 32), dtype=np.uint8)
        >>> bool(compressed_nats(noise)[0] > 5 * compressed_nats(0 * noise)[0])
        True
    """
    steps = np.diff(images, axis=-1, prepend=np.zeros_like(images[..., :1]))
    return 8 * math.log(2) * np.array([len(zlib.compress(own.tobytes())) for own in steps])


def likelihood_regret(subject: Subject, split: Split) -> np.ndarray:
    r"""The gain of the ELBO in nats if the guide is refined for each image, `(N,)`; at least 0.

    $$\max_{\delta_n} \mathcal{L}(x_n, \delta_n) - \mathcal{L}(x_n, 0)$$

    A short refinement of 20 steps approximates the maximum. Both ELBOs have the same draws.

    Args:
        subject: what is inspected.
        split: the images.

    Raises:
        InputError: if the guide cannot be refined.

    References:
        Likelihood Regret: An Out-of-Distribution Detection Score For Variational Auto-encoder
        (Xiao et al., 2020, equation 8), https://arxiv.org/abs/2003.02977
    """
    x, inputs = subject.observed(split)
    gains = []
    with subject.quietly(4):
        for rows in chunks(len(x), max(1, latents_at_once(x[0].numel(), x.device) // PARTICLES)):
            own = {name: value[rows] for name, value in inputs.items()}
            gains.append(_regret(subject, x[rows], own))
    return torch.cat(gains).cpu().double().numpy()


def _regret(subject: Subject, x: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    how = {"steps": STEPS, "num_particles": PARTICLES}
    refined = refine_quickly(subject.space, x, inputs, **how)
    found = []
    for guide in (subject.programs.guide, refined):
        with private_randomness(subject.seed, x.device):
            pair = with_guide(subject.programs, guide)
            found.append(many_log_weights(pair, DRAWS, x, None, **inputs).mean(0))
    return (found[1] - found[0]).nan_to_num(0.0).clamp(min=0)
