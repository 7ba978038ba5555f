"""MLflow."""

from __future__ import annotations

from pyrovae.training.loggers.base import Config, Images, Logger, Numbers
from pyrovae.utils.optional import optional_package

__all__ = ["MLflowLogger"]

STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflowLogger(Logger):
    """Sends metrics, pictures and options to MLflow; needs `pyrovae[mlflow]`.

    `MLFLOW_TRACKING_URI` names the server, or a local store.

    Use it where your experiments are on MLflow.

    Args:
        experiment: the name of the experiment.
        name: the name of the run; by default that of the run directory.
    """

    def __init__(self, experiment: str = "pyrovae", name: str | None = None) -> None:
        self.experiment, self.name = experiment, name

    def start(self, config: Config) -> None:
        """Begins a run."""
        self._mlflow = optional_package("mlflow")
        self._mlflow.set_experiment(self.experiment)
        self._mlflow.start_run(run_name=self.name or config.name)
        self._mlflow.log_params(config)

    def log(self, numbers: Numbers, images: Images, step: int) -> None:
        """Sends the metrics and pictures of an epoch."""
        self._mlflow.log_metrics(numbers, step=step)
        for name, image in images.items():
            self._mlflow.log_image(image, key=name, step=step)

    def finish(self, status: str) -> None:
        """Ends the run."""
        self._mlflow.end_run(STATUS[status])
