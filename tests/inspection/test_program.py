"""What a program is."""

from __future__ import annotations

import importlib.util
from typing import Any

import pyro
import pytest
import torch
from torch import Tensor

from pyrovae import ModelGuidePair
from pyrovae.inspection.program import graphviz_source, parameter_table, site_table
from pyrovae.inspection.sections.program import draw_graph
from tests.support.programs import two_latents
from tests.support.small import small_vae
from tests.support.spaces import every_program
from tests.support.tables import IN_TURN, make_images, make_vae


@pytest.mark.slow
@every_program
def test_sites_and_parameters_are_all_there(
    make: type[ModelGuidePair], inputs: dict[str, Tensor], names: list[str]
) -> None:
    programs, x = make(), torch.rand(5, 3, 16, 16)
    sites, parameters = site_table(programs, x, **inputs), parameter_table(programs)
    assert parameters["parameters"].sum() == sum(p.numel() for p in programs.parameters())
    latents = sites[sites["kind"] == "latent"]
    for program in ("model", "guide"):
        own = latents[latents["program"] == program]
        assert set(own["site"]) == {name.split("[")[0] for name in names}
    assert (sites["plates"] == "images").all() and list(sites["batch_shape"])[0] == (5,)
    assert len(pyro.get_param_store()) == 0
    draw_graph(sites).draw_without_rendering()


def test_parents_are_what_a_site_is_computed_from() -> None:
    sites = site_table(two_latents(), torch.rand(2, 3, 16, 16)).set_index(["program", "site"])
    parents = sites["parents"].to_dict()
    assert parents[("model", "z2")] == "" and parents[("model", "z1")] == "z2"
    assert set(parents[("model", "x")].split(", ")) == {"z1", "z2"}
    assert parents[("guide", "z2")] == "x, z1"


@pytest.mark.parametrize("names", IN_TURN, ids="-".join)
def test_every_part_has_a_row(names: tuple[str, str, str]) -> None:
    vae = make_vae(*names)
    x = vae.observe(make_images(vae.likelihood, 2))
    assert len(site_table(vae, x)) == 3 and len(parameter_table(vae)) == 5


def test_frozen_parameters_are_not_counted_as_trained() -> None:
    vae = small_vae()
    for parameter in vae.guide.parameters():
        parameter.requires_grad_(False)
    trained = parameter_table(vae).groupby("program")["trained"].sum()
    assert trained["guide"] == 0 < trained["model"]


@pytest.mark.skipif(importlib.util.find_spec("graphviz") is None, reason="needs graphviz")
def test_graphviz_gets_the_same_graph() -> None:
    source = graphviz_source(two_latents().model, torch.rand(2, 3, 16, 16))
    assert source is not None and "z2 -> z1" in source and "z1 -> x" in source


def test_without_graphviz_there_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def missing(name: str, *args: Any) -> Any:
        return None if name == "graphviz" else real(name, *args)

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    assert graphviz_source(small_vae().model, torch.rand(2, 3, 16, 16)) is None
