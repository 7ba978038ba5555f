"""The text of `--help`: examples, the options with their defaults, then all parts."""

from __future__ import annotations

import re
import shutil
import textwrap
from argparse import SUPPRESS, Action
from collections.abc import Iterator
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from pyrovae.config.catalogue import help_text
from pyrovae.config.roles import ALSO, LISTS, ROLES
from pyrovae.utils.plain import spelled

__all__ = ["EXAMPLES", "describe_arguments", "full_help", "needed", "text_width"]

#: Example command lines of each command.
EXAMPLES = {
    "pyrovae train": (
        "",
        "--config celeba --data.root data/celeba",
        "--data ImageFolder --data.root my/photos --run_dir runs/photos",
        "--prior VampPrior --prior.num_components 50 --likelihood DiscretizedLogistic",
        "--resume runs/photos --trainer.epochs 80",
    ),
    "pyrovae evaluate": (
        "runs/photos",
        "runs/photos --compare runs/other --out comparison",
        "runs/photos --num_samples 500 --evidence_images 50",
        "runs/photos --sections elbo latents",
        "runs/photos --features Inception --sections samples",
    ),
    "pyrovae inspect": (
        "runs/photos",
        "runs/photos --quick",
        "runs/photos --images me.jpg test:12 --sections posterior typical",
        "runs/photos --checkpoint last --split val",
        "runs/photos --latents latents.csv",
    ),
    "pyrovae explore": (
        "runs/photos",
        "runs/photos --images me.jpg test:12",
        "runs/photos --split val --num_images 5000",
        "runs/photos --host 0.0.0.0 --port 8000 --no_browser",
        "runs/photos --export explore.html",
    ),
    "pyrovae sample": (
        "runs/photos --num 64 --out samples.png",
        "runs/photos --reconstruct test",
        "runs/photos --reconstruct me.jpg you.jpg",
        "runs/photos --interpolate test:0 test:7",
        "runs/photos --traverse 0 5 9 --image me.jpg",
    ),
    "pyrovae prepare": (
        "--config celeba",
        "--data ImageFolder --data.root my/photos",
        "--data CelebA --data.root data/celeba --data.image_size 128",
        "--data TorchvisionImages --data.name MNIST --data.root data --data.download true",
        "--data StaticMNIST --data.path data/static_mnist",
    ),
}
WORDS = {int: "INT", float: "FLOAT", str: "TEXT"}
COLUMN = 30


def text_width() -> int:
    """The width of help texts, in characters."""
    return min(shutil.get_terminal_size().columns, 110)


def full_help(
    parser: ArgumentParser, needed: list[str], stated: dict[str, Any], width: int
) -> str:
    """Returns the help of a command.

    Args:
        parser: the parser of the command.
        needed: what a command line must hold, from `needed`.
        stated: the content of the preset that applies; its values are shown as the defaults.
        width: the width of the text, in characters.
    """
    head = [f"usage: {' '.join([parser.prog, *needed])} [options]"]
    if examples := EXAMPLES.get(parser.prog):
        lines = [f"  {parser.prog} {example}".rstrip() for example in examples]
        head.append("\n".join(["examples:", *lines]))
    if parser.description:
        head.append(textwrap.fill(parser.description, width))
    used = [role for role in ROLES if role.split(".")[0] in _options(parser)]
    parts = [help_text(used, width)] if "data" in used else []
    return "\n\n".join([*head, *_groups(parser, stated, width), *parts]).rstrip() + "\n"


def describe_arguments(parser: ArgumentParser, option: str, width: int) -> str:
    """The help of a part's arguments: the options below one option, such as "prior"."""
    below = [action for action in parser._actions if action.dest.startswith(f"{option}.")]
    lines = [_line(action, {}, width) for action in below if _is_shown(action, parser)]
    return "\n".join(lines or ["no arguments"]) + "\n"


