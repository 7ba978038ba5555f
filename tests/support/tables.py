"""Every part of the package by role, in small: what the tests run over.

The tables name the parts whose defaults are large, and variants. All others are found, and made
with their default arguments: a new part is tested without an entry here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro.distributions as dist
import pyro.infer
import torch
from torch import Tensor, nn

from pyrovae import likelihoods, priors
from pyrovae.config.catalogue import concrete
from pyrovae.likelihoods import (
    AutoregressiveLogistic,
    Bernoulli,
    Binarization,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    DynamicBinarization,
    FixedBinarization,
    Likelihood,
    Normal,
    OptimalScaleNormal,
    PixelwiseNormal,
    SharedScaleNormal,
    ThresholdBinarization,
)
from pyrovae.networks import (
    ConvDecoder,
    ConvEncoder,
    Decoder,
    Encoder,
    GatedConvDecoder,
    GatedConvEncoder,
    GatedMLPDecoder,
    GatedMLPEncoder,
    ImageShape,
    MLPDecoder,
    MLPEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from pyrovae.objectives import (
    Corruption,
    Cosine,
    Cyclical,
    ExponentialDecay,
    GaussianNoise,
    SaltAndPepper,
    Schedule,
    Warmup,
)
from pyrovae.posteriors import (
    DiagonalNormal,
    HouseholderFlow,
    InverseAutoregressiveFlow,
    LowRankNormal,
    Posterior,
)
from pyrovae.priors import (
    Flow,
    FlowPrior,
    GaussianMixture,
    NeuralSpline,
    Prior,
    RealNVP,
    VampPrior,
)
from pyrovae.programs.vae import VAE
from pyrovae.utils.errors import InputError

#: How often a statistical test may fail by chance, and the two-sided Normal quantile of that.
FALSE_ALARM = 2e-5
Z_LIMIT = 4.265

LATENT_DIM = 3
IMAGE_SHAPE: ImageShape = (3, 6, 5)

#: Shapes that come before that of one image, and the types of numbers that parts follow.
BATCHES = [(), (4,), (2, 4)]
DTYPES = [torch.float32, torch.float64]


class PixelGuide(nn.Module):
    """A guide with nothing to learn, for a `VampPrior` without a VAE: pixels are parameters."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.posterior = DiagonalNormal(latent_dim)

    def z_dist(self, x: Tensor) -> dist.TorchDistribution:
        return self.posterior(4 * x.flatten(-3)[..., : self.posterior.num_params] - 2)


def vamp_prior(latent_dim: int = LATENT_DIM, num_components: int = 4) -> VampPrior:
    """A `VampPrior` that has a guide, as it has within a VAE."""
    prior = VampPrior(latent_dim, IMAGE_SHAPE, num_components)
    prior.use_guide(PixelGuide(latent_dim))
    return prior


def without_guide(prior: Prior) -> Prior:
    """A prior as it is before a VAE hands it a guide."""
    if isinstance(prior, VampPrior):
        prior._guide = ()
    return prior


def concrete_classes(base: type) -> set[type]:
    """The classes of the package, below an abstract one, that can be made."""
    return {part for part in concrete(base) if part.__module__.startswith("pyrovae.")}


def complete(table: dict[str, Callable[..., Any]], base: type, *sizes: Any) -> None:
    """Adds the classes below a base that a table does not name.

    Args:
        table: what makes parts, by name; a dash begins the name of a variant.
        base: the abstract class.
        sizes: what each constructor is given first.
    """
    named = {name.split("-")[0] for name in table}
    for part in sorted(concrete_classes(base), key=lambda part: part.__name__):
        if part.__name__ not in named:
            table[part.__name__] = partial(part, *sizes)


FLOWS: dict[str, Callable[[int], Flow]] = {
    "RealNVP": partial(RealNVP, num_layers=3, hidden=[8]),
    "NeuralSpline": partial(NeuralSpline, num_layers=2, hidden=[8], num_bins=4),
}

PRIORS: dict[str, Callable[[], Prior]] = {
    "GaussianMixture": lambda: GaussianMixture(LATENT_DIM, 4),
    "VampPrior": vamp_prior,
    "FlowPrior-RealNVP": lambda: FlowPrior(LATENT_DIM, FLOWS["RealNVP"]),
    "FlowPrior-NeuralSpline": lambda: FlowPrior(LATENT_DIM, FLOWS["NeuralSpline"]),
    "StudentT": lambda: priors.StudentT(LATENT_DIM, df=3.0),
}

