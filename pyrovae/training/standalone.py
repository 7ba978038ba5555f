"""Writes programs to a folder without training state."""

from __future__ import annotations

from pathlib import Path

import yaml

from pyrovae.data import ImageData, as_image_data
from pyrovae.programs import ModelGuidePair
from pyrovae.runs.directory import RunDirectory
from pyrovae.training.description import in_memory, parts_of, warn_of_memory
from pyrovae.utils.arguments import Writer
from pyrovae.utils.errors import InputError, check_kind
from pyrovae.utils.files import new_folder

__all__ = ["save"]


def save(vae: ModelGuidePair, folder: str | Path, data: ImageData | None = None) -> None:
    """Writes programs, with weights, to a new folder that `load` and the commands open.

    Use it for programs that your own loop has trained. `Trainer.fit(..., run=folder)` writes more:
    metrics, pictures, and checkpoints to resume from.

    Args:
        vae: the programs, such as a `VAE`.
        folder: the new folder.
        data: the data set that `evaluate` and `inspect` use, and that prepares images; by default
            `vae.data`.

    Raises:
        InputError: if the folder is not empty, there is no data set, or a part cannot be written
            down, such as a lambda. Nothing is written then.

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
    check_kind("vae", vae, ModelGuidePair)
    found = vae.data if data is None else as_image_data(data)
    if found is None:
        raise InputError("data: the programs have no data set; give the one they were trained on")
    writer = Writer()
    options = parts_of(writer, vae, found)
    if writer.missing:
        raise InputError(f"cannot be saved: {'; '.join(writer.missing)}")
    warn_of_memory(in_memory(found))
    text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True)
    with new_folder(Path(folder)) as temporary:
        RunDirectory(temporary, text).share(vae.state_dict())
