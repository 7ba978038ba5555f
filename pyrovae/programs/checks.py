"""Checks that the parts fit each other and the data, by one run of the programs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrovae.runs.own_code import place_in_own_code
from pyrovae.utils.errors import InputError
from pyrovae.utils.randomness import private_randomness
from pyrovae.utils.sites import latent_sites, observed_sites, sample_sites

if TYPE_CHECKING:
    from pyrovae.likelihoods import Likelihood
    from pyrovae.programs.pair import ModelGuidePair, Parts

__all__ = ["check_all_train", "misfit", "run_once"]

#: The errors of a part that does not fit its input.
MISFITS = (ValueError, RuntimeError, NotImplementedError, TypeError, AttributeError)
#: The warning of Pyro's TraceMeanField_ELBO where its KL would be another quantity than the rate.
MEAN_FIELD = "Failed to verify mean field restriction"
WRONG_ORDER = (
    "--objective: TraceMeanField_ELBO needs a guide that draws the latent sites in the order of "
    "the model: change the order, or use Trace_ELBO"
)


def run_once(
    vae: ModelGuidePair, loss: Callable[..., Any], images: Tensor, inputs: dict[str, Tensor]
) -> None:
    """Runs the programs once with Pyro's validation, then restores their buffers.

    Args:
        vae: the pair of programs.
        loss: computes the loss of the programs, such as `SVI.evaluate_loss`.
        images: uint8 `(B, C, H, W)`, on the device.
        inputs: other inputs of the programs.

    Raises:
        InputError: if the parts do not fit each other or the images.
    """
    buffers = [buffer.clone() for buffer in vae.buffers()]
    with private_randomness(0, images.device):
        x = vae.scored(images)
    try:
        with private_randomness(0, images.device), pyro.validation_enabled(True):
            with warnings.catch_warnings():
                warnings.filterwarnings("error", MEAN_FIELD)
                loss(x, **inputs)
            wrong = _wrong_site(vae, x, inputs)
    except UserWarning as warning:
        if not str(warning).startswith(MEAN_FIELD):
            raise
        raise InputError(WRONG_ORDER) from None
    except MISFITS as error:
        reason = (vae.misfit(x) or _line(error)) + place_in_own_code(error)
        raise InputError(f"the parts and the data do not fit together: {reason}") from error
    for buffer, value in zip(vae.buffers(), buffers, strict=True):
        buffer.copy_(value)
    if wrong:
        raise InputError(wrong)


@torch.no_grad()
def _wrong_site(vae: ModelGuidePair, x: Tensor, inputs: dict[str, Tensor]) -> str:
    """Describes a site that Pyro accepts although it computes something else; "" if none does."""
    guide = poutine.trace(vae.guide).get_trace(x, **inputs)
    model = poutine.trace(poutine.replay(vae.model, trace=guide)).get_trace(x, **inputs)
    found = (
        _shared(guide, len(x)),
        _plates(guide, model, len(x)),
        _unknown(guide, model),
        _masked(guide, model),
        _size(model, x),
    )
    return next(chain(*found), "")


def _shared(guide: Any, count: int) -> Iterator[str]:
    for name in latent_sites(guide):
        if guide.nodes[name]["fn"].batch_shape[-1:] != (count,):
            yield (
                f"the latent site {name} has one value for all images; each latent site must lie "
                "in the plate of the images; use a parameter for a value that images share"
            )


def _plates(guide: Any, model: Any, count: int) -> Iterator[str]:
    for trace in (guide, model):
        for name in sample_sites(trace):
            shape = tuple(trace.nodes[name]["fn"].batch_shape)
            if math.prod(shape[:-1]) != 1:
                yield (
                    f"the site {name} has the batch shape {shape}, must be {(count,)}: only the "
                    "plate of the images is allowed; make other dimensions part of the event, as "
                    "in fn.to_event(1)"
                )


def _unknown(guide: Any, model: Any) -> Iterator[str]:
    for name in latent_sites(guide):
        if name not in model:
            known = ", ".join(latent_sites(model)) or "none"
            yield (
                f"the guide draws {name}, which is not a site of the model; the model's latent "
                f"sites are {known}, and auxiliary sites are not allowed"
            )


def _masked(guide: Any, model: Any) -> Iterator[str]:
    """Scores use the distributions of the sites, without messengers around them."""
    for trace in (guide, model):
        for name in sample_sites(trace):
            mask = trace.nodes[name]["mask"]
            if mask is not None and mask is not True:
                yield (
                    f"the site {name} lies within poutine.mask or has an obs_mask, which the "
                    "scores would ignore; mask its distribution, as in fn.mask(m), or use "
                    "--likelihood Masked for missing pixels"
                )


def _size(model: Any, x: Tensor) -> Iterator[str]:
    for name in observed_sites(model):
        site = model.nodes[name]
        found = site["fn"].event_shape
        # Densities would repeat a missing channel. Other observed sites have other shapes.
        if site["value"] is x and found != x.shape[1:]:
            wrong, right = ("x".join(map(str, shape)) for shape in (found, x.shape[1:]))
            yield (
                f"the parts and the data do not fit together: the site {name} is {wrong}, and the "
                f"images are {right}"
            )


def check_all_train(vae: ModelGuidePair, known: Iterable[Tensor]) -> None:
    """Raises `InputError` unless the optimiser trains exactly the parameters of the programs.

    Args:
        vae: the pair of programs.
        known: the parameters of the optimiser, in Pyro's parameter store.
    """
    known, own = set(known), set(vae.parameters())
    if strange := sorted(pyro.get_param_store().param_name(p) for p in known - own):
        raise InputError(
            f"{strange[0]}: this parameter is not an attribute of model or guide, so a checkpoint "
            "would not store it; make it an attribute, as in self.bias = PyroParam(value), or "
            "self.net = module"
        )
    trained = {name: p for name, p in vae.named_parameters() if p.requires_grad}
    missed = [name for name, p in trained.items() if p not in known]
    if not missed:
        return
    program, _, name = missed[0].partition(".")
    more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
    if program in ("model", "guide") and {f"model.{name}", f"guide.{name}"} <= trained.keys():
        raise InputError(
            f"model and guide both have a parameter {name}{more}, but names in Pyro's parameter "
            f"store must be unique: rename {name.split('.')[0]} in one of them, or name the "
            'programs, with super().__init__("model") and super().__init__("guide")'
        )
    raise InputError(
        f"{missed[0]}{more}: neither program uses this parameter, so it would never be trained; "
        "use it, remove it, or freeze it with requires_grad_(False)"
    )


@torch.no_grad()
def misfit(x: Tensor, parts: Parts, likelihood: Likelihood) -> str:
    """Describes the first part whose output does not fit the next one; "" if there is none.

    Args:
        x: observations `(B, C, H, W)`.
        parts: the other parts, in order.
        likelihood: p(x given maps).
    """
    count, (channels, *size), dim = len(x), x.shape[1:], parts.prior.latent_dim
    z, maps = torch.zeros(count, dim).to(x), likelihood.num_maps(channels)
    h, maps_of_z = torch.zeros(count, parts.posterior.num_params).to(x), (count, maps, *size)
    latents = ((count,), (dim,))
    stages: list[tuple[str, nn.Module, tuple[Tensor, ...], Any]] = [
        ("encoder", parts.encoder, (x,), tuple(h.shape)),
        ("posterior", parts.posterior, (h,), latents),
        ("prior", parts.prior, (), ((), (dim,))),
        ("decoder", parts.decoder, (z,), maps_of_z),
        ("likelihood", likelihood, (torch.zeros(maps_of_z).to(x),), ((count,), (channels, *size))),
    ]
    for name, part, given, expected in stages:
        if problem := _wrong(part, given, expected):
            return f"{name} ({type(part).__name__}) {problem}"
    return ""


def _wrong(part: Callable[..., Any], given: tuple[Tensor, ...], expected: Any) -> str:
    """Describes what is wrong with the output of a part; "" if nothing is."""
    shapes = ", ".join(str(tuple(value.shape)) for value in given)
    try:
        found = part(*given)
    except MISFITS as error:
        return f"fails on {shapes}: {_line(error)}"
    if isinstance(found, Tensor):
        got = tuple(found.shape)
        return "" if got == expected else f"returns {got} for {shapes}, must return {expected}"
    if not isinstance(found, Distribution):
        kind = type(found).__name__
        return f"returns a {kind} for {shapes}, must return one tensor or distribution: {expected}"
    shape = (tuple(found.batch_shape), tuple(found.event_shape))
    of = f" for {shapes}" if shapes else ""
    if shape == expected:
        return ""
    return (
        f"returns a distribution of batch and event shape {shape}{of}, must be {expected} "
        "(see to_event)"
    )


def _line(error: Exception) -> str:
    # Pyro appends the shapes of all sites and parameters.
    return shorten(str(error).partition("Trace Shapes:")[0], 200, placeholder=" ...")
