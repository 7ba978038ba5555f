"""`pyrovae explore RUN`: opens a page on the latent space of a run, or writes it to a file."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from tqdm import tqdm

from pyrovae.commands.explorer.answers import ANSWERS
from pyrovae.commands.explorer.exporting import build, step_count
from pyrovae.commands.explorer.files import page_files
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.commands.explorer.server import listening, running
from pyrovae.commands.explorer.uploading import NAME as UPLOADED
from pyrovae.config.options import add_opening, opening, run_parser
from pyrovae.config.parsing import Parser
from pyrovae.data import SPLITS
from pyrovae.data.base import place_of
from pyrovae.data.finding import with_folders
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing
from pyrovae.utils.progress import hides_bar
from pyrovae.utils.text import short_names

__all__ = ["main"]

Answer = dict[str, Any]
Answers = Mapping[str, Callable[[Explorer, Answer], Answer]]
#: Addresses that other machines cannot reach.
LOCAL = ("127.0.0.1", "localhost", "::1")
#: Images of an exported file.
EXPORTED = 8


def parser() -> Parser:
    """The command line of `pyrovae explore`."""
    parser = run_parser(
        "explore", "Opens a page in the browser to move through the latent space of a run."
    )
    parser.add_argument("--split", type=str, default="test", help="train, val or test")
    parser.add_texts(
        "--images", "images to start with: files, folders, or images of a split such as test:12"
    )
    parser.add_argument(
        "--num_images", type=int, help="number of images of the split on the map (0: all)"
    )
    parser.add_text(
        "--export",
        f"write the page of --images (default: {EXPORTED} of the split) to one .html file "
        "that needs no server, instead of opening it",
    )
    parser.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 lets other machines open the page",
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen on (0: any free one)")
    parser.add_argument(
        "--no_browser", action="store_true", help="print the address without opening a browser"
    )
    add_opening(parser)
    return parser


def main(arguments: list[str]) -> None:
    """Serves the page until Ctrl-C, or writes it to a file."""
    options = parser().parse_args(arguments)
    if options.export:
        export(options, _checked(Path(options.export)))
    else:
        serve(options)


def opened(options: Namespace) -> tuple[Explorer, dict[str, str]]:
    """The explorer, and the names of `--images` by how the user named them."""
    if options.num_images in (1, 2):
        raise InputError(f"--num_images {options.num_images}: a map needs 3 images; 0 means all")
    contents = {name: _content(name) for name in with_folders(options.images or ())}
    explorer = Explorer.open(
        options.run,
        split=options.split,
        device=options.device,
        num_images=options.num_images,
        seed=options.seed,
        **opening(options),
    )
    return explorer, {name: _known(explorer, name, own) for name, own in contents.items()}


def _content(name: str) -> bytes | None:
    """The content of a file; None if the name is an image of a split."""
    if place_of(name):
        return None
    if not Path(name).is_file():
        known = ", ".join(SPLITS)
        raise InputError(f"{name}: no such file (test:12 is an image of a split; of {known})")
    return Path(name).read_bytes()


def _known(explorer: Explorer, name: str, content: bytes | None) -> str:
    """The name of an image in the explorer."""
    try:
        if content is None:
            return str(ANSWERS["image"](explorer, {"name": name})["name"])
        return str(ANSWERS["upload"](explorer, {"bytes": content})["name"])
    except InputError as error:
        whole = str(error).replace(UPLOADED, name)
        raise InputError(whole if whole.startswith(name) else f"{name}: {whole}") from None


def beginning_with(images: Sequence[str]) -> Answers:
    """The answers; the list of images begins with some."""

    def run(explorer: Explorer, given: Answer) -> Answer:
        found = ANSWERS["run"](explorer, given)
        return found | {"images": list(dict.fromkeys([*images, *found["images"]]))}

    return {**ANSWERS, "run": run}


def serve(options: Namespace) -> None:
    """Answers requests until a signal ends the command."""
    # A taken port is found before the run is opened.
    with listening(options.host, options.port) as listener:
        explorer, images = opened(options)
        answers = beginning_with(list(images.values()))
        with running(listener, answers, explorer, options.host) as (site, address):
            print(f"explorer of {options.run}: {address}")
            if options.host not in LOCAL:
                print("Anyone who has this address can use the page, also from other machines.")
            print("Ctrl-C ends it.", flush=True)
            if not options.no_browser and _has_screen():
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
            site.requests.serve(explorer.prepare)


def _has_screen() -> bool:
    """Whether a browser has a window: one in the terminal would hide what is printed."""
    screens = {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}
    return sys.platform in ("darwin", "win32") or not screens.isdisjoint(os.environ)


def export(options: Namespace, path: Path) -> None:
    """Writes the page to a file."""
    explorer, images = opened(options)
    run = ANSWERS["run"](explorer, {})
    images = images or {name: name for name in run["images"][:EXPORTED]}
    steps, shown = step_count(run, len(images)), "{desc}: {percentage:3.0f}% {bar} {elapsed}"
    # Files are shown by their last names, where these differ.
    named = dict(zip(short_names(list(images)), images.values(), strict=True))
    with tqdm(total=steps, desc="export", bar_format=shown, disable=hides_bar()) as bar:
        text = build(ANSWERS, explorer, page_files(), named, bar.update)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def _checked(path: Path) -> Path:
    """A path that can be written to, before hours of work."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--export: must end in .html, got {path}")
    if path.is_dir():
        raise InputError(f"--export: {path} is a folder; name a file")
    return path
