"""`pyrovae inpaint RUN IMAGE --mask M.png`: draws completions of an image with missing pixels."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor
from tqdm import tqdm

from pyrovae.commands.inspect import read_image
from pyrovae.commands.sample import check_png, known_attributes
from pyrovae.config.building import load_run
from pyrovae.config.options import add_opening, opening, run_parser
from pyrovae.config.parsing import Parser
from pyrovae.data import ImageData
from pyrovae.data.fitting import fit_pixels
from pyrovae.data.images import upright
from pyrovae.engine import Engine
from pyrovae.evaluation.evidence import UNRELIABLE
from pyrovae.inspection.inpainting import MANY, Completions, complete
from pyrovae.utils.errors import InputError
from pyrovae.utils.grids import labelled, page, save_png, showing

__all__ = ["main", "read_mask"]

#: R-hat above which chains have not mixed.
MIXED = 1.05


def parser() -> Parser:
    """The command line of `pyrovae inpaint`."""
    parser = run_parser(
        "inpaint",
        "Draws completions of an image with missing pixels from the posterior given "
        "the seen pixels. Writes the image, its seen pixels, the completions, their mean and "
        "their standard deviation. It takes seconds for some tens of latent dimensions, and "
        "about a minute for a thousand.",
    )
    parser.add_argument("image", type=str, help="file, or image of a split such as test:12")
    parser.add_argument(
        "--mask",
        type=str,
        required=True,
        help="image whose white pixels are missing, of the size of IMAGE",
    )
    parser.add_argument("--num", type=int, default=8, help="number of completions")
    parser.add_argument("--draws", type=int, default=1000, help="draws of the latents")
    parser.add_argument(
        "--mcmc",
        action="store_true",
        help="draw the latents with NUTS, which takes minutes; for up to 300 latent dimensions",
    )
    parser.add_texts("--given", "attributes that the programs take: Smiling=1 ...")
    parser.add_argument("--out", type=str, default="inpainted.png", help="PNG file to write")
    add_opening(parser)
    return parser


def read_mask(path: str, image: str, data: ImageData) -> Tensor:
    """Which pixels are seen, booleans `(H, W)`: those that are not white in a mask.

    Args:
        path: the file of the mask. It has the size of the prepared images, or that of the file
            of the image; then it is prepared as the image is.
        image: the file of the image, or an image of a split.
        data: the data set of the run.

    Raises:
        InputError: if the mask cannot be read, or has another size.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        mask = upright(Image.open(path)).convert("L")
    except FileNotFoundError:
        raise InputError(f"--mask {path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"--mask {path}: cannot be read as an image") from error
    _, height, width = data.image_shape
    sizes = {(width, height)}
    if Path(image).is_file():
        with suppress(UnidentifiedImageError), Image.open(image) as whole:
            sizes.add(upright(whole).size)
    if mask.size not in sizes:
        allowed = " or ".join(f"{h}x{w}" for w, h in sorted(sizes))
        given = f"{mask.height}x{mask.width}"
        raise InputError(f"--mask {path}: is {given} (height x width), allowed is {allowed}")
    pixels = np.array(mask)[None]
    if mask.size != (width, height):
        pixels = fit_pixels(pixels, (1, height, width), data.crop, data.pad)
    return torch.from_numpy(pixels[0]) < 128


def main(arguments: list[str]) -> None:
    """Draws and writes the completions; prints how far they can be relied on."""
    options = parser().parse_args(arguments)
    check_png(options.out)
    device = Engine(options.device).device
    vae, data = load_run(options.run, device=device, **opening(options))
    image = read_image(options.image, vae, data).to(device)
    seen = read_mask(options.mask, options.image, data).to(device)
    _, attributes = known_attributes(vae, data, [options.image], options.given or ())
    found = complete(
        vae,
        image,
        seen,
        vae.inputs(attributes),
        num_images=options.num,
        num_draws=options.draws,
        mcmc=options.mcmc,
        seed=options.seed,
        bar=lambda steps: tqdm(steps, desc="NUTS", file=sys.stderr),
        progress=True,
    )
    never = int((vae.observe(image).isnan().any(-3) & ~seen).sum())
    print("\n".join(about(found, seen, never)))
    with showing(data.show):
        save_png(sheet(found, image, seen, options), Path(options.out))
    print(options.out)


def sheet(found: Completions, image: Tensor, seen: Tensor, options: Namespace) -> Tensor:
    """The picture: the image, what is seen, the completions, and their moments."""
    known = image / 255
    spread = _spread(found).expand_as(known)
    largest = spread.max().clamp(min=1e-6)
    columns = [known, torch.where(seen, known, 0.5), *found.images, found.mean]
    names = ["image", "seen", *map(str, range(1, options.num + 1)), "mean", "SD"]
    row = page(torch.stack([*columns, spread / largest]).cpu(), len(names))
    return labelled(row, [""], names)


def _spread(found: Completions) -> Tensor:
    """The standard deviation of each pixel, `(H, W)`: the root mean square over channels."""
    return found.deviation.square().mean(0).sqrt()


def about(found: Completions, seen: Tensor, never: int = 0) -> list[str]:
    """How many pixels are missing, how much they vary, and how reliable the draws are.

    Args:
        found: the completions.
        seen: which pixels are seen, booleans `(H, W)`.
        never: the number of missing pixels that the likelihood leaves out in all images.
    """
    each = 255 * _spread(found)[~seen]
    size, most = float(each.square().mean().sqrt()), float(each.max())
    over = "channels and pixels" if len(found.deviation) > 1 else "pixels"
    left = f"warning: the likelihood leaves out {never} of the missing pixels"
    lines = [
        *([f"{left}, so nothing is known about them"] if never else []),
        f"{int((~seen).sum()):,} of {seen.numel():,} pixels are missing",
        f"the standard deviation of a decoded missing pixel over the posterior is {size:.1f} of "
        f"255 grey levels (root mean square over {over}); the largest is {most:.1f}, shown white "
        "in the last picture",
    ]
    if not math.isnan(found.r_hat):
        state = "the chains have mixed" if found.r_hat < MIXED else "the chains have not mixed"
        drawn = f"{len(found.latents):,} draws of NUTS"
        return [*lines, f"{drawn}: R-hat at most {found.r_hat:.2f}, {state}"]
    return lines + _on_importance(found)


def _on_importance(found: Completions) -> list[str]:
    """How many effective draws importance resampling has, and a warning if they are too few."""
    small = found.latents.shape[-1] <= MANY and not found.discrete
    nuts = "; --mcmc draws the latents with NUTS" if small else ""
    of = "of one value of the discrete latents " if found.discrete else "of the fitted Normal "
    effective = f"{found.effective:,.{0 if found.effective > 99 else 1}f}"
    draws = f"{effective} effective draws of {len(found.latents):,}"
    lines = [f"{draws}, k-hat {found.k_hat:.2f}"]
    if found.effective < len(found.images):
        lines.append(
            f"warning: there are fewer effective draws than completions, {len(found.images)}: "
            f"all draws {of}count equally, so completions are approximate{nuts}"
        )
    elif not found.k_hat < UNRELIABLE:
        lines.append(
            f"warning: k-hat is above {UNRELIABLE}: completions may vary too little{nuts}"
        )
    return lines
