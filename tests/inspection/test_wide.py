"""Guides that are wide because their objective wants them to be; likelihoods without a scale."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pyro.infer import Trace_ELBO

from pyrovae import IWAE, Bernoulli, Denoising, DReG, FreeBits, ThresholdBinarization
from pyrovae.commands.inspect import open_subject
from pyrovae.inspection import Subject, gather
from pyrovae.inspection.causes import CAUSES
from pyrovae.inspection.sections.gaps import section as gaps
from pyrovae.inspection.subject import Budget
from pyrovae.objectives import as_objective
from pyrovae.training.callbacks import Console, RunInfo
from tests.support.commands import TINY, run
from tests.support.small import small_data, small_vae
from tests.support.subjects import CPU, Linear, subject_of

pytestmark = pytest.mark.slow

SMALL = Budget(60, 2, 100, 2, 20, 2, 20, 3)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (IWAE(5), True),
        (IWAE(1), False),
        (DReG(2), True),
        (Denoising(bound=IWAE()), True),
        (Denoising(), False),
        (FreeBits(num_particles=5), False),
        (Trace_ELBO(num_particles=5), False),
    ],
)
def test_bounds_of_several_particles_widen(objective: Any, expected: bool) -> None:
    assert as_objective(objective).prefers_wide_guide == expected


def test_a_guide_trained_for_several_particles_is_wider() -> None:
    """Of a correlated Normal posterior and a diagonal family, at the optimum of each bound."""
    torch.manual_seed(0)
    precision = torch.tensor([[1.0, 0.9], [0.9, 1.0]]).inverse()
    widths = []
    for particles in (1, 20):
        scale = torch.zeros(2, requires_grad=True)
        optimizer = torch.optim.Adam([scale], 0.05)
        for _ in range(150):
            z = torch.randn(particles, 256, 2) * scale.exp()
            log_p = -(z @ precision * z).sum(-1) / 2
            log_q = torch.distributions.Normal(0.0, scale.exp()).log_prob(z).sum(-1)
            optimizer.zero_grad()
            (-(log_p - log_q).logsumexp(0).mean()).backward()
            optimizer.step()
        widths.append(float(scale.detach().exp().mean()))
    assert widths[1] > 1.2 * widths[0]


@pytest.mark.usefixtures("short_fits")
def test_a_wide_guide_that_was_meant_to_be_has_no_remedy() -> None:
    whole = subject_of(Linear(latent_dim=3).vae(inflation=2.0), SMALL)
    meant = dataclasses.replace(whole, wide=True)
    plain, told = gaps(whole), gaps(meant)
    assert not any("several particles" in said for said in plain.says)
    assert any("several particles" in said for said in told.says)
    look = CAUSES["beta_too_high"]
    found, wide = (
        dataclasses.replace(gather(own), spread_gain=9.0, weight_error=0.1)
        for own in (whole, meant)
    )
    assert look(found) is not None and look(wide) is None


@pytest.mark.usefixtures("without_pages")
@pytest.mark.parametrize("objective", ["IWAE", "Trace_ELBO", "BetaTC"])
def test_a_run_tells_what_it_was_trained_for(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "run"
    seen: list[RunInfo] = []
    monkeypatch.setattr(Console, "begin", lambda self, start: seen.append(start))
    assert run("train", [*TINY, f"--run_dir={root}", f"--objective={objective}"], monkeypatch) == 0
    subject, _ = open_subject(root, budget=SMALL)
    assert subject.wide == seen[0].wide == (objective == "IWAE")
    assert subject.maximises_elbo == seen[0].maximises_elbo == (objective != "BetaTC")
    text = (root / "config.yaml").read_text()
    (root / "config.yaml").write_text(text.replace(objective, "Gone"))
    assert not open_subject(root, budget=SMALL)[0].wide


def test_binary_pixels_are_not_told_to_learn_a_scale() -> None:
    data = small_data(num_train=60, num_test=60)
    vae = small_vae(likelihood=Bernoulli(ThresholdBinarization()))
    with torch.no_grad():  # Sure of everything, and of much wrongly.
        for weight in vae.model.decoder.parameters():
            weight.mul_(3.0)
    split = data.split("test")
    subject = Subject(vae.eval(), split, CPU, shown=split.take([0]), budget=SMALL)
    found = gather(subject)
    assert found.dispersion > 2 and not found.has_scale
    finding = CAUSES["unfitted_noise"](found)
    assert finding is not None and "overconfident" in finding.title
    assert not any("likelihood" in own.changes for own in finding.advice)
    assert math.isnan(found.pixel_gain)
