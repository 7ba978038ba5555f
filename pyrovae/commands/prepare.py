"""`pyrovae prepare --data NAME`: builds the cache of a data set before training."""

from __future__ import annotations

from pyrovae.config.building import instantiate
from pyrovae.config.options import parse
from pyrovae.config.parsing import Parser, value_of
from pyrovae.config.presets import preset_path
from pyrovae.config.trust import add_trust, consent_of
from pyrovae.data import SPLITS, ImageData
from pyrovae.utils.errors import InputError


def main(arguments: list[str]) -> None:
    """Prepares every split; prints the images per split, and the options that they determine."""
    parser = Parser(prog="pyrovae prepare", description="Prepares a data set for training.")
    parser.add_text("--config", "name of a preset, or a YAML file with a data section")
    parser.add_subclass_arguments(ImageData, "data", required=False, help="data set")
    add_trust(parser)
    preset = value_of("--config", arguments)
    if preset is not None:
        content = consent_of(arguments).read(preset_path(preset))
        parser.files = {preset: content}
        parser.set_defaults({"data": content.get("data")})
    config = parse(parser, arguments)
    if config.data is None:
        raise InputError("--data: must name a data set, unless --config has a data section")
    objects = instantiate(parser, config)
    for name in SPLITS:
        split = objects.data.split(name)
        print(f"{name}: {len(split):,} images of {'x'.join(map(str, split.images.shape[1:]))}")
    if line := objects.data.about():
        print(line)
    for name, value in objects.data.found().items():
        if value is not None:
            print(f"found: --data.{name} {value}")
