"""Trackers of experiments: MLflow, Trackio, and Weights & Biases."""

from __future__ import annotations

from pyrovae.training.loggers.base import Config, Images, Logger, Numbers, ProjectLogger, imported

__all__ = ["MLflowLogger", "TrackioLogger", "WandbLogger"]

#: What MLflow calls the end of a run.
MLFLOW_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


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
        self._mlflow = imported("mlflow")
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
        self._mlflow.end_run(MLFLOW_STATUS[status])


class TrackioLogger(ProjectLogger):
    """Writes metrics, pictures and options for Trackio; needs `pyrovae[trackio]`.

    Trackio keeps them on this machine, in `TRACKIO_DIR`; `trackio show` shows them.

    Use it for a local page of all experiments, without an account.
    """

    def start(self, config: Config) -> None:
        """Begins or continues a run."""
        self._trackio = imported("trackio")
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


class WandbLogger(ProjectLogger):
    """Sends metrics, pictures and options to Weights & Biases; needs `pyrovae[wandb]`.

    With `WANDB_MODE=offline` it writes them to the run directory, for `wandb sync` later.

    Use it where your experiments are on Weights & Biases.
    """

    def start(self, config: Config) -> None:
        """Begins or continues a run."""
        self._wandb = imported("wandb")
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
