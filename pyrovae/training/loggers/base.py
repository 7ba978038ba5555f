"""The interface of loggers, and the data that they receive."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pyrovae.runs import RunDirectory
from pyrovae.utils.arguments import Recorded
from pyrovae.utils.grids import to_pillow
from pyrovae.utils.plain import flat

if TYPE_CHECKING:
    from PIL.Image import Image

    from pyrovae.training.callbacks.base import Epoch

__all__ = ["Config", "Images", "Logger", "Numbers", "ProjectLogger"]


#: Options that say nothing about what is trained.
WITHOUT = ("callbacks", "loggers")


class Config(dict[str, Any]):
    """The options of a run by their names on the command line, such as `"prior.latent_dim"`.

    Each value is a number, a truth value or a text.

    Args:
        options: the content of `config.yaml`; callbacks and loggers are left out.
        run: the attribute of this name; so are the other arguments.

    Attributes:
        run: the run directory; None if nothing is written.
        text: the text of `config.yaml`.
        id: a text that identifies the run, also after it resumes.
        epoch: number of complete epochs when the run begins or resumes.
        step: number of steps in these epochs.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        run: RunDirectory | None = None,
        text: str = "",
        id: str = "",
        epoch: int = 0,
        step: int = 0,
    ) -> None:
        own = {name: value for name, value in options.items() if name not in WITHOUT}
        super().__init__({name: _plain(value) for name, value in flat(own).items()})
        self.run, self.text, self.id, self.epoch, self.step = run, text, id, epoch, step

    @property
    def name(self) -> str | None:
        """The name of the run directory; None if nothing is written."""
        return self.run.root.resolve().name if self.run is not None else None


class Numbers(dict[str, float]):
    """The metrics of an epoch by their names in `metrics.csv`: all that are defined but `step`.

    Args:
        numbers: the metrics.
        vectors: the attribute of this name.

    Attributes:
        vectors: measurements with one number per latent dimension, by name.
    """

    def __init__(
        self, numbers: Mapping[str, float | None], vectors: Mapping[str, np.ndarray] | None = None
    ) -> None:
        defined = {name: own for name, own in numbers.items() if own is not None}
        super().__init__({name: own for name, own in defined.items() if name != "step"})
        self.vectors = dict(vectors or {})


class Images(Mapping[str, "Image"]):
    """The pictures of an epoch by name, as Pillow images; drawn when a logger reads them.

    Args:
        drawn: has the pictures as `pictures`, uint8 `(C, H, W)` each, and their PNG files as
            `files`, such as an `Epoch`.
    """

    def __init__(self, drawn: Epoch) -> None:
        self._drawn = drawn

    @property
    def files(self) -> Mapping[str, bytes]:
        """The same pictures as the content of PNG files."""
        return self._drawn.files

    def __getitem__(self, name: str) -> Image:
        return to_pillow(self._drawn.pictures[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._drawn.pictures)

    def __len__(self) -> int:
        return len(self._drawn.pictures)


class Logger(Recorded, ABC):
    """Base class of loggers; any class with `start`, `log` and `finish` is a logger too.

    Only the main process calls them. An error does not end the run, which continues without the
    logger.
    """

    @classmethod
    def __subclasshook__(cls, other: type) -> Any:
        """Whether a class has the methods of a logger."""
        has = all(callable(getattr(other, name, None)) for name in ("start", "log", "finish"))
        return has if cls is Logger else NotImplemented

    @abstractmethod
    def start(self, config: Config) -> None:
        """Called when a run begins or resumes.

        Args:
            config: the options of the run.
        """

    @abstractmethod
    def log(self, numbers: Numbers, images: Images, step: int) -> None:
        """Called after the validation of each epoch.

        Args:
            numbers: the metrics of the epoch.
            images: pictures of samples and reconstructions.
            step: the number of steps so far.
        """

    @abstractmethod
    def finish(self, status: str) -> None:
        """Called when the run ends.

        Args:
            status: "finished", "interrupted" (by a signal) or "failed".
        """


class ProjectLogger(Logger):
    """Base class of loggers for trackers that group runs by project.

    Args:
        project: the name of the project.
        name: the name of the run; by default that of the run directory.
    """

    def __init__(self, project: str = "pyrovae", name: str | None = None) -> None:
        self.project, self.name = project, name


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
