"""Draws pictures from a run: `python scripts/sample.py RUN [--num 64] [--out F.png]`."""

from __future__ import annotations

if __name__ == "__main__":  # The imports below take seconds: Ctrl-C ends them without traceback.
    import os
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from pathlib import Path

import torch
from torch import Tensor

from pyrovae import VAE, Engine, ImageData, InputError, cli
from pyrovae.data import SPLITS
from pyrovae.inspection.run import read_image
from pyrovae.moments import centre
from pyrovae.pictures import grid, interleave, save_png
from pyrovae.randomness import private_randomness
from pyrovae.sampling import interpolate, traverse
from pyrovae.trust import add_trust


def parser() -> cli.Parser:
    """The options; without one of the last four it draws samples."""
    parser = cli.Parser(prog="sample.py", description="Draws pictures from a trained VAE.")
    parser.add_argument("run", type=str, help="the run directory")
    parser.add_argument("--num", type=int, default=64, help="how many samples or reconstructions")
    parser.add_argument("--out", type=str, default="samples.png", help="the PNG file to write")
    parser.add_argument("--columns", type=int, default=12, help="images a row")
    parser.add_argument("--steps", type=int, default=10, help="images an interpolation, traversal")
    parser.add_argument("--seed", type=int, default=0, help="decides the draws")
    parser.add_argument("--checkpoint", type=str, default="best", help="best or last")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, mps ...")
    kinds = parser.add_mutually_exclusive_group()
    an_image = "an image is a file or, as test:12, one of a split"
    kinds.add_argument("--reconstruct", nargs="+", help=f"a split, or images; {an_image}")
    kinds.add_argument("--interpolate", nargs=2, help=f"between two images; {an_image}")
    kinds.add_argument("--traverse", nargs="+", type=int, help="latent dimensions to move along")
    parser.add_argument("--image", type=str | None, help="the image that a traversal starts from")
    add_trust(parser)
    return parser


def draw(options: cli.Namespace, vae: VAE, data: ImageData, device: torch.device) -> Tensor:
    """A picture of the images that the options ask for."""
    if options.interpolate:
        first, second = (read_image(name, vae, data).to(device) for name in options.interpolate)
        return grid(interpolate(vae, first, second, options.steps), options.steps)
    if options.traverse:
        start = vae.model.z_dist().sample()
        if options.image:
            start = centre(vae.encode(read_image(options.image, vae, data)[None].to(device)))[0]
        return grid(traverse(vae, start, options.traverse, options.steps), options.steps)
    if options.reconstruct:
        if options.reconstruct[0] in SPLITS and len(options.reconstruct) == 1:
            split = data.split(options.reconstruct[0])
            images = torch.from_numpy(split.images[: options.num].copy())
        else:
            images = torch.stack([read_image(name, vae, data) for name in options.reconstruct])
        again = vae.reconstruct(images.to(device)).cpu()
        columns = min(options.columns, len(images))
        return grid(interleave(images.float() / 255, again, columns), columns)
    return grid(vae.sample(options.num), options.columns)


def main(arguments: list[str]) -> None:
    """Draws one picture."""
    options = parser().parse_args(arguments)
    if min(options.num, options.columns, options.steps) < 1:
        raise InputError("--num, --columns and --steps must be at least 1")
    if options.image and not options.traverse:
        raise InputError("--image: goes with --traverse")
    if not options.out.lower().endswith(".png"):
        raise InputError(f"--out: must end in .png, got {options.out}")
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed: must be from 0 to 2**63 - 1, got {options.seed}")
    device = Engine(options.device).device
    vae, data = cli.load_run(options.run, options.checkpoint, device, options.trust)
    with private_randomness(options.seed, device), torch.no_grad():
        save_png(draw(options, vae, data, device), Path(options.out))
    print(options.out)


if __name__ == "__main__":
    cli.run_command(main)
