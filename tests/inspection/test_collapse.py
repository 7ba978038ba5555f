"""The rate by dimension, and the verdict in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from pyrovae import Engine, InputError, ModelGuidePair, Normal, RunDirectory
from pyrovae.data import Split
from pyrovae.evaluation.baselines import structureless
from pyrovae.inspection import PosteriorMonitor, gather, judge
from pyrovae.inspection.collapse import dimension_table, dimensions_for
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Judgement
from pyrovae.inspection.sections.collapse import section
from pyrovae.inspection.subject import QUICK, Subject
from pyrovae.posterior.encoding import Encoding
from pyrovae.training.callbacks import Epoch, RunInfo
from pyrovae.training.rows import EpochRow, as_text
from tests.support.programs import MAKERS, ladder_vae
from tests.support.small import small_data, small_vae
from tests.support.tables import IN_TURN, make_vae

CPU = Engine("cpu", "fp32")


def encoded(loc: np.ndarray, scale: np.ndarray, prior_scale: float = 1.0) -> Encoding:
    kl = 0.5 * (loc**2 + scale**2 - 1) - np.log(scale)
    names = [f"z[{i}]" for i in range(loc.shape[1])]
    known = np.ones(len(names), bool)
    none, rate, prior = np.zeros_like(loc), kl.sum(1), np.full(len(names), prior_scale)
    return Encoding(
        names, loc, scale, loc, none, kl, known, rate, -rate, loc, rate, 0 * rate, prior, ~known
    )


def test_units_are_active_carry_and_are_ordered() -> None:
    loc = np.array([[0.0, 2.0, 0.05], [0.0, -2.0, -0.05]])
    scale = np.array([[1.0, 0.1, 1.0], [1.0, 0.1, 1.0]])
    table = dimension_table(encoded(loc, scale))
    assert list(table.index) == ["z[1]", "z[2]", "z[0]"]
    assert list(table["active"]) == [True, False, False]  # variances 8, 0.005 and 0
    assert table["share"].sum() == pytest.approx(1) and table["cumulative"].iloc[
        -1
    ] == pytest.approx(1)
    assert table.loc["z[1]", "kl"] == pytest.approx(0.5 * (4 + 0.01 - 1) - np.log(0.1))
    assert table.loc["z[1]", "aggregate_variance"] == pytest.approx(4 + 0.01)
    assert dimensions_for(table) == 1 and dimensions_for(table, 1.0) <= 3


@pytest.mark.slow
def test_a_weight_that_is_noise_is_not_known() -> None:
    vae, split = small_vae(), small_data().split("test")
    subject = Subject(vae, split, CPU, shown=split.take([0]), budget=QUICK)
    found = gather(subject)
    assert np.isnan(found.weight) and found.active == 0


def test_the_prior_of_a_sphere_has_active_units_too() -> None:
    z = np.random.default_rng(0).standard_normal((200, 128))
    loc = z / np.linalg.norm(z, axis=1, keepdims=True)
    scale = np.full(loc.shape, 1e-3)
    assert dimension_table(encoded(loc, scale))["active"].sum() < 10
    assert dimension_table(encoded(loc, scale, 128**-0.5))["active"].all()


def epoch(vae: ModelGuidePair, split: Split | None = None) -> Epoch:
    """The end of an epoch, as a callback is told of it."""
    row = EpochRow(1, 200, 1.0, 1.0, 1e-3, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, 0)
    return Epoch(row, vae, split or small_data().split("val"), CPU, rows=[as_text(row.columns())])


def test_the_worst_problem_of_an_epoch_is_told_once() -> None:
    monitor, ended = PosteriorMonitor(), epoch(small_vae(likelihood=Normal(3.0)))
    (collapsed,), nothing = monitor.look(ended), monitor.look(ended)
    assert monitor.warned == [collapsed] and not nothing
    start = "warning (epoch 1): The likelihood's noise is too large (about "
    assert collapsed.startswith(start)


@pytest.mark.slow
def test_the_end_of_all_problems_is_told_once_and_their_return_is() -> None:
    monitor, bad = PosteriorMonitor(), epoch(small_vae(likelihood=Normal(3.0)))
    title = "The likelihood's noise is too large"
    monitor.look(bad)
    with patch("pyrovae.inspection.monitor.judge", lambda evidence: Judgement((), "")):
        assert monitor.look(bad) == [f"note (epoch 1): no longer seen: {title}"]
        assert not monitor.look(bad)
    (again,) = monitor.look(bad)
    assert again.startswith(f"warning (epoch 1): {title} (")


@pytest.mark.parametrize("above", [0, 1])
def test_an_elbo_is_compared_with_a_model_without_structure_far_below_it(above: int) -> None:
    """One with a scale per pixel may be about as good as a VAE, and no scale for what falls."""
    ended, seen = epoch(small_vae()), []
    images = ended.split.spread(PosteriorMonitor().images).images
    models = sorted(structureless(ended.programs.likelihood, images, images))
    elbo = models[1] + (3 if above else 0.5) * (models[1] - models[0])
    row = replace(ended.row, val_elbo=elbo)

    def judged(evidence: Evidence) -> Judgement:
        seen.append(evidence.no_latent)
        return Judgement((), "")

    with patch("pyrovae.inspection.monitor.judge", judged):
        PosteriorMonitor().look(replace(ended, row=row))
    assert len(models) == 2 and seen == [models[above]]


def test_nothing_is_told_in_the_warm_up_or_from_few_steps() -> None:
    ended = epoch(small_vae(likelihood=Normal(3.0)))
    assert not PosteriorMonitor().look(replace(ended, settled=False))
    assert not PosteriorMonitor().look(replace(ended, row=replace(ended.row, step=199)))
    assert PosteriorMonitor().look(ended)


@pytest.mark.parametrize("names", IN_TURN, ids="-".join)
def test_every_part_can_be_watched(names: tuple[str, str, str]) -> None:
    vae, rng = make_vae(*names), np.random.default_rng(0)
    images = 255 * rng.integers(0, 2, (20, 3, 6, 5)).astype(np.uint8)
    split = Split(images, list("abcdefghijklmnopqrst"), np.zeros((20, 0), np.float32))
    for line in PosteriorMonitor().look(epoch(vae, split)):
        assert line.startswith("warning (epoch 1): ") and "nan" not in line


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_other_programs_are_judged(make: type) -> None:
    split = small_data().split("test")
    subject = Subject(make(), split, CPU, shown=split.take([0]), budget=QUICK)
    found = gather(subject)
    classes = sum(own.numel() for name, own in subject.space.shapes.items() if name == "y")
    assert str(judge(found)) and found.dims == subject.space.size - classes
    said = section(subject).says[0]
    assert f"of {found.dims} latent dimensions are active" in said
    assert ("active (y: discrete, not counted)." in said) == bool(classes)
    assert np.isfinite([found.dispersion, found.rate]).all()  # the weight is noise


@pytest.mark.slow
def test_a_collapsed_site_is_named() -> None:
    programs, split = ladder_vae(), small_data().split("test")
    with torch.no_grad():  # A top layer that no image reaches.
        for parameter in programs.guide.top.parameters():
            parameter.zero_()
        for merge in programs.guide.merges:
            merge.maps.layers[-1].bias[0] = 2.0
    subject = Subject(programs, split, CPU, shown=split.take([0]), budget=QUICK)
    found = section(subject)
    layers = found.tables["layers"]
    assert layers.index.tolist() == ["z3", "z2", "z1"]
    assert layers["dimensions"].tolist() == [2, 4, 16]
    assert layers["rate"].sum() == pytest.approx(subject.encoded.rate.mean())
    assert layers.loc["z3", "rate"] == pytest.approx(0, abs=1e-6)
    assert "Collapsed is z3: less than 0.1 nats." in found.says[1]
    figure = found.figures["layers"].figure
    labels = [own.get_text() for own in figure.axes[0].get_xticklabels()]
    assert labels == ["image", "z3", "+ z2", "+ z1"] and len(figure.axes) == 1
    assert not figure.axes[0].get_title() and figure.axes[0].get_title(loc="left") == "test/00000"
    assert "layers" not in section(replace(subject, programs=small_vae())).figures


def test_one_image_is_too_few() -> None:
    with pytest.raises(InputError, match="need at least 2 images, got 1"):
        dimension_table(encoded(np.zeros((1, 2)), np.ones((1, 2))))
    assert PosteriorMonitor().look(epoch(small_vae(), small_data().split("val").take([0]))) == []


@pytest.mark.slow
def test_warnings_are_printed_and_kept(tmp_path: Path) -> None:
    run, lines = RunDirectory(tmp_path), list[str]()
    for _ in range(2):
        monitor = PosteriorMonitor()
        monitor.begin(RunInfo(run, 1, 0, 0, False, True, lines.append))
        monitor.end_epoch(epoch(small_vae(likelihood=Normal(3.0))))
    assert len(lines) == 1 and run.warnings.read_text().splitlines() == lines
