"""Which classes a configuration may name: checked by name, before anything of it is imported."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
    within,
)
from pyrovae.config.parsing import Parser, known_parts
from pyrovae.config.plain_yaml import TooLarge, parse_yaml, plain_text, read_yaml
from pyrovae.config.presets import preset_path
from pyrovae.config.roles import BASES
from pyrovae.engine import Engine
from pyrovae.objectives import Beta
from pyrovae.training.trainer import Trainer
from pyrovae.utils.errors import InputError
from pyrovae.utils.text import cut

__all__ = ["Consent", "add_trust", "consent_of"]

#: Options that are groups of a class's arguments.
GROUPS: dict[str, type] = {"beta": Beta, "trainer": Trainer, "engine": Engine}
#: What a command line says, and no file may.
TYPED_ONLY = ("config", "resume", "trust", "print_config")
INNER = ("init_args", "dict_kwargs")


@dataclass
class Consent:
    """What a configuration may name besides the classes of pyrovae, PyTorch and Pyro.

    Attributes:
        trusted: whether files may name any class.
        typed: names that the user typed on this command line.
    """

    trusted: bool = False
    typed: set[str] = field(default_factory=set)

    def read(self, path: Path, made: Collection[str] = ()) -> dict[str, Any]:
        """The content of a YAML file of options, which names allowed classes only.

        Args:
            path: of the file.
            made: the options of which parts will be made; by default all. Of the others, a class
                that is no longer there is no reason to refuse.

        Raises:
            InputError: if it cannot be read, or names other classes.
        """
        content = read_yaml(path)
        self._check(content, str(path), made)
        return content

    def parse(self, text: Any, source: str) -> dict[str, Any]:
        """As `read`, of a text that is from a file."""
        content = parse_yaml(text, source) if isinstance(text, str) else None
        if not isinstance(content, dict):
            raise InputError(f"{source}: holds no configuration")
        self._check(content, source)
        return content

    def _check(self, content: dict[str, Any], source: str, made: Collection[str] = ()) -> None:
        walk, passed_over = _Walk(self, source), _PassedOver(self, source)
        for name, value in walk.items(content, "the file"):
            if name in TYPED_ONLY and value:  # What is unset stands in what --print_config prints.
                raise InputError(f"{source}: --{name}: is for the command line, not for a file")
            (walk if not made or name in made else passed_over).option(name, value)

    def with_content(self, arguments: list[str]) -> list[str]:
        """A command line that begins with the content of each preset, once checked.

        Options that are typed win over presets, wherever they stand. The parser would read the
        files in its own way.
        """
        presets: list[str] = []
        others: list[str] = []
        for argument in arguments:
            option, given, path = argument.partition("=")
            if others[-1:] == ["--config"]:
                others.pop()
                presets.append(argument)
            elif option == "--config" and given:
                presets.append(path)
            else:
                others.append(argument)
        return [
            f"--config={plain_text(self.read(preset_path(name)))}" for name in presets
        ] + others

    def check_parsed(self, config: dict[str, Any], arguments: list[str]) -> None:
        """Raises `InputError` if a parsed command line would make anything but parts.

        Args:
            config: what the parser made of the command line and the files.
            arguments: the command line.
        """
        walk = _Parsed(self, "")
        for name in [*BASES, *GROUPS]:
            if name in config:
                walk.option(name, config[name])
        for path, text in _options(arguments):
            if text.strip() == "{}" and not _is_in(config, path):  # The parser passes over it.
                raise InputError(f"--{'.'.join(path)}: there is no such option (see --help)")

    def allows(self, name: str) -> bool:
        """Whether a class of the user's own may be imported."""
        if self.trusted or name in self.typed:
            return True
        # The parser writes where a class is from, and not always as it was typed.
        found = loaded_class(name)
        return found is not None and any(found is loaded_class(typed) for typed in self.typed)


