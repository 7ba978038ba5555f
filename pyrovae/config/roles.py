"""The table of roles: the options that name a part, with base class and default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from pyro.infer import ELBO

from pyrovae.data import Augmentation, ImageData
from pyrovae.inspection.monitor import PosteriorMonitor
from pyrovae.likelihoods import Binarization, Likelihood
from pyrovae.networks import Decoder, Encoder
from pyrovae.networks.blocks import Block
from pyrovae.objectives import Corruption, Schedule
from pyrovae.posteriors import Posterior
from pyrovae.priors import Flow, Prior
from pyrovae.programs import ModelGuidePair
from pyrovae.programs.links import LINKS, Link
from pyrovae.training.callbacks import Callback
from pyrovae.training.initialization import Start
from pyrovae.training.loggers import Logger

__all__ = [
    "ALSO",
    "BASES",
    "LINKED",
    "LISTS",
    "NESTED",
    "PARTS",
    "ROLES",
    "TABLE",
    "TRAINING",
    "Role",
]


@dataclass(frozen=True)
class Role:
    """An option that names a part.

    Attributes:
        name: the option, such as "prior"; "prior.flow" is an argument of a prior.
        base: the abstract class of the role's parts.
        default: the class path of the default; empty for an argument of a part.
        links: the arguments that other parts determine.
        summary: the text in the help; by default the first line of the base's docstring.
        also: more options that name a part of this role.
        opened: whether the part is needed to open a run.
        many: the class paths of the default, if the option takes a list.
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
        """One line for the help."""
        return self.summary or (self.base.__doc__ or "").strip().split("\n")[0]


def _part(name: str, base: type, default: str, *also: str) -> Role:
    return Role(name, base, f"pyrovae.{default}", LINKS.get(name, {}), also=also, opened=True)


_MONITOR = f"pyrovae.inspection.{PosteriorMonitor.__name__}"
_LOGGERS = tuple(f"pyrovae.training.loggers.{name}" for name in ("CSVLogger", "TensorBoardLogger"))

#: All roles, in the order of the help.
TABLE = (
    _part("data", ImageData, "SyntheticFaces"),
    Role("data.augment", Augmentation),
    _part("prior", Prior, "StandardNormal"),
    Role("prior.flow", Flow),
    _part("likelihood", Likelihood, "SharedScaleNormal", "likelihood.likelihood"),
    Role("likelihood.binarization", Binarization),
    _part("posterior", Posterior, "DiagonalNormal"),
    _part("encoder", Encoder, "ConvEncoder"),
    _part("decoder", Decoder, "ConvDecoder"),
    _part("program", ModelGuidePair, "VAE"),
    Role("program.block", Block),
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
        summary="Objective to minimise: an ELBO of Pyro or of pyrovae.",
        also=("objective.bound",),
    ),
    Role("objective.corruption", Corruption),
    Role("start", Start, "pyrovae.RandomStart", also=("start.fallback",)),
    Role(
        "callbacks",
        Callback,
        summary="Callbacks of the run: classes whose hooks it calls at each step and epoch.",
        many=(_MONITOR,),
    ),
    Role(
        "loggers",
        Logger,
        summary="Loggers of the run: classes that get the metrics and pictures of each epoch.",
        many=_LOGGERS,
    ),
)

#: The base class of each role.
ROLES: dict[str, type] = {role.name: role.base for role in TABLE}
#: Further options that name a part, with their role.
ALSO = {option: role.name for role in TABLE for option in role.also}
#: The roles needed to open a run, those needed for training only, and those that take a list.
PARTS = {role.name: role for role in TABLE if role.opened}
TRAINING = {role.name: role for role in TABLE if role.default and not role.opened}
LISTS = {role.name: role for role in TABLE if role.many}
#: The arguments that other parts determine: role, argument, the option to set in its place.
LINKED = {
    name: {argument: link.option for argument, link in links.items()}
    for name, links in LINKS.items()
}
#: The same for parts within parts of a role: they get the sizes that its parts get.
NESTED = {option: LINKED[role] for option, role in ALSO.items() if role in LINKED}
#: The base class for each option of a configuration that names a class.
BASES: dict[str, type] = {name: ROLES[name] for name in (*PARTS, *TRAINING, *LISTS)} | {
    "optimizer": torch.optim.Optimizer
}
