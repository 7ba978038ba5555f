"""The pair of a Pyro model and guide over images, the interface of training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrovae.likelihoods import Likelihood
from pyrovae.programs.observing import check_grey_values, check_range
from pyrovae.programs.parts import Parts
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.errors import InputError, check_kind
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.pyro_state import own_store
from pyrovae.utils.sites import only
from pyrovae.utils.text import listed

if TYPE_CHECKING:
    from PIL.Image import Image

    from pyrovae.data import ImageData, Split

__all__ = ["Parts", "ModelGuidePair", "run_both"]

#: Attributes of images, `(*, A)`; None for programs that take none.
Given: TypeAlias = Tensor | np.ndarray | Sequence[Any] | None


def run_both(
    model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[Any, Any]:
    """Returns a trace of the guide, and a trace of the model replayed with its values."""
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    replayed = poutine.replay(model, trace=guide_trace)
    return guide_trace, poutine.trace(replayed).get_trace(*args, **kwargs)


class ModelGuidePair(Recorded, nn.Module):
    """A Pyro model and a Pyro guide of images, with any latent sites.

    `VAE` is the pair with one latent site. Training, evaluation and inspection accept any pair
    that meets these conditions; a subclass of a few lines can build one:

    - both are called as `program(x)` with observations `(B, C, H, W)`; to draw, the model is
      called as `model(num_images=B)`;
    - all sites lie in one plate of images, the last batch dimension;
    - the image is the site `x`;
    - the guide computes latents from the batch `x`, so a guide with parameters per image, such as
      `AutoNormal`, does not work; it draws latent sites of the model only;
    - parameters are attributes of the programs, such as modules and `PyroParam`: checkpoints hold
      no parameter of `pyro.param`;
    - no messenger masks sites; `fn.mask(m)` masks a distribution. `poutine.scale` weighs a site in
      training only;
    - if `attributes` names attributes of the data, both programs also get `attributes=`, a tensor
      `(B, A)`;
    - for several draws at once z is `(S, B, D)`, and the decoded maps must be `(S, B, C, H, W)`:
      use `h.reshape(*z.shape[:-1], C, H, W)`; a model that concatenates z and attributes uses
      `torch.cat([z, attributes.expand(*z.shape[:-1], -1)], -1)`.

    Args:
        model: the generative program, a `PyroModule`.
        guide: the inference program, a `PyroModule`.
        likelihood: maps images to observations, and distributions to images.
        networks: the modules that can compute in a lower precision.
        attributes: names of the data's attributes that the programs take.
    """

    model: Any
    guide: Any

    #: Attributes that may be unknown. Training steps and draws at given values get them after the
    #: other attributes; evaluation does not get them.
    optional: tuple[str, ...] = ()

    #: Whether `Trainer.fit` or `load` has set the weights.
    fitted: bool = False

    #: The data set whose `preprocess` prepares new images as for training; `load` sets it.
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
        for name, program in (("model", model), ("guide", guide)):
            check_kind(name, program, nn.Module, "; such as PyroModule")
        self.model, self.guide = model, guide
        # In tuples, since these are submodules of the two programs already.
        self._likelihood, self._networks = (likelihood,), tuple(networks)
        own = set(guide.modules())
        likelihood.attach(guide, [part for part in self._networks if part in own])
        if isinstance(attributes, str):
            raise TypeError(f"attributes must be a list of names, got {attributes!r}")
        self.attributes = tuple(attributes)

    @property
    def likelihood(self) -> Likelihood:
        """p(x given h), which also maps images to observations."""
        return self._likelihood[0]

    def preprocess(self, image: str | Path | Image) -> Tensor:
        """Reads a path or a Pillow image, prepares it as for training, and returns `(C, H, W)`.

        If `data` is an `ArrayData` or a `TorchDataset`, the image may also be an array or a tensor
        of raw values, such as 16 bits: black and white are those of training.
        `torch.stack([vae.preprocess(image) for image in images])` prepares several.

        Raises:
            InputError: if the image cannot be read.
            ValueError: if the attribute `data` is not set; `load` sets it.
        """
        if self.data is None:
            raise ValueError(
                "only programs loaded from a run have a data set that prepares images: set their "
                "attribute `data`, or call data.preprocess"
            )
        return torch.tensor(self.data.preprocess(image))  # A copy: arrays may be read-only.

    def parts(self) -> Parts | None:
        """The parts of programs with one latent vector; None for other programs."""
        return None

    def linear_parts(self) -> Parts | None:
        """The parts that `ProbabilisticPCA` sets to a linear model; None if it cannot."""
        return self.parts()

    def latent_prior(self) -> TorchDistribution:
        """p(z) of programs with one latent vector.

        Raises:
            InputError: if the programs have other latent sites.
        """
        raise InputError(self._several_latents())

    def encode(self, x: Tensor) -> TorchDistribution:
        """q(z | x) of programs with one latent vector, for observations `(*, C, H, W)`.

        Raises:
            InputError: if the programs have other latent sites.
        """
        raise InputError(self._several_latents())

    def show(self, z: Tensor) -> Tensor:
        """Images of latent vectors `(*, D)`: floats in [0, 1], `(*, C, H, W)`.

        Raises:
            InputError: if the programs have other latent sites.
        """
        raise InputError(self._several_latents())

    def _several_latents(self) -> str:
        return (
            f"{type(self).__name__} has no encode, decode and prior of one latent vector, as VAE "
            "has: use Predictive(vae.model, guide=vae.guide, num_samples=N)(x, "
            "**vae.inputs(attributes)), `pyrovae inspect RUN`, or `pyrovae explore RUN`"
        )

    def misfit(self, x: Tensor) -> str:
        """Describes which part does not fit observations `(B, C, H, W)`; "" if unknown."""
        return ""

    def named(self, parts: Iterable[str]) -> list[nn.Module]:
        """The parts of these names that have parameters, to freeze them.

        Raises:
            InputError: if there is no such part.
        """
        known = self.trained_parts()
        for name in parts:
            if name not in known:
                raise InputError(
                    f"--freeze: no part {name} with weights; parts are {listed(known)}"
                )
        return [known[name] for name in parts]

    def trained_parts(self) -> dict[str, nn.Module]:
        """The parts of both programs that have parameters, by name."""
        return {
            name: part
            for program in (self.model, self.guide)
            for name, part in program.named_children()
            if any(True for _ in part.parameters())
        }

    def networks(self) -> list[nn.Module]:
        """The modules that can compute in a lower precision."""
        return list(self._networks)

    def inputs(self, attributes: Tensor | None) -> dict[str, Tensor]:
        """Keyword arguments of the programs besides images, from attributes `(B, A)`."""
        if not self.attributes:
            return {}
        if attributes is None or attributes.shape[-1:] != (len(self.attributes),):
            named = f"(N, {len(self.attributes)}) of {', '.join(self.attributes)}"
            got = "" if attributes is None else f", got {tuple(attributes.shape)}"
            raise ValueError(f"the programs need attributes, a tensor {named}{got}")
        return {"attributes": attributes.to(next(self.parameters()).device)}

    def check_inputs(self, split: Split) -> None:
        """Raises `InputError` if no new run can train on a split; takes any by default.

        Runs of earlier versions resume: they may have trained on splits that are refused now.
        """

    def learn_inputs(self, split: Split) -> None:
        """Receives the training split before the first step; ignores it by default."""

    def training_rows(self, split: Split) -> tuple[Split, np.ndarray | None]:
        """The split that steps train on, and the row numbers of one epoch (None: each row once).

        Programs with `optional` attributes hide values here: -1 means unknown.
        """
        return split, None

    def check_objective(self, objective: Any) -> None:
        """Raises `InputError` if the programs cannot train with an ELBO; takes any by default."""

    def given(self, attributes: Given) -> Tensor | None:
        """Attributes `(*, A)` that a user gives, as a tensor of the programs' dtype and device.

        Raises:
            InputError: see `check_given`.
            ValueError: if they are no numbers, or the programs take none.
        """
        if attributes is None:
            return None
        values = attributes if isinstance(attributes, Tensor) else np.asarray(attributes, float)
        values = torch.as_tensor(values).to(self._like())
        if values.numel() and not (self.attributes or self.optional):
            raise ValueError("attributes are given, and the programs take none")
        if values.shape[-1:] == (len(self.attributes),):  # `inputs` refuses other shapes.
            for name, column in zip(self.attributes, values.unbind(-1), strict=True):
                for value in column.unique().tolist():
                    self.check_given(name, value)
        return values

    def classes_of(self, name: str) -> int:
        """The number of classes of an attribute that is a label 0, 1, ...; 0 for a number."""
        return 0

    def usual_value(self, name: str) -> float:
        """A value of an attribute that is near those of the training images; 0 by default."""
        return 0.0

    def check_given(self, name: str, value: float) -> None:
        """Raises `InputError` if an attribute cannot have a value; takes any by default."""

    def far_from_data(self, name: str, value: float) -> str:
        """How far a value of an attribute is from those of the training images; "" if near."""
        return ""

    def class_probabilities(self, x: Tensor) -> dict[str, Tensor]:
        """q(class | x) by attribute, `(B, K)` each, for observations `(B, C, H, W)`.

        Validation and evaluation compare them with the attributes. None by default.
        """
        return {}

    def determined(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The latent sites whose values follow from inputs, for draws; none by default."""
        return {}

    def observe(self, images: Tensor) -> Tensor:
        """Maps 8-bit images `(*, C, H, W)` to observations, in the support of the likelihood.

        The result has the dtype and device of the programs.

        Raises:
            ValueError: if the images are not a uint8 tensor. Floats in [0, 1], as `sample`
                returns them, would count as almost black.
        """
        check_grey_values(images)
        return self.observe_greys(images)

    def scored(self, images: Tensor) -> Tensor:
        """Maps 8-bit images `(*, C, H, W)` to the observations that training and evaluation score.

        For a density on [0, 1] this is `(k + u) / 256` for grey values k and uniform noise u. The
        generator of the programs' device draws u per call. At exact levels k / 255 a density can
        grow without bound. The expected log density of `(k + u) / 256` is a lower bound of the log
        probability of the 8-bit images, up to a constant. All other likelihoods score the result
        of `observe`.

        The guide encodes the same observation, since the ELBO is a bound only for the observation
        that was encoded. `observe` adds no dequantisation noise. Its result differs from the
        scored observation by one grey level at most.

        Raises:
            ValueError: if the images are not a uint8 tensor.
        """
        check_grey_values(images)
        return self.scored_greys(images)

    def scored_greys(self, greys: Tensor) -> Tensor:
        """Like `scored`, for grey values on [0, 255] of any dtype."""
        like = self._like()
        return self.likelihood.scored(greys.to(like.device)).to(like.dtype)

    def observe_greys(self, greys: Tensor) -> Tensor:
        """Like `observe`, for grey values on [0, 255] of any dtype, such as dequantised ones."""
        like = self._like()
        return self.likelihood.observe(greys.to(like.device)).to(like.dtype)

    def _like(self) -> Tensor:
        """A tensor with the dtype and device of the programs."""
        return next((p for p in self.parameters() if p.is_floating_point()), torch.zeros(()))

    def observed(self, x: Tensor) -> Tensor:
        """Returns observations unchanged, and maps uint8 images to observations.

        Raises:
            ValueError: if the images have another shape than those of `data`, or floats are far
                outside the range of observations, such as grey values.
        """
        x = torch.tensor(x) if isinstance(x, np.ndarray) else x
        given = isinstance(x, Tensor) and x.is_floating_point()
        x = x.to(self._like()) if given else self.observe(x)
        if self.data is not None and tuple(x.shape[-3:]) != self.data.image_shape:
            allowed = f"(*, {', '.join(map(str, self.data.image_shape))})"
            raise ValueError(f"images of shape {tuple(x.shape)}: allowed is {allowed}")
        if given and not torch.compiler.is_compiling():
            check_range(x, self.observe)
        return x

    @torch.no_grad()
    def sample(self, num_images: int, attributes: Given = None, *, noise: bool = False) -> Tensor:
        """Images drawn from the model: floats in [0, 1], `(N, C, H, W)`.

        Networks are in evaluation mode for the call.

        Args:
            num_images: N.
            attributes: those of the images, `(N, A)`, for programs that take attributes.
            noise: whether to draw pixels from the likelihood, which shows the texture that it
                models; by default pixels are the likelihood's mean.

        Raises:
            ValueError: if there is no image to draw, or the programs need attributes.
        """
        if not isinstance(num_images, Integral) or num_images < 1:
            raise ValueError(f"num_images must be an integer of at least 1, got {num_images}")
        # Conditioning on a dummy value skips the draw of x.
        with own_store(self), evaluation_mode(self):
            inputs = self.inputs(self.given(attributes))
            known = {"x": torch.zeros(()), **self.determined(inputs)}
            unseen = poutine.condition(self.model, data=known)
            trace = poutine.trace(unseen).get_trace(num_images=num_images, **inputs)
            shown = self.likelihood.drawn if noise else self.likelihood.to_images
            return shown(trace.nodes["x"]["fn"])

    @torch.no_grad()
    def reconstruct(
        self, x: Tensor, attributes: Given = None, edited: Given = None, sites: Sequence[str] = ()
    ) -> Tensor:
        """Images decoded from one draw of the guide: floats in [0, 1], of the shape of `x`.

        Networks are in evaluation mode for the call.

        Args:
            x: images `(*, C, H, W)`, uint8 or observations.
            attributes: those of the images, for programs that take attributes.
            edited: the attributes of the decoded images; by default those of the images.
            sites: the latent sites that the guide draws, such as the upper layers of a ladder; the
                model draws the others. By default the guide draws all.

        Raises:
            InputError: if the guide has no such site.
        """
        flat = self.observed(x).reshape(-1, *x.shape[-3:])
        inputs = self.inputs(self.given(attributes))
        changed = inputs if edited is None else self.inputs(self.given(edited))
        with own_store(self), evaluation_mode(self):
            guide = only(poutine.trace(self.guide).get_trace(flat, **inputs), sites)
            known = poutine.condition(self.model, data=self.determined(changed))
            replayed = poutine.replay(known, trace=guide)
            trace = poutine.trace(replayed).get_trace(flat, **changed)
            return self.likelihood.to_images(trace.nodes["x"]["fn"]).reshape(x.shape)
