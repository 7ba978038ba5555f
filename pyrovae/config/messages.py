"""Turns jsonargparse's messages into one line each that a user can act on."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Collection, Sequence
from typing import Any

from pyrovae.config.catalogue import concrete, entries
from pyrovae.config.elsewhere import known_elsewhere
from pyrovae.config.naming import is_known, loaded_class
from pyrovae.config.roles import ALSO, BASES, LINKED, LISTS, ROLES
from pyrovae.utils.text import closest, cut

OWN = "name your own by its dotted path, such as my_module.MyClass"


def known_parts(option: str) -> str:
    """The names that an option of a role allows, for messages."""
    name = option.lstrip("-")
    if name == "optimizer":
        return f"known are the classes of torch.optim; {OWN}"
    names = _names(name)
    listed = f"known are {', '.join(names)}; " if names else ""
    return f"{listed}{OWN}"


def _names(role: str) -> list[str]:
    """The names of the parts of a role; none if it is not a role."""
    base = ROLES.get(ALSO.get(role, role))
    return [entry.name for entry in entries(base)] if base else []


def not_a_part(text: Any, option: str) -> str:
    """Why a text does not name a part."""
    if str(text).startswith("{"):
        return f"'{cut(text)}' is not a mapping that YAML can read"
    close = known_elsewhere(str(text)) or closest(str(text), _names(option.lstrip("-")))
    return f"unknown class '{cut(text)}'{close}; {known_parts(option)}"


def no_such_option(option: str, known: Collection[str]) -> str:
    """The error of an option that does not exist, with the parts that have it or a close option.

    Args:
        option: as it was typed, with its role or group.
        known: the options that exist there; parts are named if their role is among them.
    """
    role, _, argument = option.removeprefix("--").rpartition(".")
    linked = {f"--{role}.{name}" for name in LINKED.get(role, ())}
    owners = _owners(role) if f"--{role}" in known else {}
    having, hint = sorted(owners.get(argument, ())), ""
    if elsewhere := known_elsewhere(argument):
        return f"{cut(option)}: no such option{elsewhere} (see --help)"
    if not role and (ends := _ending_in(argument, known)):
        hint = f"; did you mean {' or '.join(ends)}?"
    elif close := _close(option, set(known) - linked - {f"--{role}"}):
        hint = f"; did you mean {close}?{f' {_have(having)} {option}' if having else ''}"
    elif having:
        hint = f"; {_have(having)} it"
    elif others := difflib.get_close_matches(argument, owners, n=1):
        named = ", ".join(sorted(owners[others[0]]))
        hint = f"; did you mean --{role}.{others[0]} of {named}?"
    return f"{cut(option)}: no such option{hint} (see --help)"


def _have(names: Sequence[str]) -> str:
    return f"{', '.join(names)} {'have' if names[1:] else 'has'}"


def _owners(role: str) -> dict[str, list[str]]:
    """The parts of a role that have an argument, by its name, without linked arguments."""
    base = (ROLES | BASES).get(ALSO.get(role, role))
    owners: dict[str, list[str]] = {}
    for part in concrete(base) if base else []:
        for name, parameter in inspect.signature(part).parameters.items():
            several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if not several and name not in LINKED.get(role, ()):
                owners.setdefault(name, []).append(part.__name__)
    return owners


def _ending_in(name: str, known: Collection[str]) -> list[str]:
    """The options of groups and parts whose last word was typed alone, such as `--lr`."""
    roles = [role for role in BASES if f"--{role}" in known and name in _owners(role)]
    return [own for own in known if own.endswith(f".{name}")] + [f"--{r}.{name}" for r in roles]


def _close(option: str, known: Collection[str]) -> str:
    """The option that is closest to a mistyped one, of its group if there is one; else empty."""
    group, _, name = option.rpartition(".")
    start = f"{group}."
    inside = {own.removeprefix(start): own for own in known if group and own.startswith(start)}
    if not inside:
        return next(iter(difflib.get_close_matches(option, known, n=1)), "")
    ends = [own for own in inside if own.endswith(f"_{name}")]
    near = ends if len(ends) == 1 else difflib.get_close_matches(name, inside, n=1)
    return next((inside[own] for own in near), "")


# Each of the following reads one kind of jsonargparse's messages for an option, and returns an
# empty text for other kinds. Their order counts: an early one knows more of its kind.


def error_of_argument(message: str, where: str) -> str:
    """The error of an argument that is named without its part."""
    found = re.match(r'Parser key "([^"]+)":[^-]*?(?:\n\s*- |\s*)--([\w.]+)(.*)', message)
    if not found:
        return ""
    whole = f".{found[1]}." in f".{found[2]}."
    return f"--{found[2] if whole else f'{found[1]}.{found[2]}'}{found[3]}"


def unknown_class(message: str, where: str) -> str:
    """The error of a class that does not exist."""
    found = re.search(r"Expected a dot import path string: (.*)", message)
    if not found:
        return ""
    if "- Expected a <class 'float'>" in message:  # A number or a tensor.
        return f"{where}: {_expected('float', found[1])}"
    return f"{where}: {not_a_part(found[1], where)}"


def list_error(message: str, where: str) -> str:
    """The error of an option that takes a list of parts."""
    if where.lstrip("-") not in LISTS:
        return ""
    if found := re.search(r"Expected an? \S* ?'?list\S*\. Got value: (.*)", message):
        if (name := cut(found[1])) == "None":
            return f"{where}: is a list; {where}=[] is an empty one"
        return f"{where}: write {where}+={name} to add one, or {where}=[{name}] for a new list"
    return ""


def abstract_class(message: str, where: str) -> str:
    """The error of a class of the user that lacks methods of its base class."""
    found = re.search(r"instantiatable class, but (\S+) is abstract", message)
    own = loaded_class(found[1]) if found else None
    if found is None or own is None or is_known(own):
        return ""
    lacking = ", ".join(sorted(own.__abstractmethods__))  # type: ignore[attr-defined]
    return f"{where}: {cut(found[1])} is abstract: it must define {lacking}"


def wrong_type(message: str, where: str) -> str:
    """The error of a value of another type, or of an option below a plain value."""
    if found := re.search(r"Got value: NestedArg\(key='([^']+)'", message):
        return no_such_option(f"{where}.{found[1]}", [where])
    found = re.search(r"Expected an? (.*)\. Got value: (.*)", message)
    return f"{where}: {_expected(found[1], found[2])}" if found else ""


def no_annotation(message: str, where: str) -> str:
    """The error of an argument of the user's class that has no type."""
    found = re.search(r"Parameter '(\w+)' from '([\w.]+)' does not specify", message)
    needs = "needs a type annotation"
    return f"{where}: the argument {found[1]} of {found[2]} {needs}" if found else ""


