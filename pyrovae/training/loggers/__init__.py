"""Loggers of a run: the metrics file, TensorBoard, and trackers of experiments."""

# ruff: noqa: F403
from pyrovae.training.loggers.base import *
from pyrovae.training.loggers.base import Logger
from pyrovae.training.loggers.metrics import *
from pyrovae.training.loggers.tensorboard import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, Logger)
