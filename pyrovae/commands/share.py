"""`pyrovae share RUN --out DIR`: weights, options and a model card in one folder for a hub."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from pyrovae.config.building import load_run
from pyrovae.config.options import folder_parser
from pyrovae.config.parsing import Parser
from pyrovae.config.resuming import read_config
from pyrovae.config.roles import PARTS
from pyrovae.config.trust import Consent
from pyrovae.evaluation.earlier import estimates
from pyrovae.evaluation.tables import COLUMNS, score_table
from pyrovae.programs import ModelGuidePair
from pyrovae.runs import RunDirectory, checksum
from pyrovae.runs.checkpoint import state_of
from pyrovae.utils.files import check_new, new_folder
from pyrovae.utils.grids import page, save_png, showing
from pyrovae.utils.randomness import private_randomness
from pyrovae.utils.version import __version__

__all__ = ["main", "public", "write"]

#: Options that say where and how the run was computed, which nobody needs to open it.
LEFT_OUT = ("loggers", "init_from", "engine")
FRONT_MATTER = """\
---
library_name: pyrovae
pipeline_tag: unconditional-image-generation
tags:
- variational-autoencoder
- pyro
- pytorch
---
"""


def parser() -> Parser:
    """The command line of `pyrovae share`."""
    return folder_parser("share", "Writes a run as a folder for a model hub.")


def main(arguments: list[str]) -> None:
    """Writes the folder, and says what to look at before publishing."""
    options = parser().parse_args(arguments)
    out = Path(options.out)
    card = write(options.run, out, options.checkpoint, options.trust)
    print(out)
    if "reconstructions" in card.pictures:
        print("before you publish it: reconstructions.png shows images of the validation split")
    if card.own_parts:
        print("parts/ holds your own modules: check that they may be published")


def write(folder: str | Path, out: Path, checkpoint: str, trust: bool) -> Card:
    """Writes the folder, and opens it again; returns its model card."""
    run = RunDirectory(folder)
    check_new(out)
    vae, _ = load_run(run.root, checkpoint, "cpu", trust)
    config = public(read_config(run, Consent(trust), PARTS))
    weights, epoch = run.weights_of(checkpoint)
    with new_folder(out) as temporary:
        made = RunDirectory(temporary, yaml.safe_dump(config, sort_keys=False))
        made.share(weights, epoch)
        pictures = _pictures(run, vae, epoch, temporary)
        card = Card(run, vae, config, weights, epoch, pictures, made.parts.exists())
        (temporary / "README.md").write_text(card.text(), "utf-8")
        load_run(temporary, trust=trust)
        shutil.rmtree(made.parts / "__pycache__", ignore_errors=True)
    return card


def _pictures(run: RunDirectory, vae: ModelGuidePair, epoch: int, folder: Path) -> list[str]:
    """Writes the pictures into the folder; returns their names."""
    names = []
    if not vae.attributes:
        show = vae.data.show if vae.data is not None else ()
        with private_randomness(0, torch.device("cpu")), showing(show):
            save_png(page(vae.sample(64), 8), folder / "samples.png")
        names.append("samples")
    if (kept := run.picture("reconstructions", epoch)).is_file():
        (folder / "reconstructions.png").write_bytes(kept.read_bytes())
        names.append("reconstructions")
    return names


def public(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without paths and names of the machine.

    Example:
        >>> data = {"init_args": {"root": "/home/me/faces", "cache_dir": "/tmp/x", "channels": 3}}
        >>> public({"data": data, "loggers": [], "start": "RandomStart"})
        {'data': {'init_args': {'root': 'data', 'channels': 3}}, 'start': 'RandomStart'}
    """
    kept = {name: value for name, value in config.items() if name not in LEFT_OUT}
    return {name: _without_paths(value, name) for name, value in kept.items()}


def _without_paths(value: Any, role: str) -> Any:
    if isinstance(value, dict):
        return {k: _without_paths(v, role) for k, v in value.items() if k != "cache_dir"}
    if isinstance(value, list):
        return [_without_paths(inner, role) for inner in value]
    return role + Path(value).suffix if isinstance(value, str) and _is_private(value) else value


def _is_private(text: str) -> bool:
    """Whether a text is a path outside of the working directory, or has a name of the machine."""
    parts = re.split(r"[\\/]", text)
    names = {Path.home().name, socket.gethostname()}
    with suppress(OSError, KeyError, ImportError):  # The user has no name here.
        names.add(getpass.getuser())
    outside = text[:1] in ("/", "\\", "~") or re.match(r"[A-Za-z]:[\\/]", text) or ".." in parts
    return bool(outside) or (len(parts) > 1 and not names.isdisjoint(parts))


