"""What a benchmark found: rows of a table, as text and as CSV."""

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
        section: such as "steps".
        case: such as "conv".
        loop: which loop, or what was varied.
        quantity: what was measured.
        value: the median.
        low: the lower quartile; the value itself where it was measured once.
        high: the upper quartile.
        unit: of the three.
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
    """All rows, in the order in which they were measured."""

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
        """Adds a row; a single number is its own quartiles."""
        found = value if isinstance(value, Spread) else Spread(value, value, value)
        self.rows.append(Figure(section, case, loop, quantity, *found, unit))

    def find(self, section: str, case: str, quantity: str) -> dict[str, Figure]:
        """The rows of a quantity, by their loops."""
        wanted = (section, case, quantity)
        return {
            row.loop: row for row in self.rows if (row.section, row.case, row.quantity) == wanted
        }

    def write(self, path: Path) -> None:
        """Writes all rows as CSV; what was never reached, as a break-even, stays empty."""
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
    """One line on the machine, as far as it decides the figures."""
    on = f"{torch.get_num_threads()} threads"
    if device.type == "cuda":
        on = torch.cuda.get_device_name(device)
    elif torch.backends.cpu.get_cpu_capability() != "DEFAULT":
        on = f"{on}, {torch.backends.cpu.get_cpu_capability()}"
    return f"{device.type} ({on}), torch {torch.__version__}, networks in {precision} at best"
