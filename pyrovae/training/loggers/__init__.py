"""What reports a run: the terminal, tables, pictures, TensorBoard."""

from __future__ import annotations

from pyrovae.training.loggers.base import Epoch, EpochRow, Logger, Loggers, Start
from pyrovae.training.loggers.console import Console
from pyrovae.training.loggers.metrics import MetricsFile
from pyrovae.training.loggers.pictures import Pictures
from pyrovae.training.loggers.tensorboard import TensorBoard

__all__ = [
    "Console",
    "Epoch",
    "EpochRow",
    "Logger",
    "Loggers",
    "MetricsFile",
    "Pictures",
    "Start",
    "TensorBoard",
]
