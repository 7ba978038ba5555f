"""The common base of priors and posterior families, and the space of their draws."""

from __future__ import annotations

from typing import Any

from torch import nn

from pyrovae.distributions.constraints import at_least
from pyrovae.utils.arguments import Recorded

__all__ = ["LatentModule", "innermost"]


class LatentModule(Recorded, nn.Module):
    """A module that returns distributions of latent vectors.

    Args:
        latent_dim: number of latent dimensions D, at least 1.

    Raises:
        ValueError: if `latent_dim` is not positive.
    """

    def __init__(self, latent_dim: int = 128) -> None:
        super().__init__()
        self.latent_dim = at_least("latent_dim", latent_dim, 1)

    def extra_repr(self) -> str:
        """The text that `repr` shows in brackets."""
        return f"latent_dim={self.latent_dim}"


def innermost(support: Any) -> Any:
    """The constraint on one value, of a support of vectors."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support
