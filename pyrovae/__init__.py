"""Variational autoencoders written as Pyro programs.

The decoder lives in a Pyro model, the encoder in a Pyro guide, and Pyro's SVI trains them. Prior,
likelihood, posterior, networks and objective are separate parts, each swapped by naming another.
"""

from pyrovae.checkpoint import RunDirectory, load
from pyrovae.data import (
    CelebA,
    ImageData,
    ImageFolder,
    Split,
    SyntheticFaces,
    TorchvisionImages,
)
from pyrovae.errors import InputError
from pyrovae.evaluation import Evaluation, evaluate
from pyrovae.likelihoods import (
    Bernoulli,
    DynamicBinarization,
    Likelihood,
    Normal,
    SharedScaleNormal,
    ThresholdBinarization,
)
from pyrovae.networks import (
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    MLPDecoder,
    MLPEncoder,
)
from pyrovae.objectives import (
    Beta,
    Constant,
    Cosine,
    ExponentialDecay,
    ScaleLatents,
    Schedule,
    Warmup,
)
from pyrovae.posteriors import DiagonalNormal, Posterior
from pyrovae.priors import Prior, StandardNormal
from pyrovae.starts import ProbabilisticPCA, RandomStart, Start
from pyrovae.svi import SVI, Engine, GroupedOptimizer
from pyrovae.training import Recipe, Trainer
from pyrovae.vae import VAE, Guide, Model

__version__ = "0.1.0"

__all__ = [
    "SVI",
    "VAE",
    "Bernoulli",
    "Beta",
    "CelebA",
    "Constant",
    "ConvDecoder",
    "ConvEncoder",
    "Cosine",
    "Decoder",
    "DiagonalNormal",
    "DynamicBinarization",
    "Encoder",
    "Engine",
    "Evaluation",
    "ExponentialDecay",
    "GroupedOptimizer",
    "Guide",
    "ImageData",
    "ImageFolder",
    "InputError",
    "Likelihood",
    "MLPDecoder",
    "MLPEncoder",
    "Model",
    "Normal",
    "Posterior",
    "Prior",
    "ProbabilisticPCA",
    "RandomStart",
    "Recipe",
    "RunDirectory",
    "ScaleLatents",
    "Schedule",
    "SharedScaleNormal",
    "Split",
    "StandardNormal",
    "Start",
    "SyntheticFaces",
    "ThresholdBinarization",
    "TorchvisionImages",
    "Trainer",
    "Warmup",
    "evaluate",
    "load",
]
