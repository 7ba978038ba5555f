"""The options of a resumed run: the stored ones, and which of them may change."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from pyrovae.config.parsing import Parser
from pyrovae.config.roles import LISTS
from pyrovae.config.trust import Consent
from pyrovae.runs.checkpoint import load_checkpoint
from pyrovae.runs.directory import RunDirectory
from pyrovae.runs.free import is_place
from pyrovae.utils.errors import InputError
from pyrovae.utils.plain import flat, from_yaml

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
    return parser.dump(kept, skip_unset=False, skip_validation=True)  # It was parsed.


def stated_config(run: RunDirectory, consent: Consent) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configurations in a run's last checkpoint, and in `config.yaml`, if edited since.

    Raises:
        InputError: if there is no run, if its configuration or its last checkpoint cannot be
            read, or if one of them names a class that is not allowed.
    """
    content = read_config(run, consent)
    if run.shared.is_file():
        raise InputError(
            f"{run.shared}: holds weights only, which cannot be resumed; --init_from {run.root} "
            "starts a new run from them"
        )
    stated = load_checkpoint(run.last)[1].get("config")
    return consent.parse(stated, str(run.last)) if stated else content, content


def check_kept(
    parser: Parser,
    stated: dict[str, Any],
    new: Namespace,
    run: RunDirectory,
    written: dict[str, Any],
) -> None:
    """Raises `InputError` if a resumed run would change an option that must stay.

    The number of epochs may grow. The place of the data, the engine, callbacks and loggers may
    change; a table of attributes keeps its file name, and its content is not compared.

    Args:
        parser: from `train_parser`.
        stated: the stored configuration of the run.
        new: the configuration to resume with.
        run: the run directory.
        written: the content of the run's `config.yaml`.
    """
    old = parser.parse_object(stated)
    if new.run_dir is not None and Path(new.run_dir).resolve() != run.root.resolve():
        raise InputError(f"--run_dir: a resumed run stays in its directory, {run.root}")
    before, after = (_flat(parser, config) for config in (old, new))
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    # The run has the numbers in place of "auto", and its images are checked anyway.
    changed -= {f"data.{name}" for name in FOUND if after.get(f"data.{name}") == "auto"}
    if refused := sorted(k for k in changed if not _may_change(k, before.get(k), after.get(k))):
        _check_same(run, before, _flat(parser, parser.parse_object(written)), refused)
        raise InputError(
            f"--{refused[0]}: a resumed run keeps its options; only --trainer.epochs, --loggers, "
            "--engine and the location of the data (--data.root, --data.attributes by the "
            f"same file name, --data.cache_dir) may change. --init_from {run.root} starts a new "
            "run from its weights"
        )
    if new.trainer.epochs < old.trainer.epochs:
        raise InputError(
            f"--trainer.epochs {new.trainer.epochs}: a resumed run takes {old.trainer.epochs} "
            "epochs, as before, or more"
        )


def _check_same(
    run: RunDirectory, before: dict[str, Any], stored: dict[str, Any], options: list[str]
) -> None:
    """Raises `InputError` if the checkpoint and `config.yaml` differ in one of these options."""
    others = [key for key in options if stored.get(key) != before.get(key)]
    if others:
        raise InputError(
            f"{run.last} and {run.config} do not belong to the same run, or one was edited: "
            f"they differ in --{others[0]} ({before.get(others[0])} and "
            f"{stored.get(others[0])})"
        )


def _may_change(key: str, before: Any, after: Any) -> bool:
    role = key.partition(".")[0]
    # Callbacks and loggers do not affect training; an engine only its speed and rounding.
    if key == "trainer.epochs" or role in LISTS or role == "engine":
        return True
    if key in ("data.attributes", "data.table"):  # It may move with the images.
        return Path(str(before)).name == Path(str(after)).name
    return is_place(key)


def _flat(parser: Parser, config: Namespace) -> dict[str, Any]:
    return flat(from_yaml(config_text(parser, config)))
