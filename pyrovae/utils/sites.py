"""The sites of a program: latent and observed random variables, without plates."""

from __future__ import annotations

from typing import Any

from pyro.poutine.util import site_is_subsample

__all__ = ["is_latent", "is_observed", "latent_sites", "observed_sites", "sample_sites"]


def is_latent(site: Any) -> bool:
    """Whether a message or a trace node is a latent random variable.

    A plate is a site of type "sample" too: it draws indices on the CPU with log density 0.
    It is neither latent nor observed.
    """
    return _is_variable(site) and not site["is_observed"]


def is_observed(site: Any) -> bool:
    """Whether a message or a trace node is an observed random variable."""
    return _is_variable(site) and site["is_observed"]


def sample_sites(trace: Any) -> list[str]:
    """The names of the latent and observed sites of a trace, in order."""
    return [name for name, node in trace.nodes.items() if _is_variable(node)]


def latent_sites(trace: Any) -> list[str]:
    """The names of the latent sites of a trace, in order."""
    return [name for name, node in trace.nodes.items() if is_latent(node)]


def observed_sites(trace: Any) -> list[str]:
    """The names of the observed sites of a trace, in order."""
    return [name for name, node in trace.nodes.items() if is_observed(node)]


def _is_variable(site: Any) -> bool:
    return site["type"] == "sample" and not site_is_subsample(site)
