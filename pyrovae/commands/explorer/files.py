"""The files of the page, read once at the start: no request ever opens a file."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["KINDS", "page_files"]

#: Content types by the suffix of a file.
KINDS = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}


def page_files() -> dict[str, bytes]:
    """The contents of the page's files by their names, such as "index.html"."""
    folder = files("pyrovae.commands.explorer").joinpath("page")
    found = [file for file in folder.iterdir() if file.name.rpartition(".")[2] in KINDS]
    return {file.name: file.read_bytes() for file in sorted(found, key=lambda file: file.name)}
