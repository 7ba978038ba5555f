"""The posteriors of a split: the view that training, evaluation and inspection share."""

from pyrovae.posterior.elbo import Evaluation, divergence, evaluate, image_terms, terms
from pyrovae.posterior.passes import each_batch, in_order, observations, observed, seed_of

__all__ = [
    "Evaluation",
    "divergence",
    "each_batch",
    "evaluate",
    "image_terms",
    "in_order",
    "observations",
    "observed",
    "seed_of",
    "terms",
]
