"""Presets: YAML files of options, named by `--config NAME`."""

from __future__ import annotations

from pathlib import Path

from pyrovae.utils.errors import InputError

__all__ = ["preset_names", "preset_path"]

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """The names of the presets.

    Example:
        >>> preset_names()[:2]
        ['celeba', 'celeba_post']
    """
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """The file of a preset, or a file of the user's own.

    Args:
        name: a preset's name, or a path.

    Raises:
        InputError: if there is neither.
    """
    if name in preset_names():
        return _FOLDER / f"{name}.yaml"
    if not Path(name).is_file():
        known = ", ".join(preset_names())
        raise InputError(f"--config {name}: no such file, and no preset; presets are {known}")
    return Path(name)