POSTERIORS: dict[str, Callable[[], Posterior]] = {
    "LowRankNormal": lambda: LowRankNormal(LATENT_DIM, rank=2),
    "HouseholderFlow": lambda: HouseholderFlow(LATENT_DIM, num_reflections=2),
    "InverseAutoregressiveFlow": lambda: InverseAutoregressiveFlow(
        LATENT_DIM, num_flows=2, hidden=[8], context_dim=4
    ),
}

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "Normal": lambda: Normal(0.3),
    "SharedScaleNormal": lambda: SharedScaleNormal(0.3),
    "OptimalScaleNormal": lambda: OptimalScaleNormal(0.3),
    "PixelwiseNormal": lambda: PixelwiseNormal(0.3),
    "Laplace": lambda: likelihoods.Laplace(0.3),
    "StudentT": lambda: likelihoods.StudentT(df=4.0, initial_scale=0.3),
    "DiscretizedLogistic": lambda: DiscretizedLogistic(0.2),
    "DiscretizedLogisticMixture": lambda: DiscretizedLogisticMixture(3),
    "AutoregressiveLogistic": lambda: AutoregressiveLogistic(IMAGE_SHAPE, initial_scale=0.2),
    "Bernoulli": lambda: Bernoulli(),
    "Bernoulli-dynamic": lambda: Bernoulli(DynamicBinarization()),
    "Bernoulli-threshold": lambda: Bernoulli(ThresholdBinarization(0.4)),
}


complete(FLOWS, Flow)
complete(PRIORS, Prior, LATENT_DIM)
complete(POSTERIORS, Posterior, LATENT_DIM)
complete(LIKELIHOODS, Likelihood)


def fits(prior: str, posterior: str) -> bool:
    """Whether a prior and a posterior of the tables live in the same space."""
    if prior == "VampPrior":
        return True
    return (prior == "HypersphericalUniform") == (posterior == "VonMisesFisher")


PAIRS = [pair for pair in itertools.product(PRIORS, POSTERIORS) if fits(*pair)]

#: Likelihood, prior and posterior of everything that fits together.
COMBINATIONS = [(p_x, *pair) for p_x, pair in itertools.product(LIKELIHOODS, PAIRS)]

DEFAULTS = ("Normal", "StandardNormal", "DiagonalNormal")


def _one_new(likelihood: str, prior: str, posterior: str) -> bool:
    names = (likelihood, prior, posterior)
    new = [name for name, usual in zip(names, DEFAULTS, strict=True) if name != usual]
    return len(new) < 2 or new == ["HypersphericalUniform", "VonMisesFisher"]


#: Each part once, beside the simplest of the other roles that fit.
IN_TURN = [names for names in COMBINATIONS if _one_new(*names)]

BINARIZATIONS: dict[str, Callable[[], Binarization]] = {
    "FixedBinarization": lambda: FixedBinarization(3),
    "ThresholdBinarization": lambda: ThresholdBinarization(0.4),
}

ENCODERS: dict[str, Callable[[ImageShape, int], Encoder]] = {
    "ConvEncoder": lambda shape, n: ConvEncoder(shape, n, channels=[4, 6]),
    "ConvEncoder-shortcut": lambda shape, n: ConvEncoder(shape, n, [4, 6], shortcut=True),
    "GatedConvEncoder": lambda shape, n: GatedConvEncoder(shape, n, [4, 6], [1, 2], 3),
    "GatedMLPEncoder": lambda shape, n: GatedMLPEncoder(shape, n, hidden=[16]),
    "MLPEncoder": lambda shape, n: MLPEncoder(shape, n, hidden=[16]),
    "ResidualEncoder": lambda shape, n: ResidualEncoder(shape, n, channels=[4, 6]),
    "ResidualEncoder-shortcut": lambda shape, n: ResidualEncoder(shape, n, [4, 6], shortcut=True),
}

DECODERS: dict[str, Callable[[ImageShape, int, int], Decoder]] = {
    "ConvDecoder": lambda shape, d, n: ConvDecoder(shape, d, n, channels=[6, 4]),
    "ConvDecoder-shortcut": lambda shape, d, n: ConvDecoder(shape, d, n, [6, 4], shortcut=True),
    "GatedConvDecoder": lambda shape, d, n: GatedConvDecoder(shape, d, n, [6, 4], [2, 1], 3),
    "GatedMLPDecoder": lambda shape, d, n: GatedMLPDecoder(shape, d, n, hidden=[16]),
    "MLPDecoder": lambda shape, d, n: MLPDecoder(shape, d, n, hidden=[16]),
    "ResidualDecoder": lambda shape, d, n: ResidualDecoder(shape, d, n, channels=[6, 4]),
    "ResidualDecoder-shortcut": lambda shape, d, n: ResidualDecoder(
        shape, d, n, [6, 4], shortcut=True
    ),
}

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "Cosine": lambda: Cosine(0.1),
    "ExponentialDecay": lambda: ExponentialDecay(0.5),
    "Warmup": lambda: Warmup(0.25),
    "Warmup-Cosine": lambda: Warmup(0.25, Cosine(0.1)),
    "Warmup-smooth": lambda: Warmup(0.25, smooth=True),
    "Warmup-smooth-Cosine": lambda: Warmup(0.25, Cosine(0.1), smooth=True),
    "Cyclical": lambda: Cyclical(4, 0.5),
}

