"""The options of a run that do not change what it learns."""

from __future__ import annotations

from pyrovae.utils.text import within

__all__ = ["FREE", "PLACES", "is_place", "shapes_model"]

#: Arguments of data sets for the place of the images. The images themselves are checked anyway.
PLACES = ("root", "path", "attributes", "table", "cache_dir")
#: Options that are no part of the model, and an argument that Pyro's objectives store with another
#: value than the given one.
BESIDE = ("engine", "callbacks", "loggers", "objective.jit_options")
#: What may differ in a resumed run, besides the place of the images.
FREE = (*BESIDE, "init_from", "trainer.epochs")


def is_place(option: str) -> bool:
    """Whether an option says where the images are, or whether to download them."""
    role, _, argument = option.partition(".")
    return role == "data" and argument.split(".")[-1] in (*PLACES, "download")


def shapes_model(option: str) -> bool:
    """Whether runs with other values of an option are of different models.

    Example:
        >>> [shapes_model(name) for name in ("prior.x", "trainer.epochs", "data.root", "engine")]
        [True, True, False, False]
    """
    return not (is_place(option) or within(option, BESIDE))
