"""The questions of the report: each a function of a subject that gives a section."""

from __future__ import annotations

from collections.abc import Callable

from pyrovae.inspection.section import Section
from pyrovae.inspection.sections import (
    attributes,
    calibration,
    collapse,
    factors,
    gaps,
    holes,
    maps,
    mcmc,
    paths,
    posterior,
    program,
    traversals,
    typical,
)
from pyrovae.inspection.subject import Subject

__all__ = ["SECTIONS"]

#: All of them, in the order of the report.
SECTIONS: dict[str, Callable[[Subject], Section]] = {
    "collapse": collapse.section,
    "program": program.section,
    "posterior": posterior.section,
    "holes": holes.section,
    "gaps": gaps.section,
    "mcmc": mcmc.section,
    "calibration": calibration.section,
    "traversals": traversals.section,
    "paths": paths.section,
    "attributes": attributes.section,
    "factors": factors.section,
    "map": maps.section,
    "typical": typical.section,
}