CORRUPTIONS: dict[str, Callable[[], Corruption]] = {
    "GaussianNoise": lambda: GaussianNoise(0.2),
    "SaltAndPepper": lambda: SaltAndPepper(0.2),
}

complete(BINARIZATIONS, Binarization)
complete(ENCODERS, Encoder)
complete(DECODERS, Decoder)
complete(SCHEDULES, Schedule)
complete(CORRUPTIONS, Corruption)

OBJECTIVES: dict[str, Callable[..., pyro.infer.ELBO]] = {
    "Trace_ELBO": pyro.infer.Trace_ELBO,
    "TraceMeanField_ELBO": pyro.infer.TraceMeanField_ELBO,
    "TraceGraph_ELBO": pyro.infer.TraceGraph_ELBO,
    "RenyiELBO": pyro.infer.RenyiELBO,
}

#: The abstract class of each role, and what its table makes.
ROLES: dict[str, tuple[type, Callable[[], list[object]]]] = {
    "prior": (Prior, lambda: [make() for make in PRIORS.values()]),
    "posterior": (Posterior, lambda: [make() for make in POSTERIORS.values()]),
    "likelihood": (Likelihood, lambda: [make() for make in LIKELIHOODS.values()]),
    "binarization": (Binarization, lambda: [make() for make in BINARIZATIONS.values()]),
    "encoder": (Encoder, lambda: [make(IMAGE_SHAPE, 2) for make in ENCODERS.values()]),
    "decoder": (Decoder, lambda: [make(IMAGE_SHAPE, 2, 3) for make in DECODERS.values()]),
    "flow": (Flow, lambda: [make(LATENT_DIM) for make in FLOWS.values()]),
    "schedule": (Schedule, lambda: [make() for make in SCHEDULES.values()]),
    "corruption": (Corruption, lambda: [make() for make in CORRUPTIONS.values()]),
}


def make_vae(
    likelihood: str = "Normal",
    prior: str = "StandardNormal",
    posterior: str = "DiagonalNormal",
    networks: str = "MLP",
    shape: ImageShape = IMAGE_SHAPE,
) -> VAE:
    """A VAE of parts named as in the tables; `networks` is what precedes `Encoder`."""
    p_x, p_z, q_z = (
        LIKELIHOODS[likelihood](),
        without_guide(PRIORS[prior]()),
        POSTERIORS[posterior](),
    )
    kind, dash, option = networks.partition("-")
    encoder, decoder = (f"{kind}{role}{dash}{option}" for role in ("Encoder", "Decoder"))
    return VAE(
        encoder=ENCODERS[encoder](shape, q_z.num_params),
        decoder=DECODERS[decoder](shape, p_z.latent_dim, p_x.num_maps(shape[0])),
        prior=p_z,
        likelihood=p_x,
        posterior=q_z,
    )


def random_input(
    part: Likelihood | Posterior,
    batch: tuple[int, ...] = (4,),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """What a network could give to a likelihood or a posterior."""
    if isinstance(part, Likelihood):
        return torch.randn(*batch, part.num_maps(IMAGE_SHAPE[0]), *IMAGE_SHAPE[1:], dtype=dtype)
    return torch.randn(*batch, part.num_params, dtype=dtype)


def call(
    part: Prior | Likelihood | Posterior,
    batch: tuple[int, ...] = (4,),
    dtype: torch.dtype = torch.float32,
) -> dist.TorchDistribution:
    """The distribution of a part at a random input, of that batch shape."""
    if isinstance(part, Prior):
        return part().expand(batch)
    return part(random_input(part, batch, dtype))


def make_images(likelihood: Likelihood, *batch: int, shape: ImageShape = IMAGE_SHAPE) -> Tensor:
    """Random uint8 images that a likelihood takes: grey ones, or else black and white ones."""
    images = torch.randint(0, 256, (*batch, *shape), dtype=torch.uint8)
    try:
        likelihood.check(images)
    except InputError:
        return (images > 127) * torch.tensor(255, dtype=torch.uint8)
    return images


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}


def changed(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """The names whose tensors are not equal bit for bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not _identical(first[name], second[name])]


def _identical(first: Tensor, second: Tensor) -> bool:
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    return torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)


def shake(module: nn.Module, size: float = 0.1) -> None:
    """Moves every parameter by noise, so that none is at its start."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn_like(parameter))
