"""Writes trained programs to folders: for `load`, for PyTorch alone, and for a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyrovae.utils.errors import InputError, check_kind
from pyrovae.utils.files import new_folder

if TYPE_CHECKING:
    from pyrovae.data import ImageData
    from pyrovae.programs import ModelGuidePair

# The imports inside the functions are slow, and only these functions need them.

__all__ = ["export_run", "save", "share_run"]


def save(vae: ModelGuidePair, folder: str | Path, data: ImageData | None = None) -> None:
    """Writes programs, with weights, to a new folder that `load` and the commands open.

    Use it for programs from your own training loop. `Trainer.fit(..., run=folder)` writes more:
    metrics, pictures, and checkpoints to resume from.

    Args:
        vae: the programs, such as a `VAE`.
        folder: the new folder.
        data: the data set that `evaluate` and `inspect` use, and that prepares images; by default
            `vae.data`.

    Raises:
        InputError: if the folder is not empty, there is no data set, a part cannot be written
            down, such as a lambda, or what was written does not open as the same programs, such
            as after a part was replaced. Nothing is written then.

    Example:
        >>> import tempfile
        >>> from pyrovae import MLPDecoder, MLPEncoder, SyntheticFaces, VAE, load
        >>> data = SyntheticFaces(image_size=16)
        >>> vae = VAE.for_images(data, 8, encoder=MLPEncoder, decoder=MLPDecoder)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(vae, folder)
        ...     load(folder).sample(2).shape
        torch.Size([2, 3, 16, 16])
    """
    from pyrovae.data import as_image_data
    from pyrovae.programs import ModelGuidePair
    from pyrovae.runs import RunDirectory
    from pyrovae.training.description import options_of

    check_kind("vae", vae, ModelGuidePair)
    found = vae.data if data is None else as_image_data(data)
    if found is None:
        raise InputError("data: the programs have no data set; give the one they were trained on")
    text = options_of(vae, found)
    with new_folder(Path(folder)) as temporary:
        RunDirectory(temporary, text).share(vae.state_dict())
        _check_opens(temporary, vae)


def export_run(
    run: str | Path, folder: str | Path, checkpoint: str = "best", trust: bool = False
) -> list[Path]:
    """Writes encoder and decoder of a run as programs of `torch.export`, as `pyrovae export` does.

    Args:
        run: the run directory, or a folder of `save`.
        folder: the new folder.
        checkpoint: "best" (by validation ELBO) or "last".
        trust: whether the run may name your own parts, whose code then runs.

    Returns:
        The files, which `torch.export.load` reads. A README beside them describes their inputs and
        outputs.

    Raises:
        InputError: if the folder is not empty, or a program cannot be exported. The other one is
            written first.
    """
    from pyrovae.commands.export import write

    made, failed = write(run, Path(folder), checkpoint, trust)
    if failed:
        raise InputError("; ".join(failed))
    return [Path(folder, f"{name}.pt2") for name in made]


def share_run(
    run: str | Path, folder: str | Path, checkpoint: str = "best", trust: bool = False
) -> None:
    """Writes weights, options, pictures and a model card for a hub, as `pyrovae share` does.

    `load(folder)` opens the result. It holds no paths of your machine. Before you publish it, look
    at `reconstructions.png`, which shows images of the validation split, and at `parts/`, which
    holds your own modules, if there are any.

    Args:
        run: the run directory, or a folder of `save`.
        folder: the new folder.
        checkpoint: "best" (by validation ELBO) or "last".
        trust: whether the run may name your own parts, whose code then runs.

    Raises:
        InputError: if the folder is not empty, or the run cannot be opened.
    """
    from pyrovae.commands.share import write

    write(run, Path(folder), checkpoint, trust)


def _check_opens(folder: Path, vae: ModelGuidePair) -> None:
    """Raises `InputError` unless a folder opens as programs of the same parts."""
    from pyrovae.config.building import load_run

    opened, _ = load_run(folder, trust=True)
    found, own = opened.state_dict(), vae.state_dict()
    if others := [name for name, tensor in own.items() if tensor.dtype != found[name].dtype]:
        was, becomes = own[others[0]].dtype, found[others[0]].dtype
        raise InputError(f"cannot be saved: {others[0]} is {was}, allowed is {becomes}")
    before, after = (
        {name: type(part).__qualname__ for name, part in own.named_modules()}
        for own in (vae, opened)
    )
    for name, kind in before.items():
        if (other := after.get(name)) != kind:
            raise InputError(
                f"cannot be saved: {name} is of the class {kind}, but the programs were made with "
                f"{other}; build them again with this part"
            )
