"""A parser of command lines whose error messages are one line that a user can act on."""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from textwrap import shorten
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from pyrovae.config import messages
from pyrovae.config.catalogue import concrete, entries, explain, help_text
from pyrovae.config.help import describe_arguments, full_help, needed, text_width
from pyrovae.config.naming import own_class
from pyrovae.config.ordering import INNER, grouped, mapping_of, ordered
from pyrovae.config.presets import preset_names
from pyrovae.config.roles import ALSO, LISTS, ROLES
from pyrovae.utils.errors import InputError
from pyrovae.utils.text import cut

__all__ = [
    "Parser",
    "answer_help",
    "is_stated",
    "joined",
    "lost_option",
    "options_given",
    "taken",
    "value_of",
]


class Parser(ArgumentParser):
    """A jsonargparse parser that prints errors in one line and exits with code 2."""

    def __init__(self, **kwargs: Any) -> None:
        # Abbreviations would let a misspelt option pass for another.
        super().__init__(**kwargs, allow_abbrev=False)
        #: The content of the preset that applies: the help shows its values as the defaults.
        self.stated: dict[str, Any] = {}
        #: The contents of the presets and files of `--config`, by name.
        self.files: dict[str, dict[str, Any]] = {}
        self.typed: list[list[str]] = []
        #: What a command line must hold; while it is parsed, nothing counts as required.
        self.needed: list[str] = []
        # The parsers that jsonargparse makes for the arguments of a part have no name.
        self.of_part = "prog" not in kwargs

    def parse_args(self, args: Any = None, namespace: Any = None, **kwargs: Any) -> Namespace:
        """Parses a command line; the class of a part may come after its arguments."""
        self.needed = needed(self)
        given = ordered(sys.argv[1:] if args is None else list(args))
        self.typed = [[*option.partition("=")[::2], *more] for option, more in grouped(given)]
        return super().parse_args(given, namespace, **kwargs)

    def add_text(self, option: str, about: str) -> None:
        """Adds an option that takes a text; it is None if it is not given."""
        self.add_argument(option, type=str | None, help=about)

    def add_texts(self, option: str, about: str) -> None:
        """Adds an option that takes one or more texts; it is None if it is not given."""
        self.add_argument(option, nargs="+", type=str, help=about)

    def format_help(self) -> str:
        """The text of `--help`: examples, options, parts."""
        return full_help(self, self.needed, self.stated, text_width())

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints one line: what is wrong and what is allowed. Then exits with code 2.

        Raises:
            InputError: in place of the exit, if `exit_on_error` is False.
        """
        line = self.in_one_line(message)
        if not self.exit_on_error:
            raise InputError(line)
        sys.stderr.write(f"error: {self.with_file(line)}\n")
        raise SystemExit(2)

    def with_file(self, line: str) -> str:
        """An error that begins with the file that states its option, unless it was typed."""
        option = line.split(":")[0]
        for typed, *values in self.typed:
            # A mapping holds further options.
            holds = any(value.lstrip().startswith("{") for value in values)
            if f"{typed}.".startswith(f"{option}.") or (holds and option.startswith(f"{typed}.")):
                return line
        path = option.removeprefix("--").split(".")
        own = {name: self.files[name] for name in self.files.keys() - {*preset_names()}}
        files = [name for name, content in own.items() if is_stated(content, path)]
        return f"{files[0]}: {line}" if len(files) == 1 else line  # Of two, either may be wrong.

    def in_one_line(self, message: str) -> str:
        """The part of jsonargparse's message that a user can act on."""
        where = self._in_full(_path(re.findall(r'Parser key "([^"]+)"', message)), message)
        readers = (
            self._no_such_option,
            self._unrecognized,
            messages.error_of_argument,
            messages.unknown_class,
            messages.abstract_class,
            messages.list_error,
            self._needs_value,
            messages.wrong_type,
            self._group,
            self._missing,
            messages.no_annotation,
            messages.not_imported,
            messages.first_reason,
        )
        found = (read(message, where) for read in readers)
        return next(filter(None, found), shorten(message, 400, placeholder=" ..."))

    def _group(self, message: str, where: str) -> str:
        """The error of a group of options that got a value; empty if it is another error."""
        if "Unable to load config" not in message:
            return ""
        inner = [o for o in self._option_string_actions if o.startswith(f"{where}.")]
        return f"{where}: is a group of options; set {', '.join(sorted(inner))}"

    def _missing(self, message: str, where: str) -> str:
        """The error of a missing argument; empty if it is another error."""
        found = re.search(r"arguments are required: (\w+)", message)
        if not found:
            return ""
        missing = _owner(found[1])
        stated = self._option_string_actions.get(f"--{missing}")
        if stated is None and not self.of_part:
            return f"{self.prog}: needs {' '.join(self.needed)}"
        about = f", {stated.help}" if stated and stated.help else ""
        return f"{'--' if stated else ''}{missing}: must be given{about}"

    def _needs_value(self, message: str, where: str) -> str:
        """The error of an option without its value; empty if it is another error."""
        found = re.search(r"argument (--\S+): expected (?:one|at least one) argument", message)
        if not found:
            return ""
        given = [*sys.argv[1:], "--"]
        ends = [word for word, after in itertools.pairwise(given) if after.startswith("--")]
        lacking = (word for word in ends if word.split(".")[0] == found[1] and "=" not in word)
        return f"{next(lacking, found[1])}: needs a value"

    def _no_such_option(self, message: str, where: str) -> str:
        """The error of an option that does not exist; empty if it is another error."""
        if found := re.search(r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)", message):
            return self._unknown(self._in_full(found[1]))
        if found := re.search(r"Group '([^']+)' does not accept option '([^']+)'", message):
            return self._unknown(f"--{found[1]}.{found[2]}")
        # A parser of a part reported it, which knows the whole option if it was typed alone.
        inner = re.search(
            r"^\s*(?:- )?--([\w.]+): (no such option(?:; did you mean --([\w.]+)\?)?.*)$",
            message,
            re.MULTILINE,
        )
        if not inner or where == "--":
            return ""
        typed = {word.split("=")[0] for word in sys.argv[1:]}
        if f"--{inner[1]}" in typed and f"--{inner[1]}".startswith(f"{where}."):
            return f"--{inner[1]}: {inner[2]}"
        # It may have taken the option of another part that ends alike.
        own = f"{where}.{inner[1].rpartition('.')[2]}"
        option = own if own in typed else f"{where}.{inner[1]}"
        close = [f"{where}.{inner[3]}"] if inner[3] else []
        return messages.no_such_option(option, [where, *close])

    def _unrecognized(self, message: str, where: str) -> str:
        """The error of what the parser takes for no option; empty if it is another error."""
        found = re.search(r"[Uu]nrecognized arguments: (.*)", message)
        if not found:
            return ""
        option = found[1].split("=")[0].split(" ")[0]
        if option.startswith("--"):
            return self._unknown(self._in_full(option.removeprefix("--")))
        more = ""
        if found[1] and "--compare" in self._option_string_actions:
            more = "; one RUN is allowed, and --compare takes others"
        return f"unrecognized arguments: {cut(found[1]) or 'an empty one'}{more} (see --help)"

    def _in_full(self, key: str, message: str = "") -> str:
        """The full option as the user typed it: jsonargparse may report its last part only.

        Of several options with the same end, it is the one whose value is in the message.
        """
        words = [word for given in sys.argv[1:] for word in given.split("=", 1)]
        told = {text.strip("'") for text in re.findall(r"(?:Got|Given) value: (.*)", message)}
        found = []
        for option, value in itertools.pairwise([*words, ""]):
            before, ends, _ = f".{option[2:]}.".partition(f".{key}.")
            if option.startswith("--") and ends:
                found.append((value not in told, f"--{f'{before}.{key}'.lstrip('.')}"))
        return min(found, key=lambda own: own[0])[1] if found else f"--{key}"

    def _unknown(self, option: str) -> str:
        """The error of an option that is not among this parser's."""
        known = [name for name in self._option_string_actions if not name.endswith((".help", "+"))]
        if self.of_part and (group := option.rpartition(".")[0]):
            known = [group, *(f"{group}.{name[2:]}" for name in known)]
        return messages.no_such_option(option, known)


