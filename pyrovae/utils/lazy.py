"""Names of modules that are slow to import: each is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["Axes", "Figure", "pandas"]


class _Lazy:
    """A module, or a class in it, that is imported when it is first used."""

    def __init__(self, module: str, name: str = "") -> None:
        self._module, self._name = module, name

    def _found(self) -> Any:
        module = importlib.import_module(self._module)
        return getattr(module, self._name) if self._name else module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._found()(*args, **kwargs)


if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:
    pandas = _Lazy("pandas")
    Axes, Figure = _Lazy("matplotlib.axes", "Axes"), _Lazy("matplotlib.figure", "Figure")
