"""Names and values as text for messages, terminals, tables and figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "chance",
    "closest",
    "counted",
    "cut",
    "cut_line",
    "legible",
    "listed",
    "of_groups",
    "printable",
    "short_names",
    "within",
]

#: The longest value that a message shows, and the longest message, in characters.
SHOWN, LINE = 200, 3_000


def printable(name: str) -> str:
    r"""Returns a name with undecodable bytes escaped.

    Example:
        >>> printable("caf\udce9.png") == "caf\\udce9.png"
        True
    """
    return name.encode("utf-8", "backslashreplace").decode()


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, which gets an s except for 1.

    Example:
        >>> counted(1, "epoch"), counted(2000, "image")
        ('1 epoch', '2,000 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def chance(p_value: float) -> str:
    """Returns a p-value for a sentence; below 1e-16 only the bound.

    Example:
        >>> chance(0.0123), chance(0.0)
        ('p = 0.012', 'p < 1e-16')
    """
    return "p < 1e-16" if p_value < 1e-16 else f"p = {p_value:.2g}"


def of_groups(groups: Iterable[Any] | None) -> str:
    """Returns the number of groups of some images, to follow the number of images.

    Example:
        >>> of_groups(None), of_groups(["a", "b", "a"])
        ('', ' of 2 groups')
    """
    return "" if groups is None else f" of {counted(len({*groups}), 'group')}"


@contextmanager
def legible(figure: Figure) -> Iterator[None]:
    """Lets a figure show any file name unchanged.

    Characters that the default font lacks come from an installed font that has them. If there is
    no such font, they become boxes without a warning. A dollar sign does not start a formula.

    Args:
        figure: the figure to draw within the context.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        words = text.get_text()
        if "$" in words and "\\mathdefault" not in words:  # \mathdefault marks a tick label.
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
    except (OSError, RuntimeError):  # The font cannot be read.
        return frozenset()


def cut(value: Any) -> str:
    """Returns a value for a message: one line of at most 200 printable characters.

    Example:
        >>> len(cut("long" * 1000)), cut("two lines")
        (200, 'two lines')
    """
    text = str(value)
    line = " ".join(text[: 4 * SHOWN].split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return shown if len(shown) <= SHOWN else f"{shown[: SHOWN - 4]} ..."


def listed(names: Iterable[str], most: int = 10) -> str:
    """Returns names for a message, with the number of those beyond `most`.

    Example:
        >>> listed("abc"), listed("abc", 1)
        ('a, b, c', 'a and 2 more')
    """
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def within(path: str, names: Iterable[str]) -> bool:
    """Returns whether a dotted path is one of some names, or below one of them.

    Example:
        >>> within("torch.nn.Linear", ["torch.nn"]), within("torch.nnet", ["torch.nn"])
        (True, False)
    """
    return any(path == name or path.startswith(f"{name}.") for name in names)


def closest(name: str, names: Iterable[str]) -> str:
    """Returns a hint to append to a mistyped name; "" if no name is close.

    Example:
        >>> closest("Agee", ["label", "age"]), closest("x", ["label", "age"])
        (' (did you mean age?)', '')
    """
    import difflib

    known = {own.lower(): own for own in names}
    near = difflib.get_close_matches(name.lower(), known, 1)
    return f" (did you mean {known[near[0]]}?)" if near else ""


def short_names(paths: Sequence[str | Path]) -> list[str]:
    """The last component of each path, or the whole paths if those are not distinct.

    Example:
        >>> short_names(["runs/a", "runs/b"]), short_names(["x/a", "y/a"])
        (['a', 'b'], ['x/a', 'y/a'])
    """
    short = [printable(Path(path).resolve().name) for path in paths]
    whole = [printable(str(path)) for path in paths]
    return short if len(set(short)) == len(short) else whole


def cut_line(message: Any) -> str:
    """Returns a message as one line, with each word cut to 200 characters.

    Example:
        >>> len(cut_line("root " + 1000 * "x" + ": no such folder"))
        220
    """
    words = [cut(word) for word in str(message).split()]
    return " ".join(words)[:LINE]
