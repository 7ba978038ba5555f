"""Builds the array cache ahead of time: `python scripts/prepare_data.py --data CelebA ...`."""

from __future__ import annotations

from pyrovae import ImageData, cli
from pyrovae.data import SPLITS


def main(arguments: list[str]) -> None:
    """Prepares every split, and says how many images each has."""
    parser = cli.Parser(prog="prepare_data.py", description="Prepares a data set for training.")
    parser.add_argument("--config", action="config", help="a YAML file with a data section")
    parser.add_subclass_arguments(ImageData, "data", required=True, help="the data set")
    objects = cli.instantiate(parser, cli.parse(parser, arguments))
    for name in SPLITS:
        split = objects.data.split(name)
        print(f"{name}: {len(split):,} images of {'x'.join(map(str, split.images.shape[1:]))}")


if __name__ == "__main__":
    cli.run_command(main)
