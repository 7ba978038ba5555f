"""Images of which only some pixels are seen."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch.distributions import Independent

from pyrovae.distributions.grey import DiscretizedLogisticMixture, GreyCategorical
from pyrovae.utils.errors import InputError

__all__ = ["MaskedPixels", "pixel_log_prob", "unmasked"]


@singledispatch
def pixel_log_prob(fn: Any, value: Tensor) -> Tensor:
    """The log density of each pixel, all channels together, `(*, H, W)`.

    It is defined for distributions of pixels that are independent of each other.

    Args:
        fn: a distribution of event shape `(C, H, W)`.
        value: images `(*, C, H, W)`.

    Raises:
        InputError: if the density of the distribution is not one per pixel.
    """
    raise InputError(f"{type(fn).__name__} has no density per pixel: pixels cannot be left out")


@pixel_log_prob.register(Independent)
def _(fn: Any, value: Tensor) -> Tensor:
    found: Tensor = fn.base_dist.log_prob(value)
    return found.sum(-3)


@pixel_log_prob.register(ExpandedDistribution)
def _(fn: Any, value: Tensor) -> Tensor:
    found = pixel_log_prob(fn.base_dist, value)
    return found.expand(torch.broadcast_shapes((*fn.batch_shape, 1, 1), found.shape))


@pixel_log_prob.register(DiscretizedLogisticMixture)
@pixel_log_prob.register(GreyCategorical)
def _(fn: Any, value: Tensor) -> Tensor:
    found: Tensor = fn.pixel_log_prob(value)
    return found


class MaskedPixels(TorchDistribution):
    r"""The marginal distribution of the seen pixels of an image, whose pixels are independent.

    $$\log p(x_{\text{seen}}) = \sum_{i \in \text{seen}} \log p(x_i)$$

    Pixels that are NaN in any channel are not seen either.

    Args:
        fn: the distribution of the whole image, event shape `(C, H, W)`.
        seen: which pixels are seen, booleans `(*, H, W)`; None for all that are not NaN.

    Raises:
        InputError: if the distribution has no density per pixel, when `log_prob` is called.

    Example:
        >>> import pyro.distributions as dist
        >>> image = dist.Normal(torch.zeros(3, 2, 2), 1.0).to_event(3)
        >>> seen = torch.tensor([[True, False], [False, False]])
        >>> MaskedPixels(image, seen).log_prob(torch.ones(3, 2, 2))
        tensor(-4.2568)
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self, fn: Any, seen: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        self.fn, self.seen = fn, seen
        super().__init__(fn.batch_shape, fn.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        """The support of the whole image."""
        return self.fn.support

    @property
    def mean(self) -> Tensor:
        """The mean of the whole image."""
        return self.fn.mean

    def expand(self, batch_shape: Any, _instance: Any = None) -> MaskedPixels:
        """The same pixels of more images."""
        return MaskedPixels(self.fn.expand(batch_shape), self.seen)

    @property
    def variance(self) -> Tensor:
        """The variance of the whole image."""
        return self.fn.variance

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of the seen pixels of images `(*, C, H, W)`; the others do not count."""
        return pixel_log_prob(self, value).sum((-2, -1))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws whole images."""
        return self.fn.sample(sample_shape)


@pixel_log_prob.register(MaskedPixels)
def _(fn: MaskedPixels, value: Tensor) -> Tensor:
    # Filled before the density: NaN times a gradient of 0 would be NaN.
    found = pixel_log_prob(fn.fn, value.nan_to_num(0.0))
    seen = ~value.isnan().any(-3)
    return torch.where(seen if fn.seen is None else seen & fn.seen, found, 0.0)


def unmasked(fn: Any) -> Any:
    """The distribution of the whole image."""
    return unmasked(fn.fn) if isinstance(fn, MaskedPixels) else fn
