"""How good a VAE is: bounds and estimates of log p(x), what the latents hold, what samples are."""

from pyrovae.evaluation.baselines import log_evidence_of_ppca
from pyrovae.evaluation.elbo import (
    Evaluation,
    evaluate,
    evaluate_without_latent,
    image_terms,
    log_evidence_without_latent,
    terms,
)
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import log_evidence, log_weights, pareto_k
from pyrovae.evaluation.factors import dci, factor_scores
from pyrovae.evaluation.information import mutual_information_gap, mutual_information_table
from pyrovae.evaluation.latents import Codes, active_units, aggregate, codes
from pyrovae.evaluation.passes import each_batch

__all__ = [
    "Codes",
    "Estimate",
    "Evaluation",
    "active_units",
    "aggregate",
    "codes",
    "dci",
    "each_batch",
    "evaluate",
    "evaluate_without_latent",
    "factor_scores",
    "image_terms",
    "log_evidence",
    "log_evidence_of_ppca",
    "log_evidence_without_latent",
    "log_weights",
    "mutual_information_gap",
    "mutual_information_table",
    "pareto_k",
    "terms",
]
