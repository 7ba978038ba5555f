"""The order in which options are parsed: the class of a part first, then its arguments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pyrovae.config.plain_yaml import parse_yaml
from pyrovae.config.roles import ALSO, LISTS, ROLES
from pyrovae.utils.errors import InputError

__all__ = ["INNER", "grouped", "mapping_of", "ordered"]

#: Where a configuration holds the arguments of a class.
INNER = ("init_args", "dict_kwargs")
#: Options whose value names one class.
NAMING = {*ROLES, *ALSO, "optimizer"} - {*LISTS}
#: More than the depth of any option.
LAST = 100


def ordered(arguments: list[str]) -> list[str]:
    """Moves each option behind the options that name the class it belongs to.

    The parser drops an option in silence if a later option names another class. Of several
    classes of one part, the last one counts.

    Raises:
        InputError: if an option sets an argument of a part that is null.

    Example:
        >>> ordered(["--prior.flow.num_layers=5", "--prior.flow", "RealNVP", "--prior=FlowPrior"])
        ['--prior=FlowPrior', '--prior.flow', 'RealNVP', '--prior.flow.num_layers=5']
    """
    options = [_Option.of([first, *rest]) for first, rest in grouped(arguments)]
    last = {option.path: option for option in options if option.named}
    kept = [own for own in options if not own.replaceable or last[own.path] is own]
    lists = {option.path for option in kept if option.added}
    _refuse_arguments_of_null(kept)
    places = [_place(kept[: i + 1], lists) for i in range(len(kept))]
    ranked = sorted(range(len(kept)), key=lambda i: places[i])
    return [word for i in ranked for word in kept[i].words]


def _refuse_arguments_of_null(options: list[_Option]) -> None:
    for gone, own in itertools.product(options, options):
        size = len(gone.path)
        if gone.depth == LAST and len(own.path) > size and own.path[:size] == gone.path:
            option = f"--{'.'.join(gone.path)}"
            raise InputError(
                f"--{'.'.join(own.path)}: {option} is null and has no arguments; leave one of the "
                "two out"
            )


def grouped(arguments: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yields each option with the values that follow it."""
    starts = [i for i, word in enumerate(arguments) if i == 0 or word.startswith("--")]
    for start, stop in itertools.pairwise([*starts, len(arguments)]):
        yield arguments[start], arguments[start + 1 : stop]


def mapping_of(text: str) -> dict[str, Any]:
    """The mapping that a value is, in YAML or JSON; empty if it is another value."""
    found: Any = None
    if text.lstrip().startswith("{"):
        with suppress(InputError):  # The parser reports it.
            found = parse_yaml(text, "")
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, eq=False)
class _Option:
    """An option with its values.

    Attributes:
        words: the words of the command line.
        path: the names of the option, without those that only say where arguments are kept.
        depth: the number of names; one more for a mapping of arguments; 0 for a preset, because
            every typed option wins over it, and for a positional argument, which stays in front.
        added: whether the option adds to a list.
        named: whether the value is the class of a part, or a mapping that names its class.
        replaceable: whether the value is the name of a class alone, so that no argument is lost
            if a later option names another class.
    """

    words: list[str]
    path: tuple[str, ...]
    depth: int
    added: bool
    named: bool
    replaceable: bool

    @classmethod
    def of(cls, words: list[str]) -> _Option:
        if not words[0].startswith("--"):
            return cls(words, (), 0, added=False, named=False, replaceable=False)
        option, equals, value = words[0].partition("=")
        text = value if equals else " ".join(words[1:])
        names = option.removeprefix("--").rstrip("+").split(".")
        path = tuple(name for name in names if name not in (*INNER, "class_path"))
        given = mapping_of(text)
        inside = names[-1] in INNER or bool(given) and "class_path" not in given
        added = option.endswith("+")
        names_part = ".".join(path) in NAMING and not added
        word = names_part and text.replace(".", "").isidentifier()
        named = names_part and (word or "class_path" in given)
        depth = 0 if path == ("config",) else len(path) + inside
        # It takes the part away, so it is parsed last.
        depth = LAST if names_part and text.strip().lower() in ("null", "~") else depth
        return cls(words, path, depth, added, named, word)


def _place(options: list[_Option], lists: set[tuple[str, ...]]) -> tuple[int, int, int]:
    """The sort key of the last of some options, given the options before it.

    In a list, an argument belongs to the part that was added before it, so it stays behind it.
    """
    option = options[-1]
    for n in range(1, len(option.path) + 1):
        if (path := option.path[:n]) in lists and (n < option.depth or option.added):
            added = sum(own.added and own.path == path for own in options)
            return n + 1, added, option.depth
    return option.depth, 0, 0
