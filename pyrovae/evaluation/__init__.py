"""How good a VAE is: bounds and estimates of log p(x), what the latents hold, what samples are."""

from pyrovae.evaluation.elbo import (
    Evaluation,
    evaluate,
    evaluate_without_latent,
    private_randomness,
    terms,
)
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.factors import dci, factor_scores
from pyrovae.evaluation.information import mutual_information_gap, mutual_information_table

__all__ = [
    "Estimate",
    "Evaluation",
    "dci",
    "evaluate",
    "evaluate_without_latent",
    "factor_scores",
    "mutual_information_gap",
    "mutual_information_table",
    "private_randomness",
    "terms",
]
