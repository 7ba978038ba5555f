"""Checks the classes that a configuration names before any of them is imported."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyrovae.config.messages import no_such_option, not_a_part
from pyrovae.config.naming import (
    arguments_of,
    below,
    hint_of,
    is_dotted,
    is_known,
    is_number,
    known_class,
    loaded_class,
    origins,
    own_class,
)
from pyrovae.config.ordering import INNER
from pyrovae.config.parsing import Parser, lost_option, options_given, taken
from pyrovae.config.plain_yaml import TooLarge, parse_yaml, plain_text, read_yaml
from pyrovae.config.presets import preset_path
from pyrovae.config.roles import BASES
from pyrovae.engine import Engine
from pyrovae.objectives import Beta
from pyrovae.runs.own_code import OWN_PARTS
from pyrovae.runs.renewing import renewed
from pyrovae.training.trainer import Trainer
from pyrovae.utils.errors import InputError
from pyrovae.utils.text import cut, within

__all__ = ["Consent", "add_trust", "consent_of"]

#: Options that are groups: the arguments of one class.
GROUPS: dict[str, type] = {"beta": Beta, "trainer": Trainer, "engine": Engine}
#: Options that are allowed on the command line only, not in a file.
TYPED_ONLY = ("config", "resume", "trust", "print_config")


@dataclass
class Consent:
    """The classes of the user that a configuration may name.

    Classes of pyrovae, PyTorch and Pyro need no consent.

    Attributes:
        trusted: whether files may name any class.
        typed: the names that the user typed on this command line.
        copies: the folder with a run's copies of its own modules.
        files: the contents of the presets and files of `--config`, by name.
    """

    trusted: bool = False
    typed: set[str] = field(default_factory=set)
    copies: Path | None = None
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read(self, path: Path, made: Collection[str] = ()) -> dict[str, Any]:
        """Reads a YAML file of options that names allowed classes only.

        Args:
            path: the file.
            made: the options whose parts will be built; by default all. Other options may name a
                class that no longer exists.

        Raises:
            InputError: if the file cannot be read, or names a class that is not allowed.
        """
        content, self.copies = renewed(read_yaml(path)), path.parent / OWN_PARTS
        self._check(content, str(path), made)
        return content

    def parse(self, text: Any, source: str) -> dict[str, Any]:
        """Parses and checks a text in the way of `read`."""
        content = parse_yaml(text, source) if isinstance(text, str) else None
        if not isinstance(content, dict):
            raise InputError(f"{source}: holds no configuration")
        content = renewed(content)
        self._check(content, source)
        return content

    def _check(self, content: dict[str, Any], source: str, made: Collection[str] = ()) -> None:
        walk, passed_over = _Walk(self, source), _PassedOver(self, source)
        for name, value in walk.items(content, "the file"):
            if name in TYPED_ONLY and value:  # --print_config prints these options too, unset.
                raise InputError(f"{source}: --{name}: allowed on the command line only")
            (walk if not made or name in made else passed_over).option(name, value)

    def with_content(self, arguments: list[str]) -> list[str]:
        """Replaces `--config` by the checked content of its file, at the front of a command line.

        At the front, every typed option wins over the preset. If the parser read the files, they
        would not be checked.
        """
        names, others = taken("--config", arguments)
        self.files |= {name: self.read(preset_path(name)) for name in names}
        return [f"--config={plain_text(self.files[name])}" for name in names] + others

    def check_parsed(self, config: dict[str, Any], arguments: list[str]) -> None:
        """Raises `InputError` if a parsed configuration would build anything but allowed parts.

        Args:
            config: the configuration, parsed from the command line and the files.
            arguments: the command line.
        """
        walk = _Parsed(self, "")
        for name in filter(config.__contains__, [*BASES, *GROUPS]):
            walk.option(name, config[name])
        for path, text in options_given(arguments, {*BASES, *GROUPS}):
            if len(path) > 1 and config.get(path[0]) is None:
                raise InputError(f"--{path[0]}: must name a class, got null")
            if lost := ".".join(lost_option(config, path, text)):  # The parser ignores it.
                raise InputError(no_such_option(f"--{lost}", [f"--{lost.rpartition('.')[0]}"]))

    def allows(self, name: str) -> bool:
        """Whether a class of the user may be imported."""
        if self.trusted or name in self.typed:
            return True
        # The parser writes the path where a class is defined, which may differ from the typed one.
        found = loaded_class(name)
        return found is not None and any(found is loaded_class(typed) for typed in self.typed)


def add_trust(parser: Parser) -> None:
    """Adds the option `--trust`."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let the run or preset name any class, whose code then runs: use it only if you "
        "trust the author",
    )


