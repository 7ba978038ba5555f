"""Builds the array cache ahead of time: `python scripts/prepare_data.py --data CelebA ...`."""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C ends them without traceback.
    import os
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from pathlib import Path

from pyrovae import ImageData, InputError, cli
from pyrovae.data import SPLITS
from pyrovae.trust import add_trust, consent_of


def main(arguments: list[str]) -> None:
    """Prepares every split, and says how many images each has."""
    parser = cli.Parser(prog="prepare_data.py", description="Prepares a data set for training.")
    parser.add_argument("--config", type=str | None, help="a YAML file with a data section")
    parser.add_subclass_arguments(ImageData, "data", required=False, help="the data set")
    add_trust(parser)
    preset = cli.value_of("--config", arguments)
    if preset is not None:
        content = consent_of(arguments).read(Path(preset))
        parser.set_defaults({"data": content.get("data")})
    config = cli.parse(parser, arguments)
    if config.data is None:
        raise InputError("--data: name a data set, or a --config with a data section")
    objects = cli.instantiate(parser, config)
    for name in SPLITS:
        split = objects.data.split(name)
        print(f"{name}: {len(split):,} images of {'x'.join(map(str, split.images.shape[1:]))}")


if __name__ == "__main__":
    cli.run_command(main)
