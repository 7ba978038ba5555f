"""What a trained VAE draws: interpolations between images and traversals of dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jsonargparse import Namespace
from torch import Tensor

from pyrovae.commands.inspect import read_image
from pyrovae.config.building import load_run
from pyrovae.config.parsing import Parser
from pyrovae.config.trust import add_trust
from pyrovae.data import SPLITS, ImageData
from pyrovae.distributions.moments import centre
from pyrovae.engine import Engine
from pyrovae.inspection import traversals
from pyrovae.posterior.space import LatentSpace
from pyrovae.programs import VAE, ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.grids import grid, interleave, save_png
from pyrovae.utils.modes import evaluation_mode
from pyrovae.utils.randomness import private_randomness

__all__ = ["interpolate", "traverse", "within_support"]


def within_support(vae: VAE, z: Tensor) -> Tensor:
    """Latents `(*, D)` where the prior lives: on a sphere the nearest points of it."""
    space = LatentSpace(vae, {"z": z.shape[-1:]})
    return traversals.within_support(space, z.reshape(-1, z.shape[-1])).reshape(z.shape)


@torch.no_grad()
def interpolate(vae: VAE, first: Tensor, second: Tensor, steps: int = 10) -> Tensor:
    """Images decoded along the straight line between the posterior means of two images.

    Args:
        vae: the VAE.
        first: an image, uint8 or observed, `(C, H, W)`.
        second: another.
        steps: how many images, both ends included, at least 2.

    Returns:
        Floats in [0, 1], `(steps, C, H, W)`.

    Raises:
        InputError: if `steps` is below 2.
    """
    with evaluation_mode(vae):
        start, end = centre(vae.encode(torch.stack([first, second])))
        return vae.show(within_support(vae, traversals.linear_path(start, end, steps)))


@torch.no_grad()
def traverse(
    vae: VAE, z: Tensor, dims: Sequence[int], steps: int = 10, extent: float = 3.0
) -> Tensor:
    """Images decoded while one latent dimension at a time moves and the others stay.

    Args:
        vae: the VAE.
        z: the latent to start from, `(D,)`.
        dims: which dimensions, from 0.
        steps: how many images a dimension.
        extent: each dimension moves from `-extent` to `extent`.

    Returns:
        Floats in [0, 1], `(len(dims) * steps, C, H, W)`, one dimension after the other.

    Raises:
        InputError: if a dimension does not exist, or a number is not positive.
    """
    if steps < 1 or not extent > 0:
        raise InputError(f"steps and extent must be positive, got {steps} and {extent}")
    values = torch.linspace(-extent, extent, steps, dtype=z.dtype, device=z.device)
    latents = traversals.along(z, dims, values.expand(len(dims), -1))
    with evaluation_mode(vae):
        return vae.show(within_support(vae, latents.flatten(0, 1)))


def parser() -> Parser:
    """The options; without one of the last four it draws samples."""
    parser = Parser(prog="pyrovae sample", description="Draws pictures from a trained VAE.")
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


def draw(options: Namespace, vae: ModelGuidePair, data: ImageData, device: torch.device) -> Tensor:
    """A picture of the images that the options ask for."""
    if options.interpolate:
        first, second = (read_image(name, vae, data).to(device) for name in options.interpolate)
        return grid(interpolate(_of_one_latent(vae), first, second, options.steps), options.steps)
    if options.traverse:
        whole = _of_one_latent(vae)
        start = whole.model.z_dist().sample()
        if options.image:
            image = read_image(options.image, vae, data)[None].to(device)
            start = centre(whole.encode(image))[0]
        return grid(traverse(whole, start, options.traverse, options.steps), options.steps)
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


def _of_one_latent(programs: ModelGuidePair) -> VAE:
    """The programs, if they have the one latent vector that a path moves in."""
    if not isinstance(programs, VAE):
        raise InputError(
            f"--interpolate and --traverse need a VAE, got {type(programs).__name__}: "
            "--sections traversals of inspect moves along the latents of any programs"
        )
    return programs


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
    vae, data = load_run(options.run, options.checkpoint, device, options.trust)
    with private_randomness(options.seed, device), torch.no_grad():
        save_png(draw(options, vae, data, device), Path(options.out))
    print(options.out)
