"""Plain values: YAML, JSON without NaN and Infinity, and options by their names."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML was built without libyaml.
    from yaml import SafeLoader as _Loader

__all__ = ["differing", "flat", "from_yaml", "spelled", "to_json"]


def to_json(value: Any, indent: int | None = None) -> str:
    """Returns plain values as JSON, with null in place of numbers that are not finite.

    Example:
        >>> to_json({"elbo": float("-inf"), "images": [1, 2.5]})
        '{"elbo": null, "images": [1, 2.5]}'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The values of nested options by their names on the command line.

    Example:
        >>> prior = {"class_path": "pyrovae.StandardNormal", "init_args": {"latent_dim": 32}}
        >>> flat({"prior": prior, "trainer": {"epochs": 10}})
        {'prior': 'pyrovae.StandardNormal', 'prior.latent_dim': 32, 'trainer.epochs': 10}
    """
    return dict(_walk(options, ""))


def differing(options: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """The flat options that differ between runs, with their value in each run as text.

    Args:
        options: the flat options of each run by its name.

    Returns:
        For each option its value by run, empty where the run does not have it.

    Example:
        >>> differing({"a": {"prior": "Flow", "epochs": 4}, "b": {"epochs": 4}})
        {'prior': {'a': 'Flow', 'b': ''}}
    """
    names = dict.fromkeys(option for own in options.values() for option in own)
    texts = {
        option: {
            run: spelled(own[option]) if option in own else "" for run, own in options.items()
        }
        for option in names
    }
    return {option: found for option, found in texts.items() if len({*found.values()}) > 1}


def spelled(value: Any) -> str:
    """A plain value as the command line and `config.yaml` spell it.

    Example:
        >>> spelled(None), spelled(False), spelled("FlowPrior"), spelled(1e-3), spelled([4, 8])
        ('null', 'false', 'FlowPrior', '0.001', '[4, 8]')
    """
    if isinstance(value, str):
        return value
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("...").strip()


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and (value or not path):
        for key, inner in value.items():
            if key == "init_args" and not inner:
                continue  # It would hide the class.
            name = str(key) if key not in ("class_path", "init_args") else ""
            yield from _walk(inner, f"{path}.{name}" if path and name else path or name)
    else:
        yield path, value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_yaml(text: str) -> Any:
    """The plain values of a YAML text of this package, by the parser in C if there is one.

    Args:
        text: the text.

    Raises:
        yaml.YAMLError: if it is not valid YAML, or holds other than plain values.
    """
    return yaml.load(text, _Loader)
