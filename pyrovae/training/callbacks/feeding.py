"""Passes the results of each epoch to loggers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from textwrap import shorten
from typing import Any

from pyrovae.training.callbacks.base import Epoch, Hooks, RunInfo
from pyrovae.training.loggers.base import Config, Images, Logger, Numbers

__all__ = ["LoggerFeed"]


class LoggerFeed(Hooks):
    """Passes the results of each epoch to loggers; the run continues without one that fails.

    Args:
        loggers: the loggers, called in this order.
        options: the options of the run, as `config.yaml` holds them.
        text: the text of `config.yaml`.
    """

    def __init__(
        self, loggers: Iterable[Logger], options: Mapping[str, Any] | None = None, text: str = ""
    ) -> None:
        self.loggers, self.options, self.text = list(loggers), dict(options or {}), text
        self._started: list[Logger] = []

    def begin(self, info: RunInfo) -> None:
        """Starts the loggers."""
        self._say, self._started = info.say, list(self.loggers)
        config = Config(self.options, info.run, self.text, info.id, info.epoch, info.step)
        self._each(lambda logger: logger.start(config), "cannot start")

    def end_epoch(self, epoch: Epoch) -> None:
        """Logs the metrics and pictures of the epoch."""
        numbers, images = Numbers(epoch.row.columns(), epoch.vectors), Images(epoch)
        self._each(lambda logger: logger.log(numbers, images, epoch.row.step), "failed")

    def end(self, status: str) -> None:
        """Finishes the loggers that have started."""
        self._each(lambda logger: logger.finish(status), "failed at the end")
        self._started = []

    def _each(self, call: Callable[[Logger], None], failure: str) -> None:
        for logger in list(self._started):
            try:
                call(logger)
            except Exception as error:  # A tracker may raise anything.
                self._started.remove(logger)
                reason = shorten(str(error) or type(error).__name__, 300, placeholder=" ...")
                name = type(logger).__name__
                self._say(f"warning: {name} {failure}, the run continues without it: {reason}")
