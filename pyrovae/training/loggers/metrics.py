"""`metrics.csv`: one row per epoch."""

from __future__ import annotations

from pyrovae.runs import RunDirectory
from pyrovae.training.loggers.base import Config, Images, Logger, Numbers
from pyrovae.training.rows import as_csv, as_text, rows_until
from pyrovae.utils.files import replace_file

__all__ = ["CSVLogger"]


class CSVLogger(Logger):
    """Writes `metrics.csv` into the run directory, one row per epoch.

    Use it for plots and tables of a run, with pandas or a spreadsheet.
    """

    def __init__(self) -> None:
        self._run: RunDirectory | None = None
        self._rows: list[dict[str, str]] = []

    def start(self, config: Config) -> None:
        """Reads the rows of complete epochs, and drops later rows."""
        self._run, self._rows = config.run, []
        if config.run is not None:
            self._rows = rows_until(config.run.metrics, config.epoch)

    def log(self, numbers: Numbers, images: Images, step: int) -> None:
        """Rewrites the file with one more row."""
        self._rows.append(as_text({**numbers, "step": step}))
        if self._run is not None:
            replace_file(self._run.metrics, as_csv(self._rows))

    def finish(self, status: str) -> None:
        """Does nothing: the file is complete after each epoch."""
