"""A run on disk: its directory, its checkpoints, its state."""

from pyrovae.runs.checkpoint import checksum, load_checkpoint, save_checkpoint
from pyrovae.runs.directory import RunDirectory, distinct_runs
from pyrovae.runs.state import TrainingState

__all__ = [
    "RunDirectory",
    "TrainingState",
    "checksum",
    "distinct_runs",
    "load_checkpoint",
    "save_checkpoint",
]
