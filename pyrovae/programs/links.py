"""Which arguments of the parts follow from other parts, so that nobody has to give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LINKS", "Link"]


@dataclass(frozen=True)
class Link:
    """Where an argument of a part comes from.

    Attributes:
        sources: the parts that decide it.
        compute: gives the argument, of these parts.
        option: what to set in its place.
    """

    sources: tuple[str, ...]
    compute: Callable[..., Any]
    option: str


IMAGE_SHAPE = Link(("data",), lambda data: data.image_shape, "--data")
LATENT_DIM = Link(("prior",), lambda prior: prior.latent_dim, "--prior.latent_dim")
NUM_OUTPUTS = Link(("posterior",), lambda posterior: posterior.num_params, "--posterior")
NUM_MAPS = Link(
    ("data", "likelihood"),
    lambda data, likelihood: likelihood.num_maps(data.image_shape[0]),
    "--likelihood",
)

#: By part and argument. The order decides in which order parts are made, and so what they draw.
LINKS: dict[str, Mapping[str, Link]] = {
    "encoder": {"image_shape": IMAGE_SHAPE, "num_outputs": NUM_OUTPUTS},
    "decoder": {"image_shape": IMAGE_SHAPE, "latent_dim": LATENT_DIM, "num_maps": NUM_MAPS},
    "prior": {"image_shape": IMAGE_SHAPE},
    "posterior": {"latent_dim": LATENT_DIM},
    "program": {
        name: Link((name,), lambda part: part, f"--{name}")
        for name in ("prior", "likelihood", "posterior", "encoder", "decoder")
    }
    | {"image_shape": IMAGE_SHAPE},
}
