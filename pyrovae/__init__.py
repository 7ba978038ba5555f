"""Variational autoencoders written as Pyro programs.

The decoder is part of a Pyro model, the encoder is part of a Pyro guide, and Pyro's SVI trains
both. Prior, likelihood, posterior, networks and objective are separate parts that you swap by
naming another class.
"""

# ruff: noqa: F403
from __future__ import annotations

import importlib
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pyrovae.utils.version import __version__ as __version__

if TYPE_CHECKING:
    from pyrovae import distributions as distributions
    from pyrovae.commands.runs import *
    from pyrovae.commands.saving import *
    from pyrovae.config.loading import *
    from pyrovae.data import *
    from pyrovae.engine import *
    from pyrovae.likelihoods import *
    from pyrovae.networks import *
    from pyrovae.objectives import *
    from pyrovae.posterior.elbo import *
    from pyrovae.posteriors import *
    from pyrovae.priors import *
    from pyrovae.programs import *
    from pyrovae.runs.directory import *
    from pyrovae.training.initialization import *
    from pyrovae.training.optimizer import *
    from pyrovae.training.svi import *
    from pyrovae.training.trainer import *
    from pyrovae.utils.errors import *

#: The modules above: importing them takes seconds, so they wait until one of their names is used.
_HOMES = (
    "commands.runs commands.saving config.loading data engine likelihoods networks "
    "objectives posterior.elbo posteriors priors programs runs.directory training.initialization "
    "training.optimizer training.svi training.trainer utils.errors"
).split()
#: The functions that a star import brings.
_FUNCTIONS = (
    "compare_runs evaluate evaluate_run export_run inspect_run list_runs load save share_run "
    "with_prior"
).split()
_PACKAGES = ["distributions", "likelihoods", "networks", "objectives", "posteriors", "priors"]


@cache
def _names() -> dict[str, dict[str, Any]]:
    """The public names of these modules, by module."""
    found: dict[str, dict[str, Any]] = {}
    for home in _HOMES:
        module = importlib.import_module(f"{__name__}.{home}")
        for name in module.__all__:
            value = getattr(module, name)
            if all(value is not other for other in found.get(name, {}).values()):
                found.setdefault(name, {})[f"{home}.{name}"] = value
    return found


def _starred() -> list[str]:
    """The classes and functions that a star import brings: SVI would hide Pyro's own."""
    single = {name: next(iter(o.values())) for name, o in _names().items() if len(o) == 1}
    made = [name for name, value in single.items() if isinstance(value, type)]
    return sorted([*(set(made) - {"SVI"}), *_PACKAGES, *_FUNCTIONS])


def _found(name: str) -> Any:
    """The object behind a name of the package: a module in it, or a name of these modules."""
    if name == "__all__":
        return _starred()
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec(f"{__name__}.{name}") is not None:
        return importlib.import_module(f"{__name__}.{name}")
    homes = _names().get(name, {})
    if len(homes) == 1:
        return next(iter(homes.values()))
    reason = (
        f"is one of {', '.join(homes)}: name the package" if homes else "no such name in pyrovae"
    )
    raise AttributeError(f"{__name__}.{name}: {reason}")


if not TYPE_CHECKING:  # A type checker would take any name, also a misspelt one.

    def __getattr__(name: str) -> Any:
        globals()[name] = found = _found(name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_starred(), *_names()})
