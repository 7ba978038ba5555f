"""The options of a resumed run: the stored ones, and which of them may change."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from pyrovae.config.parsing import Parser
from pyrovae.config.roles import LISTS
from pyrovae.config.trust import Consent
from pyrovae.runs.checkpoint import load_checkpoint
from pyrovae.runs.directory import RunDirectory
from pyrovae.utils.errors import InputError

#: Arguments of data sets for the place of the images. The images themselves are checked anyway.
PLACES = ("root", "path", "cache_dir", "download")

#: Arguments of data sets that may be "auto": the run records what the images determine.
FOUND = ("black", "white")

__all__ = ["check_kept", "config_text", "read_config", "stated_config"]


def read_config(run: RunDirectory, consent: Consent, made: Collection[str] = ()) -> dict[str, Any]:
    """Reads the configuration of a run, as plain values that name allowed classes only.

    Args:
        run: the run directory.
        consent: which classes of the user are allowed.
        made: the options whose parts will be built; by default all.

    Raises:
        InputError: if there is no run, if its configuration cannot be read, or if it names a
            class that is not allowed.
    """
    run.check_run()
    return consent.read(run.config, made)


def config_text(parser: Parser, config: Namespace) -> str:
    """The YAML of a configuration, without the options that only this command line uses."""
    kept = config.clone()
    for name in ("run_dir", "resume", "config", "trust"):
        kept.pop(name, None)
    return parser.dump(kept, skip_unset=False)


def stated_config(run: RunDirectory, consent: Consent) -> dict[str, Any]:
    """The configuration in a run's last checkpoint; `config.yaml` may have been edited since.

    Raises:
        InputError: if there is no run, if its configuration or its last checkpoint cannot be
            read, or if one of them names a class that is not allowed.
    """
    content = read_config(run, consent)
    stated = load_checkpoint(run.last)[1].get("config")
    return consent.parse(stated, str(run.last)) if stated else content


def check_kept(parser: Parser, stated: dict[str, Any], new: Namespace, run: RunDirectory) -> None:
    """Raises `InputError` if a resumed run would change an option that must stay.

    The number of epochs may grow, and the place of the data and the loggers may change.

    Args:
        parser: from `train_parser`.
        stated: the stored configuration of the run.
        new: the configuration to resume with.
        run: the run directory.
    """
    old = parser.parse_object(stated)
    if new.run_dir is not None and Path(new.run_dir).resolve() != run.root.resolve():
        raise InputError(f"--run_dir: a resumed run stays in its directory, {run.root}")
    before, after = (_flat(parser, config) for config in (old, new))
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    # The run has the numbers in place of "auto", and its images are checked anyway.
    changed -= {f"data.{name}" for name in FOUND if after.get(f"data.{name}") == "auto"}
    if refused := sorted(key for key in changed if not _may_change(key)):
        raise InputError(
            f"--{refused[0]}: a resumed run keeps its options; only --trainer.epochs, --loggers "
            "and the place of the data (--data.root, --data.cache_dir) may change"
        )
    if new.trainer.epochs < old.trainer.epochs:
        raise InputError(
            f"--trainer.epochs {new.trainer.epochs}: a resumed run takes {old.trainer.epochs} "
            "epochs, as before, or more"
        )


def _may_change(key: str) -> bool:
    role, _, argument = key.partition(".")
    if key == "trainer.epochs" or role in LISTS:  # Loggers do not affect training.
        return True
    return role == "data" and argument.split(".")[-1] in PLACES


def _flat(parser: Parser, config: Namespace) -> dict[str, Any]:
    def walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                name = key if key not in ("class_path", "init_args") else ""
                yield from walk(inner, f"{path}.{name}" if path and name else path or name)
        else:
            yield path, value

    return dict(walk(yaml.safe_load(config_text(parser, config)), ""))
