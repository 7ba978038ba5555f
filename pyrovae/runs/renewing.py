"""Renames the parts and arguments of older versions in a configuration."""

from __future__ import annotations

from typing import Any

__all__ = ["renewed"]

#: The old names of loggers. Others that were loggers are callbacks now.
LOGGERS = {"MetricsFile": "CSVLogger", "TensorBoard": "TensorBoardLogger"}
CALLBACKS = ("Console", "Pictures", "PosteriorMonitor")
#: Options and arguments that name a schedule.
SCHEDULES = ("schedule", "then")


def renewed(content: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the current names and options of its parts.

    Example:
        >>> renewed({"loggers": ["Console", "PosteriorMonitor", "MetricsFile"]})
        {'loggers': ['CSVLogger'], 'callbacks': ['Console', 'PosteriorMonitor']}
        >>> renewed({"schedule": "CosineWarmup"})
        {'schedule': {'class_path': 'Warmup', 'init_args': {'smooth': True}}}
    """
    content = {option: _renewed_part(option, value) for option, value in content.items()}
    listed = content.get("loggers")
    if not isinstance(listed, list) or not any(
        _name(entry) in (*LOGGERS, *CALLBACKS) for entry in listed
    ):
        return content
    loggers = [_renamed(entry) for entry in listed if _name(entry) not in CALLBACKS]
    callbacks = [_renamed(entry) for entry in listed if _name(entry) in CALLBACKS]
    return content | {"loggers": loggers, "callbacks": callbacks}


def _renewed_part(option: str, value: Any) -> Any:
    """The value of an option with the current names and arguments of its parts, at any depth."""
    if isinstance(value, dict):
        value = {name: _renewed_part(name, own) for name, own in value.items()}
    elif option not in SCHEDULES:
        return value
    package, dot, name = _path(value).rpartition(".")
    if package.split(".")[0] not in ("", "pyrovae"):
        return value
    stated = value if isinstance(value, dict) else {}
    arguments = stated.get("init_args") or {}
    if not isinstance(arguments, dict):  # The check of the configuration names it.
        return value
    if name == "CosineWarmup":
        name, arguments = "Warmup", arguments | {"smooth": True}
    elif name == "ProbabilisticPCA" and "otherwise" in arguments:
        arguments["fallback"] = arguments.pop("otherwise")
    else:
        return value
    return stated | {"class_path": f"{package}{dot}{name}", "init_args": arguments}


def _path(entry: Any) -> str:
    return str(entry.get("class_path", "") if isinstance(entry, dict) else entry)


def _name(entry: Any) -> str:
    """The class name of a part of pyrovae, else an empty text."""
    package, _, name = _path(entry).rpartition(".")
    return name if package in ("", "pyrovae.training.loggers", "pyrovae.inspection") else ""


def _renamed(entry: Any) -> Any:
    package, dot, name = _path(entry).rpartition(".")
    if name in ("Console", "Pictures"):
        package = package.replace("loggers", "callbacks")
    path = f"{package}{dot}{LOGGERS.get(name, name)}" if _name(entry) else _path(entry)
    return entry | {"class_path": path} if isinstance(entry, dict) else path
