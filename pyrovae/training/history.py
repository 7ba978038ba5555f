"""The history of a run: its epochs as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas

from pyrovae.runs.state import TrainingState
from pyrovae.training.rows import COLUMNS

__all__ = ["History"]


class History(pandas.DataFrame):
    """The epochs of a run as a pandas frame with the rows and columns of `metrics.csv`.

    Attributes:
        state: the state of the run, such as its steps and best epochs.
    """

    _metadata = ["state"]
    state: TrainingState

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, str]], state: TrainingState) -> History:
        """The frame of these rows.

        Args:
            rows: the cells of each epoch, by column.
            state: the state of the run.
        """
        cells = [{name: _number(cell) for name, cell in row.items()} for row in rows]
        found = cls(cells, columns=None if rows else COLUMNS)
        found.state = state
        return found


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text or math.nan)
