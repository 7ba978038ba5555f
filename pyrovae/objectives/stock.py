"""Pyro's ELBOs: which of them suit batches of images, and replacements for the others."""

from __future__ import annotations

from typing import Any

from pyrovae.utils.errors import InputError

__all__ = ["STOCK", "UNFIT", "check_objective_name", "is_linear"]

#: Suitable ELBOs: what they are, and when to use them.
STOCK = {
    "Trace_ELBO": (
        "Pyro's default ELBO, estimated from draws of the latents.",
        "Use it first: it takes any combination of parts.",
    ),
    "TraceMeanField_ELBO": (
        "Pyro's ELBO with the exact KL where it has a closed form, else with draws.",
        "Use it with Normal priors and posteriors, for gradients with less noise.",
    ),
    "TraceGraph_ELBO": (
        "Pyro's ELBO with less gradient noise from sites without reparameterisation.",
        "Use it for custom guides with discrete sites.",
    ),
    "TraceEnum_ELBO": (
        "Pyro's ELBO, summed over all values of the guide's enumerated discrete sites.",
        "Use it with `SemiSupervisedVAE` and `MixtureVAE`, and with your own discrete sites.",
    ),
    "RenyiELBO": (
        "Pyro's Rényi alpha bound, which equals the bound of `IWAE` for alpha 0.",
        "Use it to interpolate between the ELBO (alpha near 1) and the bound of `IWAE`.",
    ),
}

#: ELBOs whose loss is the distortion plus beta times the rate.
LINEAR = {*STOCK, "TraceTMC_ELBO"} - {"RenyiELBO"}

_COMPILED = "keeps beta and the number of images of its first step; use {}"

#: ELBOs that would not optimise what their name says: the reason and a replacement.
UNFIT = {
    "ReweightedWakeSleep": "weighs particles per batch, not per image; use DReG or IWAE",
    "TraceTailAdaptive_ELBO": "weighs particles per batch, not per image; use DReG or IWAE",
    "Trace_MMD": "compares the particles of a batch, not the images with the prior; use MMD",
    "JitTrace_ELBO": _COMPILED.format("Trace_ELBO"),
    "JitTraceGraph_ELBO": _COMPILED.format("TraceGraph_ELBO"),
    "JitTraceEnum_ELBO": _COMPILED.format("TraceEnum_ELBO"),
    "JitTraceMeanField_ELBO": "compiles again at every step; use TraceMeanField_ELBO",
}


def is_linear(bound: Any) -> bool:
    """Whether the loss of a Pyro ELBO is the distortion plus beta times the rate."""
    kind = type(bound)
    return kind.__module__.startswith("pyro.") and kind.__name__ in LINEAR


def check_objective_name(path: str) -> None:
    """Raises `InputError` if the dotted path names a Pyro ELBO that is not suitable."""
    name = path.rsplit(".", 1)[-1]
    if not path.startswith("pyrovae.") and name in UNFIT:
        raise InputError(f"--objective: {name} {UNFIT[name]}")
