"""JSON without NaN and Infinity, which some readers reject."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["to_json"]


def to_json(value: Any, indent: int | None = None) -> str:
    """Returns plain values as JSON, with null in place of numbers that are not finite.

    Example:
        >>> to_json({"elbo": float("-inf"), "images": [1, 2.5]})
        '{"elbo": null, "images": [1, 2.5]}'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