def consent_of(arguments: list[str]) -> Consent:
    """The consent of a command line: to all classes by `--trust`, else to those that it names.

    Imports the named classes.

    Raises:
        InputError: if a class cannot be imported, or is not a subclass of its option's base.
    """
    consent = Consent("--trust" in arguments)
    walk = _Typed(consent, "")
    for path, text in sorted(
        options_given(arguments, {*BASES, *GROUPS}), key=lambda option: len(option[0])
    ):
        walk.typed(path, text)
    return consent


@dataclass
class _Walk:
    """Checks the plain values of a file.

    Attributes:
        consent: which classes of the user are allowed.
        source: the file, for messages.
    """

    consent: Consent
    source: str

    def option(self, name: str, value: Any) -> None:
        """Checks the value of an option such as `prior` or `trainer`."""
        where = f"--{name}"
        if name in BASES:
            self.part(value, BASES[name], where)
        elif name in GROUPS:
            value = self.nested(value)
            if not isinstance(value, dict | None):
                inner = ", ".join(sorted(f"{where}.{own}" for own in arguments_of(GROUPS[name])))
                raise self.wrong(where, f"is a group of options; set {inner}")
            self.part(value, GROUPS[name], where)
        elif value == {}:  # The parser ignores it.
            raise self.wrong(where, "no such option (see --help)")
        else:
            self.plain(value, True, where)

    def part(self, value: Any, base: type, where: str) -> None:
        """Checks the value of a part: a class, its arguments, a list of these, or None."""
        value = self.nested(value)
        if isinstance(value, dict):
            self.spec(value, base, where)
        elif isinstance(value, list | tuple):
            for inner in value:
                self.part(inner, base, where)
        elif isinstance(value, str):
            self.named(value, base, where)
        elif callable(value):
            raise self.wrong(where, f"{cut(value)} is a function; only classes are allowed")
        elif value is not None:
            raise self.wrong(where, f"must name a class, got {cut(value)}")

    def spec(self, value: dict[str, Any], base: type, where: str) -> None:
        """Checks a class and its arguments; without a class, the arguments of the current one."""
        if "class_path" in value:
            owners = [self.named(value["class_path"], base, where)]
        else:
            owners = [cls for cls in below(base) if is_known(cls) or self.allowed(cls)]
        for key, inner in self.items(value, where):
            if key == "class_path":
                continue
            if key not in INNER and "class_path" in value:
                raise self.wrong(f"{where}.{key}", "arguments belong in init_args")
            if key not in INNER:
                self.argument(key, inner, owners, f"{where}.{key}")
            elif isinstance(inner, dict):
                for name, given in self.items(inner, where):
                    self.argument(name, given, owners, f"{where}.{name}")
            elif inner is not None:
                raise self.wrong(
                    f"{where}.{key}", f"must be a mapping of arguments, got {cut(inner)}"
                )

    def argument(self, name: str, value: Any, owners: list[type], where: str) -> None:
        """Checks an argument of a part whose class is one of the owners."""
        hint = hint_of(owners, name)
        if hint is None:
            if value == {} and all(map(is_known, owners)):  # The parser ignores it.
                raise self.wrong(where, "no such option (see --help)")
            self.plain(value, False, where)
        elif hint.base is not None:
            self.part(value, hint.base, where)
        elif hint.untyped and isinstance(value, str) and not is_number(value):
            raise self.wrong(where, f"must be a number, true, false or null, got {cut(value)}")
        else:
            self.plain(value, hint.text, where)

    def plain(self, value: Any, text: bool, where: str) -> None:
        """Checks a value that is not a part: the parser would build a class named inside it.

        Args:
            value: the value of the argument.
            text: whether any text is allowed, also a dotted path.
            where: the option.
        """
        value = self.nested(value, text)
        if isinstance(value, dict):
            if "class_path" in value:
                self.spec(value, object, where)
                return
            for key, inner in self.items(value, where):
                self.plain(inner, text, f"{where}.{key}")
        elif isinstance(value, list | tuple):
            for inner in value:
                self.plain(inner, text, where)
        elif isinstance(value, str) and not text:
            self.word(value, where)

    def word(self, value: str, where: str) -> None:
        """Checks a text where no text is expected: the parser might import it."""
        if is_dotted(value) and not self.consent.allows(value):
            self.named(value, object, where)

    def named(self, name: Any, base: type, where: str) -> type:
        """Returns the class of a name.

        Raises:
            InputError: if the class is not allowed.
        """
        found = known_class(name, base) if isinstance(name, str) else None
        if found is not None:
            return found
        if not isinstance(name, str) or not is_dotted(name) or within(name, ("pyrovae",)):
            raise self.wrong(where, not_a_part(name, where))
        if self.consent.allows(name):
            return own_class(name, base, self.place(where), self.consent.copies)
        allowed = "a plain value" if base is object else f"a class of {' or '.join(origins(base))}"
        raise self.wrong(
            where,
            f"names {cut(name)}, allowed is {allowed}; nothing was imported. --trust "
            "(trust=True in Python) lets this file name any class and run its code",
        )

    def allowed(self, cls: type) -> bool:
        """Whether consent was given to a class of the user."""
        return self.consent.allows(f"{cls.__module__}.{cls.__qualname__}")

    def nested(self, value: Any, text: bool = False) -> Any:
        """Returns a value; a text is read as the parser would: a mapping, a list, a number."""
        if not isinstance(value, str):
            return value
        try:
            found = parse_yaml(value, self.source)
        except TooLarge:
            raise
        except InputError:
            # The parser's YAML reader is less strict and might accept it.
            if not text and any(letter in value for letter in "[{&*!:"):
                raise
            return value
        return value if text or isinstance(found, str) else found

    def items(self, given: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
        """Yields the names and values of a mapping; raises `InputError` for an invalid name."""
        for name, value in given.items():
            if not isinstance(name, str) or not name.isidentifier() or name.startswith("__"):
                first, dot, rest = str(name).partition(".")
                nested = f"; write {cut(first)}: and indented below it {cut(rest)}:" if dot else ""
                reason = f"'{cut(name)}' is not a valid name of an argument{nested}"
                raise self.wrong(where, reason)
            yield name, value

    def wrong(self, where: str, reason: str) -> InputError:
        """An error that begins with the file and the option."""
        return InputError(f"{self.place(where)}: {reason}")

    def place(self, where: str) -> str:
        """The file and the option, for messages."""
        return f"{self.source}: {cut(where)}"


class _PassedOver(_Walk):
    """Checks options whose parts are neither built nor imported."""

    def named(self, name: Any, base: type, where: str) -> type:
        """The class of a name, or the base of its role if the class no longer exists."""
        gone = isinstance(name, str) and known_class(name, base) is None
        if gone and (self.consent.trusted or within(name, origins(base))):
            return base
        return super().named(name, base, where)


class _Typed(_Walk):
    """Checks a command line, and gives consent to the classes that it names."""

    def typed(self, path: list[str], text: str) -> None:
        """Checks one option of the command line."""
        name, *rest = path
        if not rest:
            self.option(name, text)
            return
        base: type | None = {**BASES, **GROUPS}[name]
        for part in rest:
            hint = hint_of(below(base), part) if base is not None else None
            base = hint.base if hint is not None else None
        where = f"--{'.'.join(path)}"
        if base is not None:
            self.part(text, base, where)
        else:
            self.plain(text, hint is None or hint.text, where)

    def word(self, value: str, where: str) -> None:
        """Accepts any text that the user typed."""

    def named(self, name: Any, base: type, where: str) -> type:
        """The class of a name; gives consent to it."""
        if isinstance(name, str):
            self.consent.typed.add(name)
        return super().named(name, base, where)

    def nested(self, value: Any, text: bool = False) -> Any:
        """As for a file, but a text that is not YAML stays as it is for the parser."""
        with suppress(InputError):
            return super().nested(value, text)
        return value

    def items(self, given: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
        """Yields the names and values of a mapping; the parser checks the names."""
        yield from given.items()

    def place(self, where: str) -> str:
        """The option, for messages."""
        return cut(where)


class _Parsed(_Typed):
    """Checks the configuration that the parser returned."""

    def argument(self, name: str, value: Any, owners: list[type], where: str) -> None:
        """As for a file; infinity is allowed where it is the default."""
        hint = hint_of(owners, name)
        if not (hint is not None and hint.infinite and value == math.inf):
            super().argument(name, value, owners, where)

    def plain(self, value: Any, text: bool, where: str) -> None:
        """As for a file; numbers must be finite."""
        if isinstance(value, float) and not math.isfinite(value):
            raise self.wrong(where, f"expected a finite number, got {value}")
        super().plain(value, text, where)

    def named(self, name: Any, base: type, where: str) -> type:
        """The class of a name; gives no consent."""
        return _Walk.named(self, name, base, where)

    def nested(self, value: Any, text: bool = False) -> Any:
        """Returns the value: the parser has read all texts."""
        return value
