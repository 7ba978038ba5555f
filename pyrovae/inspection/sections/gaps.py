"""How far the ELBO lies below log p(x), whose fault that is, and how wide the guide is."""

from __future__ import annotations

import math


from pyrovae.errors import InputError
from pyrovae.evaluation.estimates import Estimate
from pyrovae.inspection.figures.gaps import draw_gaps, draw_reliability, draw_temperature
from pyrovae.inspection.gaps import gaps
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject
from pyrovae.inspection.tempering import Temperature, temperature

__all__ = ["section"]
