"""Arguments of the parts that are computed from other parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LINKS", "Link"]


@dataclass(frozen=True)
class Link:
    """The rule that computes an argument of a part.

    Attributes:
        sources: the parts that determine the argument.
        compute: a function from these parts to the argument.
        option: the option to set instead of the argument.
    """

    sources: tuple[str, ...]
    compute: Callable[..., Any]
    option: str

    def __call__(self, *parts: Any) -> Any:
        """The argument; None without a part, which the program then does not use."""
        return None if any(part is None for part in parts) else self.compute(*parts)


IMAGE_SHAPE = Link(("data",), lambda data: data.image_shape, "--data")
LATENT_DIM = Link(("prior",), lambda prior: prior.latent_dim, "--prior.latent_dim")
NUM_OUTPUTS = Link(("posterior",), lambda posterior: posterior.num_params, "--posterior")
NUM_MAPS = Link(
    ("data", "likelihood"),
    lambda data, likelihood: likelihood.num_maps(data.image_shape[0]),
    "--likelihood",
)

#: By part and argument. Parts are made in this order, which determines their random weights.
LINKS: dict[str, Mapping[str, Link]] = {
    "encoder": {"image_shape": IMAGE_SHAPE, "num_outputs": NUM_OUTPUTS},
    "decoder": {"image_shape": IMAGE_SHAPE, "latent_dim": LATENT_DIM, "num_maps": NUM_MAPS},
    "prior": {"image_shape": IMAGE_SHAPE},
    "likelihood": {"image_shape": IMAGE_SHAPE},
    "posterior": {"latent_dim": LATENT_DIM},
    "program": {
        name: Link((name,), lambda part: part, f"--{name}")
        for name in ("prior", "likelihood", "posterior", "encoder", "decoder")
    }
    | {"image_shape": IMAGE_SHAPE},
}
