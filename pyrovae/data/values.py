"""The value range of a data set: which stored values become black and white."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pyrovae.utils.errors import InputError
from pyrovae.utils.files import cache_root, replacing

__all__ = ["Level", "ValueRange", "check_levels", "quantiles", "range_of"]

#: The value of `black` or `white`: a number, a quantile of the training split, or the default.
Level = float | Literal["auto"] | None

#: The shares of the training values below `black` and `white` if these are "auto".
AUTO = (0.001, 0.999)
_HINT = "give black and white, as numbers or auto (--data.black auto --data.white auto)"
_ROUNDING = 1e-4  # Resizing may leave [0, 1] by so much.


@dataclass(frozen=True)
class ValueRange:
    """The map from stored values to 256 grey values.

    Without numbers the type decides: uint8 from 0 to 255, floats from 0 to 1.

    Attributes:
        black: the stored value of grey value 0.
        white: the stored value of grey value 255; values outside of the range are clipped.
        nan: the grey value of NaN, which other values do not get; None allows no NaN.

    Example:
        >>> ValueRange(0, 4095).eight_bits(np.array([-5, 0, 2048, 4095])).tolist()
        [0, 0, 128, 255]
        >>> ValueRange(nan=0).eight_bits(np.array([np.nan, 0.0, 0.5])).tolist()
        [0, 1, 128]
    """

    black: float | None = None
    white: float | None = None
    nan: int | None = None

    def eight_bits(self, values: np.ndarray, white: float | None = None) -> np.ndarray:
        """Maps values to uint8.

        Args:
            values: integers, floats or booleans of any shape.
            white: the default of `white` for integers of more than eight bits; None allows none.

        Raises:
            ValueError: if a value is not finite, or outside of the default range.
        """
        if self.black is None and values.dtype == np.uint8:
            return values
        if self.nan is not None and values.dtype.kind == "f":
            return self._with_missing(values)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            what = "NaN" if np.isnan(values).any() else "an infinite value"
            raise ValueError(f"holds {what}; allowed are finite values")
        black, top = (0.0, white) if self.black is None else (self.black, self.white)
        if self.black is None:
            top = 1.0 if values.dtype.kind in "fb" else white
            _check_range(values, top)
        assert top is not None
        scaled = (values.astype(np.float64) - black) * (255 / (top - black))
        return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)

    def _with_missing(self, values: np.ndarray) -> np.ndarray:
        assert self.nan is not None
        missing = np.isnan(values)
        known = np.where(missing, self.black or 0, values)
        grey = replace(self, nan=None).eight_bits(known)
        grey[grey == self.nan] = abs(self.nan - 1)
        grey[missing] = self.nan
        return grey


#: The range that the type of the values decides.
BY_TYPE = ValueRange()


def _check_range(values: np.ndarray, white: float | None) -> None:
    """Raises `ValueError` if values are not in the default range of their type."""
    low, high = float(values.min()), float(values.max())
    margin = _ROUNDING if values.dtype.kind == "f" else 0
    if white is None or low < -margin or high > white + margin:
        allowed = "uint8, and floats from 0 to 1" if white is None else f"0 to {white:g}"
        raise ValueError(
            f"values of {values.dtype} from {low:g} to {high:g}, allowed are {allowed}; {_HINT}"
        )


def check_levels(black: Level, white: Level, nan: int | None = None) -> None:
    """Raises `InputError` unless black is below white or both are None, and `nan` is a level."""
    if nan is not None and nan not in range(256):
        raise InputError(f"nan {nan}: allowed are grey values, 0 to 255")
    if white is None and black is not None:
        raise InputError(f"black {black}: needs white too, a number or auto")
    for name, level in (("black", black), ("white", white)):
        if isinstance(level, str) and level != "auto":
            raise InputError(f"{name} {level!r}: allowed are a number and auto")
    numbers = not isinstance(black, str) and not isinstance(white, str) and white is not None
    if numbers and not (black or 0.0) < white:  # type: ignore[operator]
        raise InputError(f"black {black or 0:g}, white {white:g}: black must be below white")


def range_of(
    black: Level, white: Level, blocks: Callable[[], Iterable[np.ndarray]], memory: Path | None
) -> ValueRange:
    """The range of a data set; reads the training split where a level is "auto".

    Args:
        black: a number or "auto"; None is 0 if there is a `white`.
        white: a number or "auto"; None if the type decides.
        blocks: yields all values of the training split, in pieces; called twice.
        memory: the file that holds the quantiles of these values once they are known.
    """
    if white is None:
        return BY_TYPE
    found = [0.0 if level is None else level for level in (black, white)]
    if "auto" in found:
        known = _remembered(memory) or quantiles(blocks, AUTO)
        if memory is not None:
            with suppress(OSError), replacing(memory) as temporary:
                temporary.write_text(json.dumps(known))
        found = [auto if own == "auto" else own for own, auto in zip(found, known, strict=True)]
    low, high = map(float, found)
    if not low < high:
        raise InputError(f"black {low:g}, white {high:g}: black must be below white")
    return ValueRange(low, high)


def memory_of(key: Sequence[object], cache_dir: str | None) -> Path:
    """The file in the cache for the quantiles of the data that a key describes."""
    digest = hashlib.sha256(json.dumps([AUTO, *key], default=str).encode()).hexdigest()[:16]
    return cache_root(cache_dir) / "ranges" / f"{digest}.json"


def _remembered(memory: Path | None) -> list[float] | None:
    if memory is None:
        return None
    with suppress(OSError, ValueError, TypeError):
        low, high = json.loads(memory.read_text())
        return [float(low), float(high)]
    return None


def quantiles(blocks: Callable[[], Iterable[np.ndarray]], shares: Sequence[float]) -> list[float]:
    """Quantiles of all values, exact in float32, in two passes and in constant memory.

    The first pass counts the upper 16 bits of the values, the second the lower 16 bits of the
    values that share their upper bits with a quantile.

    Args:
        blocks: yields the values in pieces.
        shares: the shares of values below each quantile.

    Raises:
        InputError: if there are no values, or one of them is not finite.

    Example:
        >>> quantiles(lambda: [np.arange(50), np.arange(50, 101)], [0.01, 0.5])
        [1.0, 50.0]
    """
    upper = np.zeros(2**16, np.int64)
    for keys in map(_keys, blocks()):
        upper += np.bincount(keys >> 16, minlength=2**16)
    if not upper.sum():
        raise InputError("auto: there are no values in the training split")
    ranks = [round(share * (int(upper.sum()) - 1)) for share in shares]
    buckets = np.searchsorted(np.cumsum(upper), ranks, side="right")
    lower = {int(bucket): np.zeros(2**16, np.int64) for bucket in buckets}
    for keys in map(_keys, blocks()):
        for bucket, counts in lower.items():
            counts += np.bincount(keys[keys >> 16 == bucket] & 0xFFFF, minlength=2**16)
    found = []
    for rank, bucket in zip(ranks, map(int, buckets), strict=True):
        inside = rank - int(upper[:bucket].sum())
        place = int(np.searchsorted(np.cumsum(lower[bucket]), inside, side="right"))
        found.append(_value(bucket << 16 | place))
    return found


def _keys(values: np.ndarray) -> np.ndarray:
    """The bits of float32 values, as integers of the same order."""
    single = np.ascontiguousarray(values, np.float32).ravel()
    if not np.isfinite(single).all():
        raise InputError("auto: the training split holds NaN or an infinite value")
    bits = single.view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | 0x80000000)


def _value(key: int) -> float:
    bits = key & 0x7FFFFFFF if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.array(bits, np.uint32).view(np.float32))
