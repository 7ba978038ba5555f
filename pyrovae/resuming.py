"""The options of a run that goes on: what they were, and which of them may change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from pyrovae.checkpoint import RunDirectory, load_checkpoint
from pyrovae.errors import InputError
from pyrovae.parsing import Parser, read_yaml

__all__ = ["check_kept", "config_text", "read_config", "stated_config"]


def read_config(run: RunDirectory) -> dict[str, Any]:
    """The configuration of a run, as plain values.

    Raises:
        InputError: if there is no run, or its configuration cannot be read.
    """
    run.check_run()
    return read_yaml(run.config)


def config_text(parser: Parser, config: Namespace) -> str:
    """The YAML of a configuration, without where it runs."""
    kept = config.clone()
    for name in ("run_dir", "resume", "config"):
        kept.pop(name, None)
    return parser.dump(kept, skip_unset=False)


def stated_config(run: RunDirectory) -> str:
    """The YAML that a run's last checkpoint was made with; `config.yaml` may be edited since.

    Raises:
        InputError: if there is no run, or its configuration or last checkpoint cannot be read.
    """
    read_config(run)
    return load_checkpoint(run.last)[1].get("config") or run.config.read_text()


def check_kept(parser: Parser, stated: str, new: Namespace, run: RunDirectory) -> None:
    """Raises `InputError` if a configuration differs from a run's in more than a longer training.

    Args:
        parser: from `train_parser`.
        stated: the YAML of the run's configuration.
        new: the configuration to go on with.
        run: the run.
    """
    try:
        old = parser.parse_object(yaml.safe_load(stated))
    except (yaml.YAMLError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{run.last}: the configuration in it is no YAML of a run") from None
    if new.run_dir is not None and Path(new.run_dir).resolve() != run.root.resolve():
        raise InputError(f"--run_dir: a resumed run stays where it is, in {run.root}")
    before, after = (_flat(parser, config) for config in (old, new))
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    if refused := sorted(changed - {"trainer.epochs"}):
        raise InputError(
            f"--{refused[0]}: a resumed run keeps its options; only --trainer.epochs may change"
        )
    if new.trainer.epochs < old.trainer.epochs:
        raise InputError(
            f"--trainer.epochs: a resumed run may be lengthened, not cut from "
            f"{old.trainer.epochs} to {new.trainer.epochs}"
        )


def _flat(parser: Parser, config: Namespace) -> dict[str, Any]:
    def walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                name = key if key not in ("class_path", "init_args") else ""
                yield from walk(inner, f"{path}.{name}" if path and name else path or name)
        else:
            yield path, value

    return dict(walk(yaml.safe_load(config_text(parser, config)), ""))
