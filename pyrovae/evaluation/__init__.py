"""How good a VAE is: bounds and estimates of log p(x), what the latents hold, what samples are."""

from pyrovae.evaluation.elbo import (
    Evaluation,
    evaluate,
    evaluate_without_latent,
    private_randomness,
    terms,
)
from pyrovae.evaluation.estimates import Estimate

__all__ = [
    "Estimate",
    "Evaluation",
    "evaluate",
    "evaluate_without_latent",
    "private_randomness",
    "terms",
]
