"""Scores of a VAE: bounds and estimates of log p(x), latents, reconstructions, samples."""

from pyrovae.evaluation.baselines import (
    evaluate_without_latent,
    log_evidence_of_ppca,
    log_evidence_without_latent,
)
from pyrovae.evaluation.distances import frechet_distance, mmd
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.evidence import log_evidence, log_weights, pareto_k
from pyrovae.evaluation.factors import dci, factor_scores
from pyrovae.evaluation.features import (
    FEATURES,
    Inception,
    Pixels,
    RandomConvolutions,
    features_of,
    named_features,
)
from pyrovae.evaluation.information import mutual_information_gap, mutual_information_table
from pyrovae.evaluation.latents import aggregate, log_mixture
from pyrovae.evaluation.neighbours import coverage, density
from pyrovae.evaluation.reconstruction import psnr, reconstructions, ssim
from pyrovae.evaluation.samples import sample_quality
from pyrovae.posterior.elbo import Evaluation, evaluate, image_terms, terms
from pyrovae.posterior.passes import each_batch

__all__ = [
    "Estimate",
    "Evaluation",
    "FEATURES",
    "Inception",
    "Pixels",
    "RandomConvolutions",
    "aggregate",
    "coverage",
    "dci",
    "density",
    "each_batch",
    "evaluate",
    "evaluate_without_latent",
    "factor_scores",
    "features_of",
    "frechet_distance",
    "image_terms",
    "log_evidence",
    "log_evidence_of_ppca",
    "log_evidence_without_latent",
    "log_mixture",
    "log_weights",
    "mmd",
    "mutual_information_gap",
    "mutual_information_table",
    "named_features",
    "pareto_k",
    "psnr",
    "reconstructions",
    "sample_quality",
    "ssim",
    "terms",
]
