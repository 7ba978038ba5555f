"""Training and evaluation mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluation_mode", "frozen", "training_mode"]


@contextmanager
def frozen(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Context in which the parameters of modules require no gradient.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> with frozen([layer]):
        ...     layer.weight.requires_grad
        False
        >>> layer.weight.requires_grad
        True
    """
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    try:
        for p in trained:
            p.requires_grad_(False)
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Puts a module into evaluation mode, and restores the mode of each submodule afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def training_mode(module: nn.Module) -> None:
    """Puts a module into training mode, except for frozen submodules.

    A submodule is frozen if it or its submodules have parameters, and none of them
    requires a gradient. Frozen parts are in evaluation mode: batch normalisation would otherwise
    change its statistics, and dropout would add noise to what no step can adapt. Parts without
    parameters are in the mode of the part that holds them.

    Args:
        module: the module; nothing is changed but the modes.

    Example:
        >>> frozen = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout())
        >>> _ = frozen.requires_grad_(False)
        >>> whole = nn.Sequential(frozen, nn.Linear(2, 2), nn.Dropout())
        >>> training_mode(whole)
        >>> [part.training for part in whole], frozen[2].training
        ([False, True, True], False)
    """
    module.train()
    for part in module.modules():
        # Once a part is frozen, so are its parts: those without parameters follow it.
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            part.eval()
