"""Every part of the package by role, in small: what the tests run over.

A new part is tested by adding it here, and leaving it out fails `test_parts.py`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable

import pyro.infer
import torch
from torch import Tensor, nn

import pyrovae
from pyrovae.errors import InputError
from pyrovae.likelihoods import (
    Bernoulli,
    Binarization,
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
    ImageShape,
    MLPDecoder,
    MLPEncoder,
)
from pyrovae.objectives import Constant, Cosine, ExponentialDecay, Schedule, Warmup
from pyrovae.posteriors import DiagonalNormal, Posterior
from pyrovae.priors import Prior, StandardNormal
from pyrovae.vae import VAE

#: How often a statistical test may fail by chance, and the two-sided Normal quantile of that.
FALSE_ALARM = 2e-5
Z_LIMIT = 4.265

LATENT_DIM = 3
IMAGE_SHAPE: ImageShape = (3, 6, 5)

PRIORS: dict[str, Callable[[], Prior]] = {
    "StandardNormal": lambda: StandardNormal(LATENT_DIM),
}

POSTERIORS: dict[str, Callable[[], Posterior]] = {
    "DiagonalNormal": lambda: DiagonalNormal(LATENT_DIM),
}

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "Normal": lambda: Normal(0.3),
    "SharedScaleNormal": lambda: SharedScaleNormal(0.3),
    "Bernoulli": lambda: Bernoulli(),
    "Bernoulli-dynamic": lambda: Bernoulli(DynamicBinarization()),
    "Bernoulli-threshold": lambda: Bernoulli(ThresholdBinarization(0.4)),
}

BINARIZATIONS: dict[str, Callable[[], Binarization]] = {
    "DynamicBinarization": lambda: DynamicBinarization(),
    "ThresholdBinarization": lambda: ThresholdBinarization(0.4),
}

ENCODERS: dict[str, Callable[[ImageShape, int], Encoder]] = {
    "ConvEncoder": lambda shape, n: ConvEncoder(shape, n, channels=[4, 6]),
    "ConvEncoder-shortcut": lambda shape, n: ConvEncoder(shape, n, [4, 6], shortcut=True),
    "MLPEncoder": lambda shape, n: MLPEncoder(shape, n, hidden=[16]),
}

DECODERS: dict[str, Callable[[ImageShape, int, int], Decoder]] = {
    "ConvDecoder": lambda shape, d, n: ConvDecoder(shape, d, n, channels=[6, 4]),
    "ConvDecoder-shortcut": lambda shape, d, n: ConvDecoder(shape, d, n, [6, 4], shortcut=True),
    "MLPDecoder": lambda shape, d, n: MLPDecoder(shape, d, n, hidden=[16]),
}

SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "Constant": lambda: Constant(),
    "Cosine": lambda: Cosine(0.1),
    "ExponentialDecay": lambda: ExponentialDecay(0.5),
    "Warmup": lambda: Warmup(0.25),
    "Warmup-Cosine": lambda: Warmup(0.25, Cosine(0.1)),
}

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
    "schedule": (Schedule, lambda: [make() for make in SCHEDULES.values()]),
}


def concrete_classes(base: type) -> set[type]:
    """The classes of the package, below an abstract one, that can be made."""
    for module in pkgutil.walk_packages(pyrovae.__path__, "pyrovae."):
        importlib.import_module(module.name)
    found: set[type] = set()
    waiting = [base]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("pyrovae.") and not inspect.isabstract(kind):
            found.add(kind)
    return found


def make_vae(
    likelihood: str = "Normal",
    prior: str = "StandardNormal",
    posterior: str = "DiagonalNormal",
    networks: str = "MLP",
    shape: ImageShape = IMAGE_SHAPE,
) -> VAE:
    """A VAE of parts named as in the tables; `networks` is what precedes `Encoder`."""
    p_x, p_z, q_z = LIKELIHOODS[likelihood](), PRIORS[prior](), POSTERIORS[posterior]()
    encoder, decoder = (
        networks.replace("MLP", f"MLP{role}").replace("Conv", f"Conv{role}")
        for role in ("Encoder", "Decoder")
    )
    return VAE(
        encoder=ENCODERS[encoder](shape, q_z.num_params),
        decoder=DECODERS[decoder](shape, p_z.latent_dim, p_x.num_maps(shape[0])),
        prior=p_z,
        likelihood=p_x,
        posterior=q_z,
    )


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
