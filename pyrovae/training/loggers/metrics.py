"""`metrics.csv`: one row per epoch."""

from __future__ import annotations

import csv
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from pyrovae.runs import RunDirectory
from pyrovae.training.loggers.base import Epoch, EpochRow, Logger, RunInfo
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing

__all__ = ["MetricsFile", "read_rows"]


class MetricsFile(Logger):
    """Writes `metrics.csv` into the run directory, one row per epoch.

    Use it for plots and tables of a run, with pandas or a spreadsheet.
    """

    def __init__(self) -> None:
        self._run: RunDirectory | None = None
        self._rows: list[dict[str, str]] = []

    def begin(self, info: RunInfo) -> None:
        """Reads the rows of complete epochs, and drops later rows."""
        self._run, self._rows = info.run, []
        if info.run is not None and info.run.metrics.exists():
            rows = read_rows(info.run.metrics)
            self._rows = [row for row in rows if int(row["epoch"]) <= info.epoch]

    def end_epoch(self, epoch: Epoch) -> None:
        """Rewrites the file with one more row."""
        columns = epoch.row.columns()
        self._rows.append({k: "" if v is None else str(v) for k, v in columns.items()})
        if self._run is None:
            return
        with replacing(self._run.metrics) as temporary, open(temporary, "w", newline="") as file:
            table = csv.DictWriter(file, list(dict.fromkeys(n for row in self._rows for n in row)))
            table.writeheader()
            table.writerows(self._rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a `metrics.csv`; raises `InputError` if the file is damaged."""
    columns = [column.name for column in fields(EpochRow) if column.name != "objective"]
    try:
        with open(path, newline="") as file:
            table = csv.DictReader(file)
            if not table.fieldnames:
                raise InputError(f"{path}: is empty; remove it to resume without it")
            rows = list(table)
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: damaged ({error}); remove it to resume without it") from None
    if any(not _is_row(row, columns) for row in rows):
        raise InputError(f"{path}: wrong columns or values; remove it to resume without it")
    return rows


def _is_row(row: dict[Any, Any], columns: list[str]) -> bool:
    always = [name for name in row if not str(name).startswith("objective_")]
    whole = all(re.fullmatch("[0-9]{1,15}", str(row.get(name))) for name in ("epoch", "step"))
    return always == columns and whole and all(map(_is_number, row.values()))


def _is_number(text: Any) -> bool:
    """Whether a cell holds a number or is empty."""
    try:
        float(text or 0)
    except (TypeError, ValueError):
        return False
    return text is not None
