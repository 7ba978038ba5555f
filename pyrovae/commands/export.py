"""`pyrovae export RUN --out F`: encoder and decoder as programs of `torch.export`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from pyrovae.commands.preparing import preparation
from pyrovae.config.building import load_run
from pyrovae.config.options import folder_parser
from pyrovae.config.parsing import Parser
from pyrovae.programs import ModelGuidePair
from pyrovae.programs.exporting import Exported, export_programs, prior_code
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import check_new, new_folder

__all__ = ["main", "readme", "write"]

#: Suffixes of files for models: `--out` is a folder.
FILES = (".onnx", ".pb", ".pkl", ".pt", ".pt2", ".pth", ".safetensors", ".ts")


def parser() -> Parser:
    """The command line of `pyrovae export`."""
    return folder_parser("export", "Writes encoder and decoder as files that need only torch.")


def main(arguments: list[str]) -> None:
    """Exports what can be exported; names the rest."""
    options = parser().parse_args(arguments)
    out = Path(options.out)
    made, failed = write(options.run, out, options.checkpoint, options.trust)
    for name, program in made.items():
        same = "equal those of the run"
        if program.difference:
            same = f"differ from those of the run by {program.difference:.1g} at most"
        print(f"{out / name}.pt2: its outputs {same}")
    if made:
        print(out / "README.md")
    if failed:
        raise InputError("; ".join(failed))


def write(
    run: str | Path, out: Path, checkpoint: str, trust: bool
) -> tuple[dict[str, Exported], list[str]]:
    """Writes the programs that can be exported; returns them, and one message per other one."""
    if out.suffix in FILES:
        raise InputError(
            f"--out {out}: is the name of a file; allowed is a new folder, for encoder.pt2 and "
            "decoder.pt2, which torch.export.load reads"
        )
    check_new(out)
    vae, _ = load_run(run, checkpoint, "cpu", trust)
    found = dict(export_programs(vae))
    made = {name: program for name, program in found.items() if isinstance(program, Exported)}
    failed = [f"{name}: {program}" for name, program in found.items() if name not in made]
    if made:
        with new_folder(out) as folder:
            for name, program in made.items():
                (folder / f"{name}.pt2").write_bytes(program.content)
            (folder / "README.md").write_text(readme(vae, made, failed), "utf-8")
    return made, failed


def readme(vae: ModelGuidePair, made: dict[str, Exported], failed: list[str]) -> str:
    """The README of an export: inputs, outputs, and code that uses them."""
    lines = ["# Encoder and decoder of a variational autoencoder", ""]
    version = torch.__version__.partition("+")[0]
    lines += [
        "Programs of `torch.export`, written by `pyrovae export`. They need only torch, "
        f"{version} or newer, take any batch size N, compute in single precision on a CPU, and "
        "draw no random numbers.",
        *(f"\nNot exported: {line}." for line in failed),
    ]
    for name, program in made.items():
        lines += ["", f"## `{name}.pt2`", "", *_interface(name, vae, program)]
    if "encoder" in made:
        lines += ["", "## Prepare an image", "", *preparation(vae)]
    return "\n".join([*lines, "", "## Use", "", *_example(vae, made)]) + "\n"


def _interface(name: str, vae: ModelGuidePair, program: Exported) -> Iterator[str]:
    """The table of a program's inputs and outputs."""
    ends = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    black, white = vae.observe(ends).flatten(1).nanmean(1).tolist()
    binary = vae.likelihood.grey_levels is None
    greys = "no grey values" if binary else "grey values in between"
    encodes = name == "encoder"
    what = f"images: {black:g} is black, {white:g} white, {greys}" if encodes else "latents z"
    stored = None if vae.data is None else vae.data.value_range()
    if encodes and stored is not None:
        what += "; black is the value {:.7g} of the data, white {:.7g}".format(*stored)
    yield "| | name | shape | |"
    yield "| --- | --- | --- | --- |"
    yield f"| input | | {_shape(program.takes)} | {what} |"
    given = "q(z given x)" if encodes else "p(x given z)"
    for output, shape in program.returns.items():
        shown = "the image to show, from 0 to 1" if output == "image" else ""
        about = shown or f"parameter of {given}, a `{program.family}`"
        yield f"| output | `{output}` | {_shape(shape)} | {about} |"


def _shape(shape: tuple[int, ...]) -> str:
    return f"`({', '.join(map(str, ('N', *shape)))})`"


def _example(vae: ModelGuidePair, made: dict[str, Exported]) -> Iterator[str]:
    """Python code that runs the programs."""
    prior = prior_code(vae)
    yield "```python\nimport torch\n"
    if "encoder" in made:
        program, binary = made["encoder"], vae.likelihood.grey_levels is None
        shape = ", ".join(map(str, program.takes))
        greys = f"2, (4, {shape})).float()" if binary else f"256, (4, {shape})) / 255"
        yield f"images = torch.randint({greys}  # your images, prepared as above"
        yield 'encoder = torch.export.load("encoder.pt2").module()'
        yield "q = encoder(images)"
        if program.family in torch.distributions.__all__:
            yield f"z = torch.distributions.{program.family}(**q).sample()"
    if "decoder" in made:
        yield 'decoder = torch.export.load("decoder.pt2").module()'
        if prior:
            yield f"new = {prior}  # the prior"
            yield 'pictures = decoder(new)["image"]'
    yield "```"
    if not prior:
        yield "\nThe prior is not exported: `pyrovae sample` draws from it."
