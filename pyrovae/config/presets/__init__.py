"""Presets: YAML files of options, named by `--config NAME`."""

from __future__ import annotations

from pathlib import Path

from pyrovae.utils.errors import InputError
from pyrovae.utils.text import closest

__all__ = ["preset_names", "preset_path"]

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """The names of the presets.

    Example:
        >>> preset_names()[:2]
        ['celeba', 'celeba_autoregressive']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """The path of a preset, or of a YAML file.

    Args:
        name: the name of a preset, or a path.

    Raises:
        InputError: if there is no such preset and no such file.
    """
    if name in preset_names():
        return _FOLDER / f"{name}.yaml"
    if not Path(name).is_file():
        known = ", ".join(preset_names())
        hint = closest(name, preset_names())
        raise InputError(f"--config {name}: no such preset or file{hint}; presets are {known}")
    return Path(name)