@dataclass(frozen=True)
class Card:
    """The model card of a shared run.

    Attributes:
        run: the run.
        vae: its programs.
        config: its public configuration.
        weights: the weights that are shared.
        epoch: the number of epochs that they were trained for.
        pictures: the names of the pictures in the folder.
        own_parts: whether the folder holds modules of the user.
    """

    run: RunDirectory
    vae: ModelGuidePair
    config: dict[str, Any]
    weights: dict[str, Tensor]
    epoch: int
    pictures: list[str]
    own_parts: bool

    def text(self) -> str:
        """The content of README.md."""
        sections = (self.head(), self.settings(), self.scores(), self.use())
        return FRONT_MATTER + "\n".join(line for section in sections for line in section)

    def head(self) -> Iterator[str]:
        """The title, one paragraph, the pictures."""
        assert self.vae.data is not None
        shape = "x".join(map(str, self.vae.data.image_shape))
        count = state_of(self.run.last).get("num_images")
        images = f"{count:,} images" if isinstance(count, int) else "images"
        data, program = (_short(self.config.get(name)) for name in ("data", "program"))
        size = sum(p.numel() for p in self.vae.parameters())
        length = f" for {self.epoch} epochs" if self.epoch else ""
        yield f"# {program or 'VAE'} of {data or 'SyntheticFaces'}"
        yield (
            f"\nA variational autoencoder of images {shape} (channels, height, width), trained on "
            f"{images}{length} with pyrovae {__version__}: {size:,} parameters.\n"
        )
        captions = {
            "samples": "Samples: means of p(x given z) for z from the prior.",
            "reconstructions": "Images of the validation split, each row followed by its "
            "reconstructions.",
        }
        for name in self.pictures:
            yield f"![{name}]({name}.png)\n\n*{captions[name]}*\n"

    def settings(self) -> Iterator[str]:
        """The data and all options, as a table."""
        yield "## Data and settings\n\n| option | value | arguments |\n| --- | --- | --- |"
        for name, value in self.config.items():
            if value is not None:
                yield f"| `{name}` | {_short(value)} | {_arguments(value)} |"
        yield "\nArguments that are false are left out; `config.yaml` holds them.\n"

    def scores(self) -> Iterator[str]:
        """The table of the evaluation, if these weights were evaluated."""
        try:
            found = json.loads((self.run.root / "evaluation.json").read_text())
            columns = {name: estimates(found[name]) for name in COLUMNS if name in found}
            images = found.get("num_images") or found["vae"]["num_images"]
            weights, about = found.get("weights"), f"{found['split']} split, {images:,} images"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        best = self.run.weights_of("best")[1] == self.epoch
        if weights == checksum(self.weights) or (weights is None and best):
            draws = found.get("num_samples") if "log_evidence" in columns["vae"] else None
            few = found.get("evidence_images") or images
            some = f" of {few:,} images" if few < images else " per image"
            about += f", log p(x) from {draws:,} draws{some}" if draws else ""
            yield f"## Evaluation\n\nOf the {about}:\n\n```"
            yield f"{score_table(columns)}\n```\n"

    def use(self) -> Iterator[str]:
        """How to load the model."""
        python, flag = (", trust=True", " --trust") if self.own_parts else ("", "")
        yield "## Use\n"
        if self.own_parts:
            yield "`parts/` holds modules of the author, whose code runs: read it first.\n"
        yield (
            "```python\nimport pyrovae\n\n"
            'folder = "."  # or huggingface_hub.snapshot_download("USER/NAME")\n'
            f"vae = pyrovae.load(folder{python})"
        )
        if "samples" in self.pictures:
            yield "images = vae.sample(16)  # floats in [0, 1], (N, C, H, W)"
        if self.vae.parts() is not None:
            yield 'q = vae.encode(vae.preprocess("picture.png")[None])  # q(z given x)'
        yield "```\n"
        values = [f"{name}={self.vae.usual_value(name):g}" for name in self.vae.attributes]
        given = f" --given {shlex.join(values)}" if values else ""
        yield f"```bash\npyrovae sample FOLDER --num 64{given} --out samples.png{flag}"
        yield "pyrovae train --init_from FOLDER  # continues from these weights\n```\n"


def _short(value: Any) -> str:
    """The name of a class, or the plain value of an option."""
    if isinstance(value, dict):
        return str(value.get("class_path", "")).rpartition(".")[2]
    return str(value).rpartition(".")[2] if isinstance(value, str) else json.dumps(value)


def _arguments(value: Any) -> str:
    """The arguments of a class, or the options of a group, in one line."""
    given = value.get("init_args", {}) if "class_path" in (value or {}) else value
    if not isinstance(given, dict):
        return ""
    shown = {name: own for name, own in given.items() if own is not None and own is not False}
    return ", ".join(f"{name} {_argument(own)}" for name, own in shown.items())


def _argument(value: Any) -> str:
    if isinstance(value, dict):
        inner = _arguments(value)
        return f"{_short(value)} ({inner})" if inner else _short(value)
    return str(value) if isinstance(value, str | list) else json.dumps(value)
