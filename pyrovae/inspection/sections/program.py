"""What is the program?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrovae.inspection.figures.program import graph
from pyrovae.inspection.program import graphviz_source, parameter_table, site_table
from pyrovae.inspection.section import Drawing, Section
from pyrovae.inspection.subject import Subject

if TYPE_CHECKING:
    import pandas

__all__ = ["section"]

PLACE = 20


def section(subject: Subject) -> Section:
    """Sites, distributions, dependencies and parameters of model and guide."""
    programs = subject.programs
    x, inputs = subject.observed(subject.split.take([0, 0]))
    with subject.quietly():
        sites, parameters = site_table(programs, x, **inputs), parameter_table(programs)
        sources = {
            f"{name}.gv": graphviz_source(program, x, **inputs)
            for name, program in (("model", programs.model), ("guide", programs.guide))
        }
    said = (
        "Model and guide as graphs: grey is observed, the box is the plate of images, shapes are "
        "those of one image; run on n = 2 images of the split "
        f"{subject.name}."
    )
    return Section(
        "What is the program?",
        _said(sites, parameters),
        tables={"sites": sites, "parameters": parameters},
        figures={"program": Drawing(graph(sites), said)},
        texts={name: text for name, text in sources.items() if text is not None},
    )


def _said(sites: pandas.DataFrame, parameters: pandas.DataFrame) -> list[str]:
    latents = sites[(sites["program"] == "model") & (sites["kind"] == "latent")]
    parts = [
        f"{row['site']} ({row['distribution']}, {'x'.join(map(str, row['event_shape']))})"
        for _, row in latents.iterrows()
    ]
    counts = parameters.groupby("program", sort=False)["trained"].sum()
    sizes = [f"the {name} has {count:,} trained parameters" for name, count in counts.items()]
    return [
        f"The model draws {', then '.join(parts)}, then an image; given an image, the guide says "
        "what they were.",
        "; ".join(sizes).capitalize() + ".",
    ]
