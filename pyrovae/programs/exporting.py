"""Exports encoder and decoder as programs of `torch.export`, which need only torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyrovae.distributions.masked import unmasked
from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.text import cut

__all__ = ["Exported", "export_programs", "prior_code"]

#: Batch sizes at which an export is compared with the programs.
CHECKED = (1, 5)
#: Largest difference between an export and the programs, relative to the largest output.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    """An exported program.

    Attributes:
        content: the bytes of the file that `torch.export.load` reads.
        family: the distribution whose parameters the program returns.
        takes: the shape of its input, without the batch.
        returns: the shapes of its outputs by name, without the batch.
        difference: the largest difference from the programs, relative to the largest output.
    """

    content: bytes
    family: str
    takes: tuple[int, ...]
    returns: dict[str, tuple[int, ...]]
    difference: float


def export_programs(vae: ModelGuidePair) -> Iterator[tuple[str, Exported | InputError]]:
    """Yields `encoder` and `decoder`, each with its program or the reason why there is none.

    The encoder takes observations, floats `(N, C, H, W)`, and returns the parameters of q(z | x).
    The decoder takes latents `(N, D)`, and returns the shown image and the parameters of
    p(x | z). Neither draws random numbers. The batch size N is free.

    Args:
        vae: programs with one latent vector, on the CPU, with their `data`.

    Raises:
        InputError: if the programs have other latent sites.
    """
    parts = vae.parts()
    if parts is None or vae.data is None:
        raise InputError(
            f"{type(vae).__name__}: only VAE and its subclasses are exported, whose networks need "
            "no attributes"
        )

    shown = {"image": vae.likelihood.to_images}
    encoder = _Program(parts.encoder, parts.posterior, {})
    decoder = _Program(parts.decoder, vae.likelihood, shown)
    yield "encoder", _attempt(encoder, vae.data.image_shape)
    yield "decoder", _attempt(decoder, (parts.prior.latent_dim,))


def prior_code(vae: ModelGuidePair) -> str:
    """Code that draws from the prior with torch alone; empty if torch has no such distribution.

    Example:
        >>> from pyrovae import VAE, MLPDecoder, MLPEncoder, StandardNormal, SyntheticFaces
        >>> data = SyntheticFaces(image_size=16)
        >>> nets = {"encoder": MLPEncoder, "decoder": MLPDecoder}
        >>> vae = VAE.for_images(data, 2, prior=StandardNormal, **nets)
        >>> prior_code(vae)
        'torch.distributions.Normal(loc=0.0, scale=1.0).sample((4, 2))'
    """
    prior = vae.latent_prior()
    family, given = type(_base(prior)).__name__, vars(_base(prior))
    names = [name for name in _base(prior).arg_constraints if name in given]
    values = {name: given[name].unique() for name in names}
    if family not in torch.distributions.__all__ or any(len(v) > 1 for v in values.values()):
        return ""
    arguments = ", ".join(f"{name}={float(value):.7}" for name, value in values.items())
    return f"torch.distributions.{family}({arguments}).sample((4, {prior.event_shape[0]}))"


class _Program(nn.Module):
    """A network and the distribution that its output gives, as a function that returns tensors."""

    def __init__(
        self, network: nn.Module, family: nn.Module, shown: Mapping[str, Callable[[Any], Tensor]]
    ) -> None:
        super().__init__()
        self.network, self.family, self.shown = network, family, shown

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The parameters of the distribution, and what is shown of it."""
        found = self.family(self.network(x))
        parameters = _parameters(found)
        return {name: show(found) for name, show in self.shown.items()} | parameters


def _attempt(program: _Program, shape: tuple[int, ...]) -> Exported | InputError:
    """Exports a program with inputs of this shape; returns the reason if this fails."""
    given = torch.rand(max(CHECKED), *shape, generator=torch.Generator().manual_seed(0))
    try:
        with (
            evaluation_mode(program),
            torch.no_grad(),
            pyro.validation_enabled(False),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # The exporter warns of its own internals.
            return _exported(program, given.to(next(program.parameters()).dtype))
    except Exception as error:  # The exporter raises errors of many kinds.
        kinds = " and ".join(type(part).__name__ for part in (program.network, program.family))
        reason = cut(str(error).splitlines()[0] if str(error) else type(error).__name__)
        return InputError(f"{kinds} cannot be exported: {reason}")


def _base(distribution: Any) -> Any:
    """A distribution without `to_event`, and of whole images."""
    distribution = unmasked(distribution)
    while isinstance(distribution, dist.Independent):
        distribution = distribution.base_dist
    return distribution


def _parameters(distribution: dist.TorchDistribution) -> dict[str, Tensor]:
    """The parameters by which a distribution was made.

    Raises:
        InputError: if parameters do not determine it, such as a flow.
    """
    base = _base(distribution)
    kept = vars(base)
    # A Normal with a full covariance computes its other parameters on demand.
    found = {name: kept[name] for name in base.arg_constraints if name in kept}
    if not found:
        raise InputError(
            f"the distribution is of the kind {type(base).__name__}, which has no parameters"
        )
    return found


def _exported(program: _Program, given: Tensor) -> Exported:
    """Exports a program, and compares the export with it."""
    some = given[:2]
    batch = {0: torch.export.Dim("batch")}
    family = type(_base(program.family(program.network(some)))).__name__
    made = torch.export.export(program, (some,), dynamic_shapes=(batch,), strict=False)
    buffer = io.BytesIO()
    torch.export.save(made, buffer)
    content = buffer.getvalue()
    loaded = torch.export.load(io.BytesIO(content)).module()
    differences = []
    for count in CHECKED:
        expected, found = program(given[:count]), loaded(given[:count])
        differences += [
            float((found[name] - value).abs().max() / value.abs().max().clamp(min=1))
            for name, value in expected.items()
        ]
    if not max(differences) <= TOLERANCE:  # NaN as well.
        raise InputError(f"the export differs from the programs by {max(differences):.1g}")
    shapes = {name: tuple(value.shape[1:]) for name, value in expected.items()}
    return Exported(content, family, tuple(given.shape[1:]), shapes, max(differences))