def answer_help(arguments: list[str], linked: Mapping[str, Iterable[str]]) -> None:
    """Prints the help of `--ROLE.help [NAME]` and exits, if the command line has this option.

    Args:
        arguments: the command line.
        linked: the arguments that other parts determine, by role.
    """
    for i, argument in enumerate(arguments):
        option, _, name = argument.partition("=")
        role = option.removeprefix("--").removesuffix(".help")
        if not option.endswith(".help") or ALSO.get(role, role) not in ROLES:
            continue
        name = name or "".join(arguments[i + 1 : i + 2])
        if "." in name:
            name = own_class(name, ROLES[ALSO.get(role, role)], option).__name__
        follows = ["dim", *linked.get(role, ())]
        describe = partial(describe_arguments, width=text_width())
        text = explain(role, name, follows, describe) if name else None
        if not name:
            text = help_text([ALSO.get(role, role)])
        if text is not None:
            print(text, end="")
            raise SystemExit(0)
        listed = ", ".join(entry.name for entry in entries(ROLES[ALSO.get(role, role)]))
        raise InputError(f"{option}: unknown class '{name}'; known are {listed}")


def joined(arguments: list[str]) -> list[str]:
    """Joins several values of an option of a part, and any names of a list of parts, to one list.

    Example:
        >>> joined(["--data.image_size", "28", "20", "--loggers", "CSVLogger"])
        ['--data.image_size', '[28, 20]', '--loggers', '[CSVLogger]']
    """
    found: list[str] = []
    for option, values in grouped(arguments):
        name, equals, value = option.removeprefix("--").partition("=")
        listed = name in LISTS or _takes_names(name)
        if listed and not values and _is_name(value):
            option = f"--{name}{equals}[{value}]"
        of_part = name.split(".")[0] in ROLES and "." in name
        several = len(values) > 1 and (of_part or name in LISTS)
        several = several or listed and any(map(_is_name, values))
        found += [option, f"[{', '.join(values)}]"] if several else [option, *values]
    return found


