"""Pyro's own objectives: which fit programs of images, and what to take in place of the others."""

from __future__ import annotations

from typing import Any

from pyrovae.utils.errors import InputError

__all__ = ["STOCK", "UNFIT", "check_objective", "check_objective_name"]

#: Those that fit: what they are, and when to use them.
STOCK = {
    "Trace_ELBO": (
        "The ELBO, from draws of the latents; Pyro's default.",
        "Use it first: it takes any combination of parts.",
    ),
    "TraceMeanField_ELBO": (
        "The ELBO, with exact divergences where they are known, else from draws; Pyro's.",
        "Use it with Normal priors and posteriors, for less noise.",
    ),
    "TraceGraph_ELBO": (
        "The ELBO, with less noise from sites that cannot be reparameterised; Pyro's.",
        "Use it for guides of your own with discrete sites.",
    ),
    "RenyiELBO": (
        "Bound of Rényi's alpha divergence; with alpha 0 it is that of `IWAE`; Pyro's.",
        "Use it to go from the ELBO (alpha near 1) to the importance-weighted bound.",
    ),
}

#: Those whose loss is minus an ELBO, with the rate weighed by beta.
LINEAR = {*STOCK, "TraceEnum_ELBO", "TraceTMC_ELBO"} - {"RenyiELBO"}

_COMPILED = "keeps beta and the number of images of its first step: take {}"

#: Those that would train something else than they say, each with the reason and a replacement.
UNFIT = {
    "ReweightedWakeSleep": "weighs particles by the batch, not by the image: take DReG or IWAE",
    "TraceTailAdaptive_ELBO": "weighs particles by the batch, not by the image: take DReG or IWAE",
    "Trace_MMD": "compares the particles of a batch, not the images with the prior: take MMD",
    "JitTrace_ELBO": _COMPILED.format("Trace_ELBO"),
    "JitTraceGraph_ELBO": _COMPILED.format("TraceGraph_ELBO"),
    "JitTraceEnum_ELBO": _COMPILED.format("TraceEnum_ELBO"),
    "JitTraceMeanField_ELBO": "compiles anew at every step: take TraceMeanField_ELBO",
}


def innermost(objective: Any) -> Any:
    """The bound itself, of an objective that may be wrapped around one."""
    bound = getattr(objective, "bound", None)
    return objective if bound is None else innermost(bound)


def is_linear(objective: Any) -> bool:
    """Whether an objective of Pyro's is minus an ELBO, with the rate weighed by beta."""
    kind = type(innermost(objective))
    return kind.__module__.startswith("pyro.") and kind.__name__ in LINEAR


def check_objective(objective: Any) -> None:
    """Raises `InputError` if an objective does not fit programs of images."""
    bound = innermost(objective)
    check_objective_name(f"{type(bound).__module__}.{type(bound).__name__}")
    if not isinstance(bound.num_particles, int) or bound.num_particles < 1:
        raise InputError(
            f"--objective.num_particles must be at least 1, got {bound.num_particles}"
        )


def check_objective_name(path: str) -> None:
    """Raises `InputError` if a class of Pyro's, by dotted path, does not fit."""
    name = path.rsplit(".", 1)[-1]
    if not path.startswith("pyrovae.") and name in UNFIT:
        raise InputError(f"--objective: {name} {UNFIT[name]}")
