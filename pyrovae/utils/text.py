"""File names as text for terminals, tables and figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["legible", "printable"]


def printable(name: str) -> str:
    r"""Returns a name with undecodable bytes escaped.

    Example:
        >>> printable("caf\udce9.png") == "caf\\udce9.png"
        True
    """
    return name.encode("utf-8", "backslashreplace").decode()


@contextmanager
def legible(figure: Figure) -> Iterator[None]:
    """Lets a figure show any file name as it is.

    Characters that the default font lacks come from an installed font that has them. If none
    has, they become boxes without a warning. A dollar sign does not start a formula.

    Args:
        figure: is drawn within the context.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        words = text.get_text()
        if "$" in words and "\\mathdefault" not in words:  # That is a number on an axis.
            text.set_parse_math(False)
        if lacking := _lacking(words):
            text.set_fontfamily(["DejaVu Sans", *_fonts_with(lacking)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def _lacking(words: str) -> frozenset[str]:
    """The characters of a text that the default font lacks."""
    if words.isascii():
        return frozenset()
    from matplotlib import font_manager

    usual = _characters(font_manager.findfont("DejaVu Sans"))
    return frozenset(c for c in words if c.isprintable() and ord(c) not in usual)


@lru_cache(maxsize=64)
def _fonts_with(lacking: frozenset[str]) -> list[str]:
    """An installed font that has these characters, else the one that has most of them."""
    from matplotlib import font_manager

    most: tuple[int, list[str]] = (0, [])
    for font in font_manager.fontManager.ttflist:
        count = sum(ord(c) in _characters(font.fname) for c in lacking)
        if count > most[0]:
            most = (count, [font.name])
        if count == len(lacking):
            break
    return most[1]


@lru_cache(maxsize=512)
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # A font that cannot be read has none.
        return frozenset()
