"""Tables and a graph of model and guide: sites, distributions, dependencies, parameters."""

from __future__ import annotations

import importlib.util
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.inspect import get_model_relations
from torch import Tensor, nn

from pyrovae.programs.pair import ModelGuidePair
from pyrovae.utils.lazy import pandas
from pyrovae.utils.pyro_state import own_store

__all__ = ["parameter_table", "site_table"]


def site_table(programs: ModelGuidePair, x: Tensor, **inputs: Tensor) -> pandas.DataFrame:
    """The sites of model and guide: one row per site, with its distribution and its parents.

    Columns are `program`, `site`, `kind` (latent or observed), `distribution`, `batch_shape`,
    `event_shape`, `support`, `parents` (sites that its distribution is computed from) and
    `plates`. The observations x are an input of the guide, and a parent of all its sites.

    Args:
        programs: the pair of programs.
        x: observations `(B, C, H, W)`.
        **inputs: further inputs of the programs.
    """
    rows = []
    for name, program in (("model", programs.model), ("guide", programs.guide)):
        with own_store(program), torch.no_grad():
            trace = poutine.trace(program).get_trace(x, **inputs)
            relations = get_model_relations(program, (x,), inputs)
        for site, parents in relations["sample_sample"].items():
            fn = trace.nodes[site]["fn"]
            plates = [plate for plate, own in relations["plate_sample"].items() if site in own]
            row = {
                "program": name,
                "site": site,
                "kind": "observed" if trace.nodes[site]["is_observed"] else "latent",
                "distribution": relations["sample_dist"][site],
                "batch_shape": tuple(fn.batch_shape),
                "event_shape": tuple(fn.event_shape),
                "support": str(fn.support),
                "parents": ", ".join(parents if name == "model" else ["x", *parents]),
                "plates": ", ".join(plates),
            }
            rows.append(row)
    return pandas.DataFrame(rows)


def graphviz_source(program: Any, x: Tensor, **inputs: Tensor) -> str | None:
    """The graph of a model or guide as Graphviz source, by `pyro.render_model`.

    Args:
        program: the model or the guide.
        x: observations `(B, C, H, W)`.
        **inputs: further inputs of the program.

    Returns:
        The source; None if the Python package `graphviz` is not installed.
    """
    if importlib.util.find_spec("graphviz") is None:
        return None
    with own_store(program), torch.no_grad():
        drawn = pyro.render_model(program, (x,), inputs, render_distributions=True)
    return str(drawn.source)


def parameter_table(programs: ModelGuidePair) -> pandas.DataFrame:
    """The parts of model and guide: class, number of parameters, number of trained ones.

    Args:
        programs: the pair of programs.
    """
    rows = []
    for name, program in (("model", programs.model), ("guide", programs.guide)):
        parts = [(n, type(own).__name__, own) for n, own in program.named_children()]
        loose = nn.ParameterList(program.parameters(recurse=False))
        for part, kind, module in [*parts, ("itself", "", loose)] if len(loose) else parts:
            sizes = {p: p.numel() for p in module.parameters()}
            trained = sum(size for p, size in sizes.items() if p.requires_grad)
            rows.append((name, part, kind, sum(sizes.values()), trained, len(sizes)))
    columns = ["program", "part", "class", "parameters", "trained", "tensors"]
    return pandas.DataFrame(rows, columns=columns)
