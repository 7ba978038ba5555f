"""The measurements of a benchmark: rows of a table, and the CSV file."""

from __future__ import annotations

import csv
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch

from benchmarking.statistics import Spread
from pyrovae.utils.files import replacing

__all__ = ["Figure", "Figures", "header"]


@dataclass(frozen=True)
class Figure:
    """One measured number, as a row of `benchmark.csv`.

    Attributes:
        section: the section, such as "steps".
        case: the case, such as "conv".
        loop: the loop, or the varied setting.
        quantity: the measured quantity.
        value: the median.
        low: the lower quartile; equal to the median after a single measurement.
        high: the upper quartile; equal to the median after a single measurement.
        unit: the unit of the three values.
    """

    section: str
    case: str
    loop: str
    quantity: str
    value: float
    low: float
    high: float
    unit: str


class Figures:
    """All measured rows, in order of measurement."""

    def __init__(self) -> None:
        self.rows: list[Figure] = []

    def add(
        self,
        section: str,
        case: str,
        loop: str,
        quantity: str,
        value: float | Spread,
        unit: str,
    ) -> None:
        """Adds a row; the quartiles of a single number are the number itself."""
        found = value if isinstance(value, Spread) else Spread(value, value, value)
        self.rows.append(Figure(section, case, loop, quantity, *found, unit))

    def find(self, section: str, case: str, quantity: str) -> dict[str, Figure]:
        """The rows of a quantity, by loop."""
        wanted = (section, case, quantity)
        return {
            row.loop: row for row in self.rows if (row.section, row.case, row.quantity) == wanted
        }

    def write(self, path: Path) -> None:
        """Writes all rows as CSV; infinite values, as of some break-evens, are empty."""
        with replacing(path) as temporary, open(temporary, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow([column.name for column in fields(Figure)])
            for row in self.rows:
                table.writerow([_plain(value) for value in astuple(row)])


def _plain(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if math.isfinite(value) else ""


def header(device: torch.device, precision: str) -> str:
    """One line on the machine: device, threads, version of torch, precision."""
    on = f"{torch.get_num_threads()} threads"
    if device.type == "cuda":
        on = torch.cuda.get_device_name(device)
    elif torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        on = f"{on}, {torch.backends.cpu.get_cpu_capability()}"
    return f"{device.type} ({on}), torch {torch.__version__}, networks in {precision} at best"
