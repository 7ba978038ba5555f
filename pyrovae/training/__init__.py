"""SVI: the trainer, its steps, its optimiser, what it logs."""

from pyrovae.training.recipe import Recipe
from pyrovae.training.trainer import Trainer

__all__ = ["Recipe", "Trainer"]
