"""A pair of Pyro programs over images: all that training and evaluation know of a VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyrovae.likelihoods import Likelihood
from pyrovae.modes import evaluation_mode

__all__ = ["Programs", "latent_sites", "run_both"]


def run_both(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[Any, Any]:
    """The traces of a guide, and of the model with the guide's values."""
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    replayed = poutine.replay(model, trace=guide_trace)
    return guide_trace, poutine.trace(replayed).get_trace(*args, **kwargs)


def latent_sites(guide_trace: Any) -> list[str]:
    """The names of what a guide draws, in order; a plate is a site too, and none of them."""
    nodes = guide_trace.nodes
    return [name for name in guide_trace.stochastic_nodes if not site_is_subsample(nodes[name])]


class Programs(nn.Module):
    """A Pyro model and a Pyro guide of images, with any latent sites.

    `VAE` is the pair with one latent site. Training, evaluation and pictures work on any pair
    of these properties; a subclass of a few lines names its parts:

    - both are called as `program(x)` with observations `(B, C, H, W)`, and the model also as
      `model(num_images=B)` to draw; all sites lie in one plate of images, the last dimension;
    - the image is the site `x`;
    - where `attributes` names some of the data's attributes, both also get them as
      `attributes=`, a tensor `(B, A)`.

    Args:
        model: the generative program, a `PyroModule`.
        guide: the inference program, a `PyroModule`.
        likelihood: how images become observations, and are shown.
        networks: the modules that may compute in a lower precision.
        attributes: names of the data's attributes that the programs are given.
    """

    model: Any
    guide: Any

    #: Makes a uint8 image `(C, H, W)` of a path or a Pillow image, as in training; set by `load`.
    preprocess: Callable[..., Tensor] | None = None

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        likelihood: Likelihood,
        networks: Iterable[nn.Module] = (),
        attributes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.model, self.guide = model, guide
        # In tuples, since these are parts of the two programs already.
        self._likelihood, self._networks = (likelihood,), tuple(networks)
        self.attributes = tuple(attributes)

    @property
    def likelihood(self) -> Likelihood:
        """p(x given h), which also knows how images become observations."""
        return self._likelihood[0]

    def networks(self) -> list[nn.Module]:
        """The modules that may compute in a lower precision."""
        return list(self._networks)

    def inputs(self, attributes: Tensor | None) -> dict[str, Tensor]:
        """What the programs take besides images: keywords, given the attributes `(B, A)`."""
        if not self.attributes:
            return {}
        if attributes is None:
            raise ValueError(f"the programs need the attributes {', '.join(self.attributes)}")
        return {"attributes": attributes}

    def observe(self, images: Tensor) -> Tensor:
        """8-bit images `(*, C, H, W)` in the support that the likelihood scores.

        They are in the programs' precision.
        """
        floats = (p.dtype for p in self.parameters() if p.is_floating_point())
        return self.likelihood.observe(images).to(next(floats, torch.get_default_dtype()))

    def observed(self, x: Tensor) -> Tensor:
        """Observations, of uint8 images or of what is observed."""
        return self.observe(x) if x.dtype == torch.uint8 else x

    @torch.no_grad()
    def sample(self, num_images: int, attributes: Tensor | None = None) -> Tensor:
        """Images drawn from the model: floats in [0, 1], `(N, C, H, W)`.

        Networks are in evaluation mode for the call; pixels are the likelihood's mean, without
        its noise (`Predictive` draws that too).
        """
        # The noise of x is not drawn: a value is given, which nothing looks at.
        unseen = poutine.condition(self.model, data={"x": torch.zeros(())})
        with evaluation_mode(self):
            trace = poutine.trace(unseen).get_trace(
                num_images=num_images, **self.inputs(attributes)
            )
            return self._shown(trace)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Images decoded from one draw of the guide: floats in [0, 1], of the shape of `x`.

        Networks are in evaluation mode for the call.
        """
        flat = self.observed(x).reshape(-1, *x.shape[-3:])
        inputs = self.inputs(attributes)
        with evaluation_mode(self):
            _, trace = run_both(self.model, self.guide, flat, **inputs)
            return self._shown(trace).reshape(x.shape)

    def _shown(self, trace: Any) -> Tensor:
        return self.likelihood.to_images(trace.nodes["x"]["fn"])
