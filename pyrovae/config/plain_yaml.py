"""Reads YAML of options as plain values within limits; a hostile file gives a one-line error."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from pyrovae.utils.errors import InputError
from pyrovae.utils.text import cut

__all__ = ["TooLarge", "parse_yaml", "plain_text", "read_yaml"]

MAX_BYTES = 50_000
MAX_DEPTH = 40
MAX_VALUES = 5_000  # An alias counts as many values as it expands to.
MAX_TEXT = 4_000
MAX_DIGITS = 300

TAGS = {f"tag:yaml.org,2002:{name}" for name in "null bool int float str seq map merge".split()}


class NotPlain(yaml.YAMLError):
    """YAML with tags, duplicate keys or characters that are not allowed."""


class TooLarge(InputError):
    """YAML that exceeds the limits of size, depth or number of values."""


class PlainLoader(yaml.SafeLoader):
    """A loader of plain values: no objects, no recursion, no duplicate keys, limited in size."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.count = 0
        self.sizes: dict[str, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Composes a node; counts its depth and its values."""
        event, before = self.peek_event(), self.count
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self.sizes:
                raise TooLarge(f"the value &{event.anchor} contains itself")
            self.count += self.sizes.get(event.anchor, 0)
        self.depth, self.count = self.depth + 1, self.count + 1
        if self.depth > MAX_DEPTH:
            raise TooLarge(f"is nested more than {MAX_DEPTH} levels deep")
        if self.count > MAX_VALUES:
            raise TooLarge(f"holds more than {MAX_VALUES:,} values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        if not isinstance(event, yaml.AliasEvent) and event.anchor is not None:
            self.sizes[event.anchor] = self.count - before
        _check_node(node)
        return node


# Options take a date as text, and an impossible date would raise an error without a line number.
PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _check_node(node: Any) -> None:
    """Raises `yaml.YAMLError` if a node is not a plain value."""
    where = f"line {node.start_mark.line + 1}"
    if node.tag not in TAGS:
        raise NotPlain(f"{where}: the tag {cut(node.tag)} is not allowed, only plain values are")
    if isinstance(node, yaml.MappingNode):
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, times in keys.most_common(1):
            if times > 1:
                raise NotPlain(f"{where}: duplicate key {cut(key)}")
    if not isinstance(node, yaml.ScalarNode):
        return
    limit = MAX_DIGITS if node.tag.endswith((":int", ":float")) else MAX_TEXT
    if len(node.value) > limit:
        length = len(node.value)
        raise TooLarge(f"{where}: a value has {length:,} characters, allowed are {limit:,}")
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in node.value):
        raise NotPlain(f"{where}: a value holds a character that is not allowed in text")


def parse_yaml(text: str, source: str) -> Any:
    """Parses a YAML text into plain values.

    Args:
        text: the YAML.
        source: its file or option, for messages.

    Raises:
        InputError: if the text is not YAML, holds more than plain values, or is too large.
    """
    if len(text) > MAX_BYTES:
        raise TooLarge(f"{source}: not a configuration: it has more than {MAX_BYTES:,} bytes")
    try:
        loader = PlainLoader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except NotPlain as error:
        raise InputError(f"{source}: not a configuration: {error}") from None
    except TooLarge as error:
        raise TooLarge(f"{source}: not a configuration: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{source}: not valid YAML ({_where(error)})") from None


def _where(error: Exception) -> str:
    """The line of a file that is not YAML, and what is wrong in it."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return cut(error)
    began = error.context_mark
    within = f", {error.context} from line {began.line + 1}" if error.context and began else ""
    return cut(f"line {error.problem_mark.line + 1}{within}: {error.problem}")


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file of options.

    Raises:
        InputError: if the file does not exist, is not YAML, or holds no options.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid YAML ({cut(error)})") from None
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise InputError(f"{path}: {_missing(content, text)}")
    return content


def _missing(content: Any, text: str) -> str:
    """Why a file holds no options. A run that cannot be written down has a comment."""
    if content is None and text.lstrip().startswith("#"):
        first = cut(text.strip().splitlines()[0])
        return (
            f"holds comments only ({first}). For a run made from Python, build its VAE again "
            'and load its weights with vae.load_state_dict(RunDirectory(folder).weights("best"))'
        )
    what = "is empty" if content is None else f"holds a {type(content).__name__}"
    return f"{what}; allowed is a mapping of options, such as trainer: {{epochs: 2}}"


def plain_text(content: dict[str, Any]) -> str:
    """Returns plain values as one line of YAML that every YAML reader understands alike.

    The line is longer than any file name, so that the parser does not take it for a path.
    """
    text = yaml.safe_dump(content, default_flow_style=True, width=10**9, sort_keys=False)
    return str(text).strip() + 300 * " "
