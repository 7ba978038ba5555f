"""The parts of programs with one latent vector."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior

__all__ = ["Parts"]


@dataclass(frozen=True)
class Parts:
    """The parts, besides the likelihood, of programs with one latent vector.

    Attributes:
        encoder: network from images to the posterior's parameters.
        posterior: q(z given x).
        prior: p(z).
        decoder: network from z to the likelihood's maps.
    """

    encoder: nn.Module
    posterior: Posterior
    prior: Prior
    decoder: nn.Module
