"""`pyrovae sample RUN`: draws samples, reconstructions, interpolations and traversals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor

from pyrovae.commands.inspect import read_image
from pyrovae.config.building import load_run
from pyrovae.config.options import add_opening, opening, run_parser
from pyrovae.config.parsing import Parser
from pyrovae.data import SPLITS, ImageData
from pyrovae.data.base import place_of
from pyrovae.distributions.moments import centre
from pyrovae.engine import Engine
from pyrovae.inspection.walks import EXTENT, interpolate, traverse
from pyrovae.posterior.space import LatentSpace
from pyrovae.programs import ModelGuidePair
from pyrovae.utils.errors import InputError
from pyrovae.utils.grids import columns_for, interleave, labelled, page, save_png, showing
from pyrovae.utils.randomness import private_randomness
from pyrovae.utils.text import closest, listed

__all__ = ["check_png", "known_attributes", "main"]

#: The default name of the file, without its extension, by the option that chooses the picture.
OUTPUTS = {
    "": "samples",
    "reconstruct": "reconstructions",
    "interpolate": "interpolation",
    "traverse": "traversals",
}

NO_ATTRIBUTES = (
    "the programs of this run take no attributes, as those of ConditionalVAE do; pyrovae inspect "
    "RUN --sections attributes, and pyrovae explore RUN, edit attributes of images of any run"
)


def parser() -> Parser:
    """The command line of `pyrovae sample`, which draws samples by default."""
    parser = run_parser("sample", "Draws pictures from a trained VAE.")
    parser.add_argument("--num", type=int, default=64, help="number of samples or reconstructions")
    names = ", ".join(f"{name}.png" for name in OUTPUTS.values())
    parser.add_text("--out", f"PNG file to write (default: {names}, depending on what is drawn)")
    parser.add_argument(
        "--columns", type=int | None, help="images per row (default: up to 12, to fill all rows)"
    )
    parser.add_argument(
        "--steps", type=int, default=10, help="images per interpolation or traversed dimension"
    )
    kinds = parser.add_mutually_exclusive_group()
    an_image = "an image is a file, or an image of a split such as test:12"
    kinds.add_argument(
        "--reconstruct", nargs="+", help=f"split, or images, to reconstruct; {an_image}"
    )
    kinds.add_argument(
        "--interpolate", nargs=2, help=f"two images to interpolate between; {an_image}"
    )
    kinds.add_argument("--traverse", nargs="+", type=int, help="latent dimensions to vary")
    parser.add_texts(
        "--given",
        "attributes of the decoded images, for programs that take attributes: Smiling=1 "
        "kind=cat ...; edits images and keeps their latents (default: attributes of the images, "
        "and for samples those of test images)",
    )
    parser.add_texts(
        "--sites",
        "latent sites that --reconstruct takes from the images, such as upper layers of a "
        "ladder: z3; the others are drawn from the prior (default: all sites)",
    )
    parser.add_argument(
        "--noise",
        action="store_true",
        help="draw the pixels of samples from the likelihood (default: its mean)",
    )
    parser.add_text("--image", "image to start a traversal from (default: a sample)")
    add_opening(parser)
    return parser


def output(options: Namespace) -> str:
    """The file to write: each kind of picture has its own default name."""
    kind = next((kind for kind in OUTPUTS if options.get(kind)), "")
    return options.out or f"{OUTPUTS[kind]}.png"


def check_png(out: str) -> None:
    """Raises `InputError` unless `--out` names a PNG file."""
    if not out.lower().endswith(".png"):
        raise InputError(f"--out: must end in .png, got {out}")


def draw(options: Namespace, vae: ModelGuidePair, data: ImageData, device: torch.device) -> Tensor:
    """Draws the picture that the options ask for."""
    if options.interpolate:
        first, second = (read_image(name, vae, data).to(device) for name in options.interpolate)
        both = known_attributes(vae, data, options.interpolate, options.given or ())
        return page(interpolate(vae, first, second, options.steps, *both), options.steps)
    if options.traverse:
        return _traversals(options, vae, data, device)
    if options.reconstruct:
        return _reconstructions(options, vae, data, device)
    given = options.given or ()
    _, attributes = known_attributes(vae, data, _sources(vae, data, options.num, given), given)
    drawn = vae.sample(options.num, attributes, noise=options.noise)
    return page(drawn, options.columns or columns_for(options.num))


def _traversals(
    options: Namespace, vae: ModelGuidePair, data: ImageData, device: torch.device
) -> Tensor:
    """A row of decoded images per traversed dimension, with the values above."""
    given = options.given or ()
    names = [options.image] if options.image else _sources(vae, data, 1, given)
    own, edited = known_attributes(vae, data, names, given)
    if options.image:
        image = read_image(options.image, vae, data)[None].to(device)
        start = centre(vae.encode(image, *([] if own is None else [own])))[0]
    else:
        start = _drawn(vae, data, own)
    walk = traverse(vae, start, options.traverse, options.steps, attributes=edited)
    sheet = page(walk, options.steps)
    values = torch.linspace(-EXTENT, EXTENT, options.steps).tolist()
    dims = [f"z[{dim}]" for dim in options.traverse]
    return labelled(sheet, dims, [f"{value:.1f}" for value in values])


def _drawn(vae: ModelGuidePair, data: ImageData, attributes: Tensor | None) -> Tensor:
    """A draw from the prior, given attributes `(1, A)` if programs take them."""
    if attributes is None:
        return vae.latent_prior().sample()
    inputs = vae.inputs(vae.given(attributes))
    x = vae.observe(torch.zeros(1, *data.image_shape, dtype=torch.uint8))
    return LatentSpace.of(vae, x, **inputs).prior_draws(1, **inputs)[0]


def _reconstructions(
    options: Namespace, vae: ModelGuidePair, data: ImageData, device: torch.device
) -> Tensor:
    """Each image next to its reconstruction."""
    names = options.reconstruct
    if names[0] in SPLITS and len(names) == 1:
        rows = range(len(data.split(names[0])))[: options.num]
        names = [f"{names[0]}:{row}" for row in rows]
    images = torch.stack([read_image(name, vae, data) for name in names])
    own, edited = known_attributes(vae, data, names, options.given or ())
    again = vae.reconstruct(images.to(device), own, edited, options.sites or ()).cpu()
    columns = options.columns or columns_for(len(images))
    return page(interleave(images.float() / 255, again, columns), columns)


def _sources(vae: ModelGuidePair, data: ImageData, count: int, given: Sequence[str]) -> list[str]:
    """The names of test images whose attributes samples have; empty if none are needed."""
    stated = {word.partition("=")[0] for word in given}
    if lacking := [f"{name}=VALUE" for name in vae.attributes if name not in stated]:
        try:
            last = len(data.split("test")) - 1
        except InputError as error:  # Runs are shared without their images.
            state = f"or state the attributes of the samples: --given {' '.join(lacking)}"
            raise InputError(f"{error}; {state}") from None
        return [f"test:{row}" for row in np.linspace(0, last, count).astype(int)]
    return [""] * count


def known_attributes(
    vae: ModelGuidePair, data: ImageData, names: Sequence[str], given: Sequence[str]
) -> tuple[Tensor | None, Tensor | None]:
    """The attributes of images, and those of the decoded images, `(N, A)` each.

    A file of the data set has the attributes that it has there.

    Args:
        vae: the pair of programs; both are None if it takes no attributes.
        data: the data set of the run.
        names: files, or images of a split such as `test:12`.
        given: changes such as `Smiling=1`, or `gender=male` for a class.

    Raises:
        InputError: if the programs take no such attribute, a value is neither a number nor a
            class, or an attribute of an image is not known.
    """
    changes = _changes(vae, data, given)
    free = [name for name in vae.optional if name in changes]
    if not vae.attributes and not free:
        return None, None
    far = [vae.far_from_data(name, changes[name]) for name in vae.attributes if name in changes]
    for line in filter(None, far):
        print(f"note: {line}", flush=True)
    own = np.stack([_attributes_of(data, name, vae.attributes) for name in names])
    edited = own.copy()
    for place, name in enumerate(vae.attributes):
        edited[:, place] = changes.get(name, own[:, place])
    own = np.where(np.isnan(own), edited, own)  # Other files have only what is given.
    _check_known(own, vae.attributes, names, data)
    wanted = np.tile(np.array([changes[name] for name in free], own.dtype), (len(names), 1))
    # The guide gets no optional attributes: -1 means unknown.
    both = (own, np.full_like(wanted, -1)), (edited, wanted)
    known, changed = (torch.from_numpy(np.concatenate(parts, 1)) for parts in both)
    return known, changed


def _check_known(
    own: np.ndarray, attributes: Sequence[str], names: Sequence[str], data: ImageData
) -> None:
    """Raises `InputError` if attributes `(N, A)` of images are not known, with all of these."""
    unknown = np.isnan(own)
    lacking = [name for name, some in zip(attributes, unknown.any(0), strict=True) if some]
    if not lacking:
        return
    image = names[int(unknown.any(1).argmax())]
    stated = " ".join(f"{name}=VALUE" for name in lacking)
    if place_of(image) is None and data.attributes_of(image) is None:
        raise InputError(
            f"{image}: is not among the images of the run; state its attributes: --given {stated}"
        )
    raise InputError(f"{image}: unknown {listed(lacking)}; state it: --given {stated}")


def _changes(vae: ModelGuidePair, data: ImageData, given: Sequence[str]) -> dict[str, float]:
    """The value of each named attribute, as its program takes it."""
    found: dict[str, float] = {}
    for name, value in (_change(vae, data, word) for word in given):
        if name in found:
            raise InputError(f"--given {name}: given twice, {found[name]:g} and {value:g}")
        found[name] = value
    return found


def _change(vae: ModelGuidePair, data: ImageData, word: str) -> tuple[str, float]:
    name, equals, value = word.partition("=")
    names = vae.attributes + vae.optional
    if name not in names:
        close = f"no attribute {name}{closest(name, names)}; allowed are {listed(names)}"
        raise InputError(f"--given {word}: {close if names else NO_ATTRIBUTES}")
    if not equals:
        raise InputError(f"--given {word}: write {name}=VALUE")
    found = _number(data, name, value)
    if name in vae.attributes:
        vae.check_given(name, found)
    return name, found


def _number(data: ImageData, name: str, value: str) -> float:
    """The number of a value of an attribute: that of a class, or the value itself."""
    plain = _finite(value)
    try:
        classes = list(data.split("train").value_names.get(name, ()))
    except InputError as error:
        if plain is not None:
            return plain  # Runs are shared without their images.
        reason = "the names of classes are those of the images"
        raise InputError(f"--given {name}={value}: no number; {reason}: {error}") from None
    if classes:
        return _class_number(name, value, classes)
    if plain is None:
        raise InputError(f"--given {name}={value}: allowed is {name} and a finite number")
    return plain


def _class_number(name: str, value: str, classes: Sequence[str]) -> float:
    """The number of a class, from its name or, if no name is itself a number, its number."""
    if value in classes:
        return float(classes.index(value))
    numbered = [f"{own} ({number})" for number, own in enumerate(classes)]
    if any(_finite(own) is not None for own in classes):
        numbered = list(classes)
    elif _finite(value) in range(len(classes)):
        return float(value)
    raise InputError(
        f"--given {name}={value}: no such class{closest(value, classes)}; {name} is one of "
        f"{listed(numbered)}"
    )


def _finite(text: str) -> float | None:
    """The finite number in a text; None for another text."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _attributes_of(data: ImageData, name: str, wanted: Sequence[str]) -> np.ndarray:
    """The attributes of an image of the data set; NaN for another file."""
    if (found := data.named(name)) is not None:
        return found.attributes[0, found.places(wanted)]
    known = data.attributes_of(name) or {}
    return np.array([known.get(own, math.nan) for own in wanted], np.float32)


def main(arguments: list[str]) -> None:
    """Draws and writes one picture."""
    options = parser().parse_args(arguments)
    if min(options.num, options.columns or 1, options.steps) < 1:
        raise InputError("--num, --columns and --steps must be at least 1")
    if options.image and not options.traverse:
        raise InputError("--image: allowed with --traverse only")
    if options.sites and not options.reconstruct:
        raise InputError("--sites: allowed with --reconstruct only")
    if options.noise and (options.reconstruct or options.interpolate or options.traverse):
        raise InputError("--noise: allowed for samples only")
    out = output(options)
    check_png(out)
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed: must be from 0 to 2**63 - 1, got {options.seed}")
    device = Engine(options.device).device
    vae, data = load_run(options.run, device=device, **opening(options))
    with private_randomness(options.seed, device), torch.no_grad(), showing(data.show):
        save_png(draw(options, vae, data, device), Path(out))
    print(out)
