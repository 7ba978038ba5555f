"""The sites of a program: latent and observed random variables, without plates."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pyro.poutine.util import site_is_subsample

from pyrovae.utils.errors import InputError
from pyrovae.utils.text import closest, listed

__all__ = [
    "drawn_in_order",
    "is_latent",
    "is_observed",
    "latent_sites",
    "observed_sites",
    "only",
    "sample_sites",
]


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


def only(trace: Any, names: Collection[str]) -> Any:
    """A trace without the latent sites that have none of these names; as it is without names.

    Raises:
        InputError: if a name is not that of a latent site.
    """
    known = latent_sites(trace)
    for name in names:
        if name not in known:
            raise InputError(
                f"no latent site {name}{closest(name, known)}; sites are {listed(known)}"
            )
    for name in known if names else ():
        if name not in names:
            trace.remove_node(name)
    return trace


def drawn_in_order(guide: Any, model: Any) -> set[str]:
    r"""The latent sites of a guide's trace whose rate is a KL given the sites drawn before.

    $$\mathbb{E}_q[\log q(z \mid a) - \log p(z \mid b)] = \mathbb{E}_q[KL(q(z \mid a) \,\|\,
    p(z \mid b))]$$

    holds if b does not depend on z. So the guide must draw all latent sites before z that precede
    z in the model. Otherwise b may have been drawn given z, and only the left side is the rate.

    Args:
        guide: a trace of the guide.
        model: a trace of the model, replayed with its values.
    """
    drawn: set[str] = set()
    found = set()
    order = [name for name in latent_sites(model) if name in guide.nodes]
    for name in latent_sites(guide):
        if name in order and drawn.issuperset(order[: order.index(name)]):
            found.add(name)
        drawn.add(name)
    return found


def _is_variable(site: Any) -> bool:
    return site["type"] == "sample" and not site_is_subsample(site)