def _groups(parser: ArgumentParser, stated: dict[str, Any], width: int) -> Iterator[str]:
    """Yields one block of lines per group of options."""
    titles: dict[str, list[str]] = {}
    for group in parser._action_groups:
        for action in group._group_actions:
            if _is_shown(action, parser):
                title = "parts" if _is_part(action) and "." not in action.dest else group.title
                titles.setdefault(title or "options", []).append(_line(action, stated, width))
    for title, lines in titles.items():
        # A title is the first line of a docstring: its formula is left out.
        yield "\n".join([re.sub(r":[^:]*\$.*", "", title) + ":", *lines])


def _line(action: Action, stated: dict[str, Any], width: int) -> str:
    """The lines of one option: its name, what it is, its default."""
    # `--OPTION+ VALUE` appends to a list: one name is enough to read.
    options = [option for option in action.option_strings if not option.endswith("+")]
    name = ", ".join(options) or action.dest.upper()
    head = f"  {name} {_value(action)}".rstrip()
    about = "print the configuration and exit" if name == "--print_config" else action.help or ""
    default = _default(action, stated)
    # A flag without a value is off unless it is given.
    hidden = default in (None, "") or action.nargs == 0
    spelling = spelled(default) if isinstance(default, bool) else default
    shown = "" if hidden else f" (default: {spelling})"
    if action.required and action.option_strings:
        shown = " (required)"
    about = about if about.endswith("...") else about.removesuffix(".")
    text = " ".join(about.split()) + shown
    indent = " " * COLUMN
    lines = textwrap.wrap(text, width - COLUMN, break_on_hyphens=False)
    if len(head) < COLUMN - 1:
        return "\n".join([f"{head:{COLUMN}}{lines[0]}", *(indent + line for line in lines[1:])])
    return "\n".join([head, *(indent + line for line in lines)])


def _default(action: Action, stated: dict[str, Any]) -> Any:
    value: Any = stated
    for key in action.dest.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        value = None if action.default is SUPPRESS else action.default
    if value is None or not _is_part(action):
        return value or None if isinstance(value, tuple) else value
    named = value if isinstance(value, list | tuple) else [value]
    paths = (part["class_path"] if isinstance(part, dict | Namespace) else part for part in named)
    return ", ".join(path.rpartition(".")[-1] for path in paths) or None


def _value(action: Action) -> str:
    """The placeholder for the value of an option."""
    if action.nargs == 0 or not action.option_strings or action.dest == "print_config":
        return ""
    hint = getattr(action, "_typehint", None) or action.type or str
    several = " ..." if "Sequence[" in str(hint) else ""
    if _is_part(action):
        return "[NAME, ...]" if action.dest in LISTS else f"NAME{several}"
    if str(action.metavar).startswith("{"):
        return str(action.metavar)
    word = next((word for kind, word in WORDS.items() if kind.__name__ in str(hint)), "TEXT")
    if "Mapping[" in str(hint):
        return f"'{{NAME: {word}}}'"
    return (
        " ".join([word] * action.nargs)
        if isinstance(action.nargs, int)
        else (f"{word} ..." if action.nargs == "+" else f"{word}{several}")
    )


def _is_part(action: Action) -> bool:
    """Whether an option names a class."""
    return ALSO.get(action.dest, action.dest) in (*ROLES, "optimizer")


def _is_shown(action: Action, parser: ArgumentParser) -> bool:
    """Whether the help shows an action: not a link, a whole group, or the help of a part."""
    options = action.option_strings
    linked = bool(options) and not options[0].startswith("-")
    group = any(name.startswith(f"{action.dest}.") for name in _options(parser))
    hidden = action.help == SUPPRESS or action.dest.endswith(".help")
    return not linked and not group and not hidden


def _options(parser: ArgumentParser) -> list[str]:
    """The names of all options except `--ROLE.help`."""
    return [action.dest for action in parser._actions if not action.dest.endswith(".help")]


def needed(parser: ArgumentParser) -> list[str]:
    """What a command line must hold, such as `RUN` and `--out OUT`."""
    actions = [action for action in parser._actions if action.required]
    return [" ".join([*own.option_strings[-1:], own.dest.upper()]) for own in actions]
