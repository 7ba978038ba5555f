"""TensorBoard: metrics, pictures and options."""

from __future__ import annotations

import re

from pyrovae.training.loggers.base import Config, Images, Logger, Numbers
from pyrovae.training.loggers.events import EventFile

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger(Logger):
    """Writes metrics, pictures and options to an event file in `tensorboard/` of the run.

    Use it to follow a run from another machine, or to compare runs.
    """

    def __init__(self) -> None:
        self._file: EventFile | None = None

    def start(self, config: Config) -> None:
        """Opens a new event file, which replaces later steps in earlier files."""
        if config.run is not None:
            self._file = EventFile(config.run.tensorboard, purge_step=config.step + 1)
            self._file.add_options(config, config.text, ["val/elbo"], config.step)
            self._file.flush()

    def log(self, numbers: Numbers, images: Images, step: int) -> None:
        """Writes the metrics and pictures of an epoch."""
        if self._file is None:
            return
        for name, value in numbers.items():
            if name != "epoch":
                tag = re.sub("^(train|val|objective)_", r"\1/", name)
                self._file.add_scalar(tag, value, step)
        for name, values in numbers.vectors.items():
            self._file.add_histogram(name, values, step)
        for name, content in images.files.items():
            self._file.add_picture(name, images[name], content, step)
        self._file.flush()

    def finish(self, status: str) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
