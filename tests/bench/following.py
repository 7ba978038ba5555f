"""Follows advice as a user would: by the command line that the report gives."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from pathlib import Path

from pyrovae.commands.train import instantiate, parse_run, train_parser
from pyrovae.inspection.judge.advice import Advice, Options
from pyrovae.utils.errors import InputError
from tests.bench.running import trained

__all__ = ["complaints", "follow"]


def follow(advice: Advice, run: Path, folder: Path) -> Path:
    """The run that follows the advice; trained once."""
    _, command, *arguments = shlex.split(advice.command(str(run)))
    assert command == "train"
    if not advice.resumes:
        place = arguments.index("--run_dir")
        return trained(arguments[:place], folder, f"{run.name}-next")
    changes = hashlib.sha256(repr(arguments).encode()).hexdigest()[:8]
    copy = folder / f"{run.name}-on-{changes}"
    if not copy.exists():
        shutil.copytree(run, copy)
    arguments[arguments.index("--resume") + 1] = str(copy)
    return trained(arguments, folder, copy.name, root=copy)


def complaints(advice: Advice, options: Options, run: Path) -> list[str]:
    """What is wrong with a piece of advice: options in force already, or a refused command."""
    if not advice.changes:
        return []
    found = []
    if all(_in_force(options, name, value) for name, value in advice.changes.items()):
        found.append(f"in force already: {dict(advice.changes)}")
    _, _, *arguments = shlex.split(advice.command(str(run)))
    parser = train_parser()
    try:
        config, _, _ = parse_run(parser, arguments, "default")
        instantiate(parser, config)
    except (InputError, SystemExit) as error:
        found.append(f"refused: {advice.command(run.name)}: {error}")
    return found


def _in_force(options: Options, name: str, value: object) -> bool:
    """Whether the run has that part, or that value."""
    return value in (options.part(name), options.get(name))
