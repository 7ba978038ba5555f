"""The table of roles: what can be swapped, by which class, and which is the default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from pyro.infer import ELBO

from pyrovae.data import ImageData
from pyrovae.inspection.monitor import PosteriorMonitor
from pyrovae.likelihoods import Binarization, Likelihood
from pyrovae.networks import Decoder, Encoder
from pyrovae.objectives import Corruption, Schedule
from pyrovae.posteriors import Posterior
from pyrovae.priors import Flow, Prior
from pyrovae.programs import ModelGuidePair
from pyrovae.programs.links import LINKS, Link
from pyrovae.training.initialization import Start
from pyrovae.training.loggers import Logger

__all__ = ["ALSO", "BASES", "LINKED", "LISTS", "PARTS", "ROLES", "TABLE", "TRAINING", "Role"]


@dataclass(frozen=True)
class Role:
    """What an option names.

    Attributes:
        name: the option, such as "prior"; "prior.flow" is an argument of a prior.
        base: the abstract class of what it names.
        default: the class path of the default; empty for an argument of a part.
        links: the arguments that follow from other parts.
        summary: what the help says of it, where that is not the first line of the docstring.
        also: more options that name a part of this role.
        opened: whether a run cannot be opened without it.
        many: the class paths of the default, where the option names a list.
    """

    name: str
    base: type
    default: str = ""
    links: Mapping[str, Link] = field(default_factory=dict)
    summary: str = ""
    also: tuple[str, ...] = ()
    opened: bool = False
    many: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """One line on what it is."""
        return self.summary or (self.base.__doc__ or "").strip().split("\n")[0]


def _part(name: str, base: type, default: str) -> Role:
    return Role(name, base, f"pyrovae.{default}", LINKS.get(name, {}), opened=True)


_LOGGERS = ("Console", "MetricsFile", "Pictures", "TensorBoard")
#: The monitor measures what the others write, and stands before those that do.
_USUAL = tuple(f"pyrovae.training.loggers.{name}" for name in _LOGGERS)
_WATCHED = (_USUAL[0], f"pyrovae.inspection.{PosteriorMonitor.__name__}", *_USUAL[1:])

#: All roles, in the order of the help.
TABLE = (
    _part("data", ImageData, "SyntheticFaces"),
    _part("prior", Prior, "StandardNormal"),
    Role("prior.flow", Flow),
    _part("likelihood", Likelihood, "SharedScaleNormal"),
    Role("likelihood.binarization", Binarization),
    _part("posterior", Posterior, "DiagonalNormal"),
    _part("encoder", Encoder, "ConvEncoder"),
    _part("decoder", Decoder, "ConvDecoder"),
    _part("program", ModelGuidePair, "VAE"),
    Role(
        "schedule",
        Schedule,
        "pyrovae.Constant",
        also=("objective.schedule", "beta.schedule", "schedule.then"),
    ),
    Role(
        "objective",
        ELBO,
        "pyro.infer.Trace_ELBO",
        summary="What is minimised: an ELBO of Pyro's, or one from here.",
        also=("objective.bound",),
    ),
    Role("objective.corruption", Corruption),
    Role("start", Start, "pyrovae.RandomStart", also=("start.otherwise",)),
    Role("loggers", Logger, many=_WATCHED),
)

#: The abstract class of each role.
ROLES: dict[str, type] = {role.name: role.base for role in TABLE}
#: Options that name a part of a role above.
ALSO = {option: role.name for role in TABLE for option in role.also}
#: The roles that a run is opened with, those that only training needs, and those that are lists.
PARTS = {role.name: role for role in TABLE if role.opened}
TRAINING = {role.name: role for role in TABLE if role.default and not role.opened}
LISTS = {role.name: role for role in TABLE if role.many}
#: What follows from other parts: role, argument, the option to set in its place.
LINKED = {
    name: {argument: link.option for argument, link in links.items()}
    for name, links in LINKS.items()
}
#: What each option of a configuration must name a class of.
BASES: dict[str, type] = {name: ROLES[name] for name in (*PARTS, *TRAINING, *LISTS)} | {
    "optimizer": torch.optim.Optimizer
}