def _takes_names(option: str) -> bool:
    """Whether an argument of a part, such as `program.attributes`, is a list of names."""
    role, _, argument = option.partition(".")
    base = ROLES.get(ALSO.get(role, role))
    found = [inspect.signature(part).parameters for part in (concrete(base) if base else [])]
    kinds = [str(own[argument].annotation) for own in found if argument in own]
    return bool(kinds) and all(kind.endswith("Sequence[str]") for kind in kinds)


def _is_name(value: str) -> bool:
    return value.replace(".", "").isidentifier() and value != "null"


def taken(option: str, arguments: list[str]) -> tuple[list[str], list[str]]:
    """The values of an option on an unparsed command line, and the other arguments.

    Example:
        >>> taken("--config", ["--config", "mnist", "--prior=Laplace", "--config=a.yaml"])
        (['mnist', 'a.yaml'], ['--prior=Laplace'])
    """
    values: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name != option:
            others.append(argument)
        elif equals:
            values.append(value)
        elif following := next(rest, ""):
            values.append(following)
        else:
            others.append(argument)
    return values, others


def value_of(option: str, arguments: list[str]) -> str | None:
    """The last value of an option on an unparsed command line; None if it is not there."""
    values, _ = taken(option, arguments)
    return values[-1] if values else None


def _path(keys: list[str]) -> str:
    """The path of an option from the keys of nested parsers; an inner one may be the whole path.

    Example:
        >>> _path(["encoder", "init_args"]), _path(["trainer", "trainer.epochs"])
        ('encoder.init_args', 'trainer.epochs')
    """
    path = ""
    for key in dict.fromkeys(keys):
        path = key if not path or key.startswith(f"{path}.") else f"{path}.{key}"
    return path


def _owner(argument: str) -> str:
    """The full option of a missing argument, from the parts that the command line names."""
    words = [word for given in sys.argv[1:] for word in given.split("=", 1)]
    for option, named in dict(itertools.pairwise(words)).items():  # The last class counts.
        role, missing = option.removeprefix("--"), f"{option}.{argument}"
        base = ROLES.get(ALSO.get(role, role))
        for part in concrete(base) if base and missing not in words else []:
            names = (part.__name__, f"{part.__module__}.{part.__qualname__}")
            if named in names and argument in inspect.signature(part).parameters:
                return missing
    return argument


def options_given(arguments: list[str], names: Collection[str]) -> Iterator[tuple[list[str], str]]:
    """Yields the options on a command line that set these parts and groups: path and value."""
    for i, argument in enumerate(arguments):
        option, given, text = argument.partition("=")
        path = option.removeprefix("--").rstrip("+").split(".")
        if not option.startswith("--") or path[-1] == "help" or path[0] not in names:
            continue
        if not given and i + 1 < len(arguments) and not arguments[i + 1].startswith("--"):
            given, text = "=", arguments[i + 1]
        if given:
            yield [name for name in path if name not in (*INNER, "class_path")], text


def lost_option(config: dict[str, Any], path: list[str], text: str) -> list[str]:
    """The path of an option, or of an argument in its mapping, that was not parsed; else empty."""
    if not is_stated(config, path):
        return path
    given = mapping_of(text)
    inner = {name: value for key in INNER for name, value in (given.get(key) or {}).items()}
    names = inner if "class_path" in given or inner else given
    return next(([*path, name] for name in names if not is_stated(config, [*path, name])), [])


def is_stated(config: dict[str, Any], path: list[str]) -> bool:
    """Whether a parsed configuration has a value at the path of an option.

    An option below a list belongs to one of its parts, and is not looked for.
    """
    node: Any = config
    for name in path:
        if isinstance(node, list):
            return True
        if isinstance(node, dict) and "class_path" in node:
            node = {**(node.get("init_args") or {}), **(node.get("dict_kwargs") or {})}
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return True
