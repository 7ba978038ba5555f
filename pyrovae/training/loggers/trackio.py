"""Trackio."""

from __future__ import annotations

from pyrovae.training.loggers.base import Config, Images, Numbers, ProjectLogger
from pyrovae.utils.optional import optional_package

__all__ = ["TrackioLogger"]


class TrackioLogger(ProjectLogger):
    """Writes metrics, pictures and options for Trackio; needs `pyrovae[trackio]`.

    Trackio keeps them on this machine, in `TRACKIO_DIR`; `trackio show` shows them.

    Use it for a local page of all experiments, without an account.
    """

    def start(self, config: Config) -> None:
        """Begins or continues a run."""
        self._trackio = optional_package("trackio")
        name = self.name or config.name
        resume = "allow" if config.step else "never"
        self._trackio.init(project=self.project, name=name, config=dict(config), resume=resume)

    def log(self, numbers: Numbers, images: Images, step: int) -> None:
        """Writes the metrics and pictures of an epoch."""
        pictures = {name: self._trackio.Image(image) for name, image in images.items()}
        self._trackio.log({**numbers, **pictures}, step=step)

    def finish(self, status: str) -> None:
        """Ends the run."""
        self._trackio.finish()
