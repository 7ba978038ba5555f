"""Advice: options to change, as a command line or as Python, and the expected effect."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyrovae.runs.directory import RunDirectory
from pyrovae.utils.plain import flat, spelled

__all__ = ["Advice", "Options"]


class Options:
    """The options of a run by their names on the command line.

    Args:
        nested: the content of `config.yaml`; empty for unknown options.

    Example:
        >>> prior = {"class_path": "pyrovae.StandardNormal", "init_args": {"latent_dim": 32}}
        >>> options = Options({"prior": prior})
        >>> options.part("prior"), options.get("prior.latent_dim"), options.get("beta.value", 1.0)
        ('StandardNormal', 32, 1.0)
    """

    def __init__(self, nested: Mapping[str, Any] | None = None) -> None:
        self.values = flat(nested or {})

    def part(self, role: str) -> str:
        """The name of the class in a role; empty if unknown."""
        return str(self.values.get(role) or "").rpartition(".")[2]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an option; the default if it is unknown or null."""
        value = self.values.get(name)
        return default if value is None else value

    def has(self, changes: Mapping[str, Any]) -> bool:
        """Whether the run has these options already; false for no options.

        Example:
            >>> Options({"prior": "pyrovae.FlowPrior"}).has({"prior": "FlowPrior"})
            True
        """
        known = {
            name: self.part(name) if isinstance(value, str) else self.values.get(name)
            for name, value in changes.items()
        }
        return bool(known) and known == dict(changes)

    def __contains__(self, name: str) -> bool:
        return name in self.values


@dataclass(frozen=True)
class Advice:
    """One thing to try.

    Attributes:
        text: what to do, as an imperative sentence without a full stop.
        changes: the options to change, by their names on the command line, and their new values.
        effect: what it should change and by how much, as a sentence without a full stop.
        resumes: whether the run continues with its weights; otherwise a new run begins.
    """

    text: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    effect: str = ""
    resumes: bool = False

    def command(self, run: str) -> str:
        """The command line that follows the advice; empty if no option changes.

        Example:
            >>> Advice("Use a learned prior", {"prior": "FlowPrior"}).command("runs/a")
            'pyrovae train --config runs/a/config.yaml --prior FlowPrior --run_dir runs/a-next'
        """
        if not self.changes:
            return ""
        changes = [f"--{name} {_word(value)}" for name, value in self.changes.items()]
        if self.resumes:
            words = ["pyrovae train --resume", shlex.quote(run), *changes]
        else:
            config, other = shlex.quote(f"{run}/config.yaml"), shlex.quote(f"{run}-next")
            words = ["pyrovae train --config", config, *changes, "--run_dir", other]
        return RunDirectory(run).with_trust(" ".join(words))

    def python(self) -> str:
        """The same changes as Python constructors; empty if no option changes.

        Example:
            >>> Advice("", {"prior": "FlowPrior", "trainer.epochs": 40}).python()
            'prior=FlowPrior(...), Trainer(epochs=40)'
            >>> Advice("", {"beta.schedule": "Warmup", "prior.latent_dim": 64}).python()
            'Beta(schedule=Warmup()), latent_dim=64'
        """
        return ", ".join(_constructors(self.changes))


#: The classes of options that are not parts.
CLASSES = {"trainer": "Trainer", "beta": "Beta", "optimizer": "optimizer=partial"}


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        names = all(isinstance(own, str) for own in value)
        return " ".join(value) if names else shlex.quote(str(list(value)).replace(" ", ""))
    return f"{value:g}" if isinstance(value, float) else shlex.quote(spelled(value))


def _constructors(changes: Mapping[str, Any]) -> list[str]:
    parts: dict[str, list[str]] = {}
    for name, value in changes.items():
        role, _, argument = name.partition(".")
        own = parts.setdefault(role, [])
        if argument:
            own.append(f"{argument}={_made(value)}")
    found = []
    for role, arguments in parts.items():
        if role == "prior" and role not in changes:  # An argument of `VAE.for_images`.
            found += arguments
            continue
        inside = ", ".join([*arguments, *([] if role in CLASSES else ["..."])])
        head = CLASSES.get(role) or f"{role}={changes.get(role, role.capitalize())}"
        found.append(f"{head}({inside})")
    return found


def _made(value: Any) -> str:
    """An argument in Python: parts, such as `Warmup`, are called."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_made, value))}]"
    part = isinstance(value, str) and value.isidentifier() and value[0].isupper()
    return f"{value}()" if part else repr(value)
