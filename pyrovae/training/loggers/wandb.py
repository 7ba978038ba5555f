"""Weights & Biases."""

from __future__ import annotations

from pyrovae.training.loggers.base import Config, Images, Numbers, ProjectLogger
from pyrovae.utils.optional import optional_package

__all__ = ["WandbLogger"]


class WandbLogger(ProjectLogger):
    """Sends metrics, pictures and options to Weights & Biases; needs `pyrovae[wandb]`.

    With `WANDB_MODE=offline` it writes them to the run directory, for `wandb sync` later.

    Use it where your experiments are on Weights & Biases.
    """

    def start(self, config: Config) -> None:
        """Begins or continues a run."""
        self._wandb = optional_package("wandb")
        self._run = self._wandb.init(
            project=self.project,
            name=self.name or config.name,
            id=config.id,
            resume="allow",
            dir=config.run.root if config.run is not None else None,
            config=dict(config),
        )

    def log(self, numbers: Numbers, images: Images, step: int) -> None:
        """Sends the metrics and pictures of an epoch."""
        pictures = {name: self._wandb.Image(image) for name, image in images.items()}
        vectors = {name: self._wandb.Histogram(own) for name, own in numbers.vectors.items()}
        self._run.log({**numbers, **pictures, **vectors}, step=step)

    def finish(self, status: str) -> None:
        """Ends the run."""
        self._run.finish(exit_code=0 if status == "finished" else 1)
