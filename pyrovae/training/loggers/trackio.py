"""Trackio."""

from __future__ import annotations

from typing import Any

from pyrovae.training.loggers.base import Config, Images, Logger, Numbers, needs

__all__ = ["TrackioLogger"]


class TrackioLogger(Logger):
    """Writes metrics, pictures and options for Trackio; needs `pyrovae[trackio]`.

    Trackio keeps them on this machine, in `TRACKIO_DIR`; `trackio show` shows them.

    Use it for a local page of all experiments, without an account.

    Args:
        project: the name of the project.
        name: the name of the run; by default that of the run directory.
    """

    def __init__(self, project: str = "pyrovae", name: str | None = None) -> None:
        self.project, self.name = project, name

    def start(self, config: Config) -> None:
        """Begins a run, or goes on with it."""
        try:
            import trackio
        except ImportError as error:
            raise needs("trackio") from error
        self._trackio: Any = trackio
        name = self.name or config.name
        resume = "allow" if config.step else "never"
        trackio.init(project=self.project, name=name, config=dict(config), resume=resume)

    def log(self, numbers: Numbers, images: Images, step: int) -> None:
        """Writes the metrics and pictures of an epoch."""
        pictures = {name: self._trackio.Image(image) for name, image in images.items()}
        self._trackio.log({**numbers, **pictures}, step=step)

    def finish(self, status: str) -> None:
        """Ends the run."""
        self._trackio.finish()
