"""Has it collapsed?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.evaluation.latents import aggregate, codes
from pyrovae.inspection.collapse import (
    Signs,
    Verdict,
    dimension_table,
    judge,
    signs_of,
)
from pyrovae.inspection.figures.collapse import rates
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]
