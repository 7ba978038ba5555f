"""A pair of Pyro programs over images: all that training and evaluation know of a VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from torch import Tensor, nn

from pyrovae.likelihoods import Likelihood
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.modes import evaluation_mode

if TYPE_CHECKING:
    from PIL.Image import Image

    from pyrovae.data import ImageData
    from pyrovae.posteriors import Posterior
    from pyrovae.priors import Prior

__all__ = ["Parts", "ModelGuidePair", "run_both"]


@dataclass(frozen=True)
class Parts:
    """What programs with one latent vector are made of, beside the likelihood.

    Attributes:
        encoder: from images to the posterior's parameters.
        posterior: q(z given x).
        prior: p(z).
        decoder: from z to the likelihood's maps.
    """

    encoder: nn.Module
    posterior: Posterior
    prior: Prior
    decoder: nn.Module


def run_both(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[Any, Any]:
    """The traces of a guide, and of the model with the guide's values."""
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    replayed = poutine.replay(model, trace=guide_trace)
    return guide_trace, poutine.trace(replayed).get_trace(*args, **kwargs)


class ModelGuidePair(Recorded, nn.Module):
    """A Pyro model and a Pyro guide of images, with any latent sites.

    `VAE` is the pair with one latent site. Training, evaluation and pictures work on any pair
    of these properties; a subclass of a few lines names its parts:

    - both are called as `program(x)` with observations `(B, C, H, W)`, and the model also as
      `model(num_images=B)` to draw; all sites lie in one plate of images, the last dimension;
    - the image is the site `x`;
    - the guide infers latents from `x` alone: images come in batches, so one with parameters
      for each image, such as an `AutoNormal`, does not fit;
    - where `attributes` names some of the data's attributes, both also get them as
      `attributes=`, a tensor `(B, A)`;
    - where several draws are made at once z is `(S, B, D)`, and what is decoded of it must be
      `(S, B, C, H, W)`: `h.reshape(*z.shape[:-1], C, H, W)`, and a model that joins z and
      attributes does it as `torch.cat([z, attributes.expand(*z.shape[:-1], -1)], -1)`.

    Args:
        model: the generative program, a `PyroModule`.
        guide: the inference program, a `PyroModule`.
        likelihood: how images become observations, and are shown.
        networks: the modules that may compute in a lower precision.
        attributes: names of the data's attributes that the programs are given.
    """

    model: Any
    guide: Any

    #: What prepares images as they were for training; set by `load`.
    data: ImageData | None = None

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
        if isinstance(attributes, str):
            raise TypeError(f"attributes must be a list of names, got {attributes!r}")
        self.attributes = tuple(attributes)

    @property
    def likelihood(self) -> Likelihood:
        """p(x given h), which also knows how images become observations."""
        return self._likelihood[0]

    def preprocess(self, image: str | Path | Image) -> Tensor:
        """A uint8 image `(C, H, W)` of a path or a Pillow image, prepared as for training.

        Raises:
            InputError: if the image cannot be read.
            ValueError: if the programs do not come from a run: `load` tells them how.
        """
        if self.data is None:
            raise ValueError(
                "only programs that were loaded from a run know how its images were prepared: "
                "use the data set's preprocess, or give it to them as their `data`"
            )
        return torch.tensor(self.data.preprocess(image))  # A copy: arrays may be read-only.

    def parts(self) -> Parts | None:
        """The parts of programs with one latent vector; None where they are made otherwise."""
        return None

    def misfit(self, x: Tensor) -> str:
        """What does not go together, for observations `(B, C, H, W)`; "" where it is not known."""
        return ""

    def networks(self) -> list[nn.Module]:
        """The modules that may compute in a lower precision."""
        return list(self._networks)

    def inputs(self, attributes: Tensor | None) -> dict[str, Tensor]:
        """What the programs take besides images: keywords, given the attributes `(B, A)`."""
        if not self.attributes:
            return {}
        if attributes is None:
            raise ValueError(f"the programs need the attributes {', '.join(self.attributes)}")
        return {"attributes": attributes.to(next(self.parameters()).device)}

    def observe(self, images: Tensor) -> Tensor:
        """8-bit images `(*, C, H, W)` in the support that the likelihood scores.

        They are in the programs' precision, and on their device.

        Raises:
            ValueError: if the images are not a tensor of uint8; floats in [0, 1], as `sample`
                gives, would be taken for nearly black.
        """
        _require_grey_values(images)
        return self.observe_greys(images)

    def scored(self, images: Tensor) -> Tensor:
        """8-bit images `(*, C, H, W)` as training, validation and evaluation score them.

        For a density on [0, 1] this is `(k + u) / 256` of grey values k and uniform noise u. The
        generator of the programs' device draws u at each call. At exact levels k / 255 a density
        can grow without bound. The expected log density of `(k + u) / 256` is a lower bound of
        the log probability of the 8-bit images, up to a constant. For all other likelihoods the
        result is that of `observe`.

        The guide encodes the same observation: the ELBO is a bound only of the observation that
        was encoded. `observe` has no noise, so `encode(observe(images))` is always the same. It
        differs from the scored observation by one grey level at most.

        Raises:
            ValueError: if the images are not a tensor of uint8.
        """
        _require_grey_values(images)
        return self.scored_greys(images)

    def scored_greys(self, greys: Tensor) -> Tensor:
        """What `scored` makes of grey values on [0, 255] of any dtype."""
        like = self._like()
        return self.likelihood.scored(greys.to(like.device)).to(like.dtype)

    def observe_greys(self, greys: Tensor) -> Tensor:
        """What `observe` makes of grey values on [0, 255] of any dtype, such as dequantised."""
        like = self._like()
        return self.likelihood.observe(greys.to(like.device)).to(like.dtype)

    def _like(self) -> Tensor:
        """A tensor of the programs' precision, on their device."""
        return next((p for p in self.parameters() if p.is_floating_point()), torch.zeros(()))

    def observed(self, x: Tensor) -> Tensor:
        """Observations, of uint8 images or of what is observed."""
        return x if isinstance(x, Tensor) and x.is_floating_point() else self.observe(x)

    @torch.no_grad()
    def sample(self, num_images: int, attributes: Tensor | None = None) -> Tensor:
        """Images drawn from the model: floats in [0, 1], `(N, C, H, W)`.

        Networks are in evaluation mode for the call; pixels are the likelihood's mean, without
        its noise (`Predictive` draws that too).

        Raises:
            ValueError: if there is no image to draw, or the programs need attributes.
        """
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
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


def _require_grey_values(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"images to observe must be a uint8 tensor of grey values, got {got}; of an array "
            "torch.tensor makes it, of floats (255 * images).round().to(torch.uint8)"
        )
