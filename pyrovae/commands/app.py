"""The command `pyrovae`: finds a command by its name and runs it.

This module imports nothing slow, so that Ctrl-C, `--version` and an unknown name are answered
before torch is imported.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from contextlib import redirect_stdout, suppress
from functools import partial
from typing import NoReturn

from pyrovae.commands.help_cache import is_kept, kept_help
from pyrovae.utils.pipes import say
from pyrovae.utils.version import __version__

__all__ = ["COMMANDS", "main", "run"]

#: The commands with their descriptions; a module of `pyrovae.commands` has the `main` of each.
COMMANDS = {
    "train": "train a VAE and write a run directory",
    "evaluate": "score a run, or compare several runs",
    "inspect": "write a report on the posterior of a run",
    "explore": "move through the latent space of a run in the browser",
    "sample": "draw samples, reconstructions, interpolations or traversals from a run",
    "fit-prior": "train another prior for the frozen networks of a run",
    "inpaint": "draw completions of an image with missing pixels",
    "export": "write encoder and decoder as files that need only torch",
    "share": "write a run as a folder for a model hub",
    "prepare": "build the cache of a data set before training",
    "list": "list the runs of a folder, the best first",
    "parts": "list all priors, likelihoods, posteriors, networks, objectives and data sets",
}


def main() -> NoReturn:
    """Runs the command that the first argument names."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "--version"):
        say(f"pyrovae {__version__}" if name == "--version" else overview())
        raise SystemExit(0)
    if name not in COMMANDS:
        sys.stderr.write(f"error: {name}: no such command{suggestion(name)}\n")
        raise SystemExit(2)
    run(name, arguments)


def run(name: str, arguments: list[str] | None = None) -> NoReturn:
    """Runs one command and exits with its code.

    Args:
        name: the command, which is a module of `pyrovae.commands`.
        arguments: its command line; by default that of the process.
    """
    exit_on_interrupts()
    given = sys.argv[1:] if arguments is None else arguments
    if is_kept(given) and (text := kept_help(name, given, partial(_help, name, given))):
        say(text.removesuffix("\n"))
        raise SystemExit(0)
    module = importlib.import_module(f"pyrovae.commands.{module_of(name)}")
    from pyrovae.commands.running import run_command

    run_command(module.main, given)


def module_of(name: str) -> str:
    """The module of a command: that of `fit-prior` is `fit_prior`."""
    return name.replace("-", "_")


def _help(name: str, arguments: list[str]) -> str:
    """The text that a command prints for a line that asks for help; empty if it refuses it."""
    module = importlib.import_module(f"pyrovae.commands.{module_of(name)}")
    with redirect_stdout(io.StringIO()) as printed, suppress(ValueError):
        try:
            module.main(arguments)
        except SystemExit as done:
            return "" if done.code else printed.getvalue()
    return ""


def exit_on_interrupts() -> None:
    """Makes Ctrl-C exit with code 130 and no traceback while torch is imported.

    The import takes seconds, and there is nothing to save yet. A process that ignores Ctrl-C
    still ignores it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))


def overview() -> str:
    """The text of `pyrovae --help`."""
    listed = "\n".join(f"  {name:10}{what}" for name, what in COMMANDS.items())
    return (
        "usage: pyrovae COMMAND [options]\n\n"
        "Variational autoencoders of images as Pyro programs.\n\n"
        f"commands:\n{listed}\n\n"
        "`pyrovae COMMAND --help` explains a command; `pyrovae --version` prints the version."
    )


def suggestion(name: str) -> str:
    """A hint for a misspelt command: the closest command, or all commands."""
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"; did you mean {close[0]}?" if close else f"; commands are {', '.join(COMMANDS)}"