def not_imported(message: str, where: str) -> str:
    """The error of a module that cannot be imported."""
    found = re.search(r"given class_path '([^']+)':\s*\n\s*(.*)", message)
    if not found:
        return ""
    hint = " (looked for in this directory too)" if found[2].startswith("No module") else ""
    return f"{where}: '{cut(found[1])}' cannot be imported: {cut(found[2])}{hint}"


def first_reason(message: str, where: str) -> str:
    """The first of the reasons that jsonargparse lists."""
    reasons = _reasons(message)
    if not reasons:
        return ""
    if reasons[0].endswith("is abstract"):
        return f"{where}: name a class first; {known_parts(where)}"
    nested = re.search(r"NestedArg\(key='([\w.]+)', val=(.*)\)", message)
    kind = re.match(r"Expected (?:an? )?(.*)", reasons[0])
    if nested and kind:
        given = nested[2].strip("'")
        return f"{where}.{nested[1]}: {_expected(kind[1], given)}"
    if kind and (value := re.search(r"Given value: (.*)", message)):
        return f"{where}: {_expected(kind[1], value[1])}"
    return cut(reasons[0])


def _readable(expected: str) -> str:
    """The name of a type, from the way jsonargparse prints it."""
    words = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", expected)
    words = {"Sequence": "a list, such as [1, 2]", "bool": "true or false"}.get(words, words)
    return re.sub(r"(?:typing\.)?Literal\[(.*)\]", r"one of \1", words)


def _expected(kind: str, given: str) -> str:
    """What is allowed, and what was given; the parser reads words such as `nan` as text."""
    allowed = _readable(kind)
    if "float" in allowed and given.lower().lstrip("+-.") in ("nan", "inf", "infinity"):
        allowed = "a finite number"
    if "Mapping" in allowed:
        allowed = "a mapping such as '{name: 2}'"
    return f"expected {allowed}, got {cut(given)}"


def _reasons(message: str) -> list[str]:
    """The reasons in jsonargparse's message, without those about types that did not match."""
    listed = re.findall(r"^\s*- (.*)$", message, re.MULTILINE)
    noise = ("Does not validate", "Expected a path", "Expected a <class 'NoneType'>")
    return [reason.strip() for reason in listed if not reason.startswith(noise)]