def add_trust(parser: Parser) -> None:
    """Adds the option that lets a run or a preset name code of its own."""
    parser.add_argument(
        "--trust",
        action="store_true",
        help="the run or preset may name any class: its code runs, so know where it is from",
    )


def consent_of(arguments: list[str]) -> Consent:
    """The consent that a command line gives: by `--trust`, and to the parts that it names.

    Those are imported.

    Raises:
        InputError: if one cannot be imported, or is not of the kind that its option asks for.
    """
    consent = Consent("--trust" in arguments)
    walk = _Typed(consent, "")
    for path, text in sorted(_options(arguments), key=lambda option: len(option[0])):
        walk.typed(path, text)
    return consent


@dataclass
class _Walk:
    """Goes through the plain values of a file.

    Attributes:
        consent: to classes of the user's own.
        source: where the values are from.
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
                raise self.wrong(where, f"is a group of options: set {inner}")
            self.part(value, GROUPS[name], where)
        elif value == {}:  # The parser passes over it.
            raise self.wrong(where, "there is no such option (see --help)")
        else:
            self.plain(value, True, where)

    def part(self, value: Any, base: type, where: str) -> None:
        """Checks what is given for a part: a class, its arguments, a list of such, nothing."""
        value = self.nested(value)
        if isinstance(value, dict):
            self.spec(value, base, where)
        elif isinstance(value, list | tuple):
            for inner in value:
                self.part(inner, base, where)
        elif isinstance(value, str):
            self.named(value, base, where)
        elif callable(value):
            raise self.wrong(where, f"{cut(value)} is a function, and none is ever called")
        elif value is not None:
            raise self.wrong(where, f"must name a class, got {cut(value)}")

    def spec(self, value: dict[str, Any], base: type, where: str) -> None:
        """Checks a class and its arguments; without a class they are of the one before."""
        if "class_path" in value:
            owners = [self.named(value["class_path"], base, where)]
        else:
            owners = [cls for cls in below(base) if is_known(cls) or self.allowed(cls)]
        for key, inner in self.items(value, where):
            if key == "class_path":
                continue
            if key not in INNER and "class_path" in value:
                raise self.wrong(f"{where}.{key}", "goes into init_args, beside class_path")
            if key not in INNER:
                self.argument(key, inner, owners, f"{where}.{key}")
            elif isinstance(inner, dict):
                for name, given in self.items(inner, where):
                    self.argument(name, given, owners, f"{where}.{name}")
            elif inner is not None:
                raise self.wrong(f"{where}.{key}", f"must be arguments by name, got {cut(inner)}")

    def argument(self, name: str, value: Any, owners: list[type], where: str) -> None:
        """Checks an argument of a part, of which one of the owners is made."""
        hint = hint_of(owners, name)
        if hint is None:
            if value == {} and all(map(is_known, owners)):  # The parser passes over it.
                raise self.wrong(where, "there is no such option (see --help)")
            self.plain(value, False, where)
        elif hint.base is not None:
            self.part(value, hint.base, where)
        elif hint.untyped and isinstance(value, str) and not is_number(value):
            raise self.wrong(where, f"must be a number, true, false or null, got {cut(value)}")
        else:
            self.plain(value, hint.text, where)

    def plain(self, value: Any, text: bool, where: str) -> None:
        """Checks a value that is no part: the parser would make a class in it all the same.

        Args:
            value: of the argument.
            text: whether it may be any text, a dotted one too.
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
        """Checks a text where none is asked for: it might be imported."""
        if is_dotted(value) and not self.consent.allows(value):
            self.named(value, object, where)

    def named(self, name: Any, base: type, where: str) -> type:
        """The class of a name, if it is allowed.

        Raises:
            InputError: if it is not.
        """
        found = known_class(name, base) if isinstance(name, str) else None
        if found is not None:
            return found
        if not isinstance(name, str) or not is_dotted(name) or within(name, ("pyrovae",)):
            raise self.wrong(where, f"unknown class '{cut(name)}'; {known_parts(where)}")
        if self.consent.allows(name):
            return own_class(name, base, self.place(where))
        allowed = "a plain value" if base is object else f"a class of {' or '.join(origins(base))}"
        raise self.wrong(
            where,
            f"names {cut(name)}, allowed is {allowed}; nothing was imported: --trust "
            "(trust=True in Python) lets this file name any class and run its code",
        )

    def allowed(self, cls: type) -> bool:
        """Whether a class of the user's own may be the one that arguments are for."""
        return self.consent.allows(f"{cls.__module__}.{cls.__qualname__}")

    def nested(self, value: Any, text: bool = False) -> Any:
        """A value, or what the parser would read in a text: a mapping, a list, a number."""
        if not isinstance(value, str):
            return value
        try:
            found = parse_yaml(value, self.source)
        except TooLarge:
            raise
        except InputError:
            # A reader of YAML less strict than ours might see more in it.
            if not text and any(letter in value for letter in "[{&*!:"):
                raise
            return value
        return value if text or isinstance(found, str) else found

    def items(self, given: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
        """The values of a mapping by name, if each name is one."""
        for name, value in given.items():
            if not isinstance(name, str) or not name.isidentifier() or name.startswith("__"):
                raise self.wrong(where, f"'{cut(name)}' is no name of an option or argument")
            yield name, value

    def wrong(self, where: str, reason: str) -> InputError:
        """An error that says where it is."""
        return InputError(f"{self.place(where)}: {reason}")

    def place(self, where: str) -> str:
        """The file and the option."""
        return f"{self.source}: {cut(where)}"


class _PassedOver(_Walk):
    """Goes through options of which nothing is made or imported here."""

    def named(self, name: Any, base: type, where: str) -> type:
        """The class of a name, or of its role if that is gone or elsewhere."""
        gone = isinstance(name, str) and known_class(name, base) is None
        if gone and (self.consent.trusted or within(name, origins(base))):
            return base
        return super().named(name, base, where)


class _Typed(_Walk):
    """Goes through a command line: what it names is allowed from then on."""

    def typed(self, path: list[str], text: str) -> None:
        """Checks an option that was typed."""
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
        """Checks a text that was typed, which may be anything."""

    def named(self, name: Any, base: type, where: str) -> type:
        """The class of a name, which is allowed from now on."""
        if isinstance(name, str):
            self.consent.typed.add(name)
        return super().named(name, base, where)

    def nested(self, value: Any, text: bool = False) -> Any:
        """As in a file; but a text that is no YAML is left to the parser."""
        with suppress(InputError):
            return super().nested(value, text)
        return value

    def items(self, given: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
        """The values of a mapping, whose names the parser checks."""
        yield from given.items()

    def place(self, where: str) -> str:
        """The option."""
        return cut(where)


class _Parsed(_Typed):
    """Goes through what the parser made of files and command line."""

    def named(self, name: Any, base: type, where: str) -> type:
        """The class of a name, which was allowed before."""
        return _Walk.named(self, name, base, where)

    def nested(self, value: Any, text: bool = False) -> Any:
        """A value: the parser has read what was in a text."""
        return value


def _options(arguments: list[str]) -> Iterator[tuple[list[str], str]]:
    """The options on a command line that set parts and groups, as paths, with their values."""
    for i, argument in enumerate(arguments):
        option, given, text = argument.partition("=")
        path = option.removeprefix("--").rstrip("+").split(".")
        if not option.startswith("--") or path[-1] == "help" or path[0] not in {*BASES, *GROUPS}:
            continue
        if not given and i + 1 < len(arguments) and not arguments[i + 1].startswith("--"):
            given, text = "=", arguments[i + 1]
        if given:
            yield [name for name in path if name not in (*INNER, "class_path")], text


def _is_in(config: dict[str, Any], path: list[str]) -> bool:
    """Whether a parsed configuration has a value at an option's path."""
    node: Any = config
    for name in path:
        node = node.get("init_args", node) if isinstance(node, dict) else {}
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return True
