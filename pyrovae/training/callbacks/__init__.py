"""Callbacks of a run: terminal, pictures, page of the run, and the feed of the loggers."""

# ruff: noqa: F403
from pyrovae.training.callbacks.base import *
from pyrovae.training.callbacks.base import Callback
from pyrovae.training.callbacks.console import *
from pyrovae.training.callbacks.feeding import *
from pyrovae.training.callbacks.files import *
from pyrovae.utils.discovery import exports

__all__ = exports(__name__, Callback)
