"""How good a VAE is: bounds and estimates of log p(x), what the latents hold, what samples are."""

from pyrovae.evaluation.distances import frechet_distance, mmd
from pyrovae.evaluation.elbo import (
    Evaluation,
    evaluate,
    evaluate_without_latent,
    private_randomness,
    terms,
)
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.features import (
    FEATURES,
    Inception,
    Pixels,
    RandomConvolutions,
    features_of,
    named_features,
)
from pyrovae.evaluation.neighbours import coverage, density
from pyrovae.evaluation.reconstruction import psnr, reconstructions, ssim
from pyrovae.evaluation.samples import sample_quality

__all__ = [
    "Estimate",
    "Evaluation",
    "FEATURES",
    "Inception",
    "Pixels",
    "RandomConvolutions",
    "coverage",
    "density",
    "evaluate",
    "evaluate_without_latent",
    "features_of",
    "frechet_distance",
    "mmd",
    "named_features",
    "private_randomness",
    "psnr",
    "reconstructions",
    "sample_quality",
    "ssim",
    "terms",
]
