"""Plates are sample messages too, and no handler or walk over a trace may take them for sites."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from pyrovae.objectives import LatentRate, ScaleLatents
from pyrovae.utils.sites import is_latent, is_observed, latent_sites, observed_sites, sample_sites


def program(x: torch.Tensor) -> None:
    with pyro.plate("draws", 2, dim=-2), pyro.plate("images", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.deterministic("twice", 2 * z)
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


class Seen(Messenger):
    """What passes, by name: latent, observed, or neither."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[str, tuple[bool, bool]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        self.kinds[msg["name"]] = is_latent(msg), is_observed(msg)


def test_messages_and_nodes_tell_plates_from_sites() -> None:
    with Seen() as seen:
        trace = poutine.trace(program).get_trace(torch.zeros(3))
    kinds = {"draws": (False, False), "images": (False, False), "z": (True, False)}
    kinds |= {"twice": (False, True), "x": (False, True)}  # Pyro observes what is deterministic.
    assert seen.kinds == kinds
    assert {"draws", "images"} <= set(trace.stochastic_nodes)
    assert latent_sites(trace) == ["z"]
    assert observed_sites(trace) == trace.observation_nodes == ["twice", "x"]
    assert sample_sites(trace) == ["z", "twice", "x"]


def test_no_plate_is_scaled() -> None:
    with ScaleLatents(0.25):
        trace = poutine.trace(program).get_trace(torch.zeros(3))
    scales = {name: node["scale"] for name, node in trace.nodes.items() if "scale" in node}
    assert scales.pop("z") == 0.25
    assert set(scales) == {"draws", "images", "twice", "x"} and set(scales.values()) == {1.0}


def test_no_plate_has_a_rate() -> None:
    with LatentRate() as latent:
        trace = poutine.trace(program).get_trace(torch.zeros(3))
        poutine.replay(program, trace=trace)(torch.zeros(3))
    assert set(latent._sites) == {"z"} and len(latent._sites["z"]) == 2
    assert not set(latent._observed) & {"draws", "images"}
