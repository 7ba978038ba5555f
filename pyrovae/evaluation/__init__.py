"""Scores of a VAE: bounds and estimates of log p(x), latents, reconstructions, samples."""

# ruff: noqa: F403
from pyrovae.evaluation.baselines import *
from pyrovae.evaluation.distances import *
from pyrovae.evaluation.estimates import *
from pyrovae.evaluation.evidence import *
from pyrovae.evaluation.factors import *
from pyrovae.evaluation.features import *
from pyrovae.evaluation.information import *
from pyrovae.evaluation.latents import *
from pyrovae.evaluation.neighbours import *
from pyrovae.evaluation.reconstruction import *
from pyrovae.evaluation.samples import *
from pyrovae.posterior.elbo import Evaluation as Evaluation
from pyrovae.posterior.elbo import evaluate as evaluate
from pyrovae.posterior.elbo import image_terms as image_terms
from pyrovae.posterior.elbo import terms as terms
from pyrovae.posterior.passes import each_batch as each_batch
from pyrovae.utils.discovery import exports

__all__ = exports(__name__)
