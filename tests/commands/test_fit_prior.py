"""`pyrovae fit-prior`: the prior trains, everything else stays."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest
import torch

from pyrovae import RunDirectory, load
from tests.support.commands import TINY, refusal, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]


def trained(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert run("train", [*TINY, f"--run_dir={root}"], monkeypatch) == 0
    return root


def test_the_prior_trains_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = trained(tmp_path / "run", monkeypatch)
    options = [str(root), "--prior", "GaussianMixture", "--prior.num_components=3"]
    assert run("fit_prior", options, monkeypatch) == 0
    said = capsys.readouterr().out
    rows = [pandas.read_csv(own / "metrics.csv") for own in (root, tmp_path / "run-prior")]
    elbos = [f"{row.val_elbo.max():,.1f}" for row in rows]
    assert f": ELBO {elbos[0]}, rate" in said and f", ELBO {elbos[1]}, rate" in said
    worse = rows[1].val_elbo.max() < rows[0].val_elbo.max()
    assert ("warning: the ELBO fell" in said) == worse
    old, new = (load(own).state_dict() for own in (root, tmp_path / "run-prior"))
    kept = [name for name in old if ".prior." not in name]
    assert kept
    for name in kept:
        torch.testing.assert_close(new[name], old[name], rtol=0, atol=0)
    assert load(tmp_path / "run-prior").model.prior.latent_dim == load(root).model.prior.latent_dim
    assert not RunDirectory(root).root.samefile(tmp_path / "run-prior")
    capsys.readouterr()
    other = [f"--run_dir={tmp_path / 'other'}", "--data.num_train=48"]
    assert run("fit_prior", [*options, *other], monkeypatch) == 0
    assert "with the new prior" not in capsys.readouterr().out


def test_mistakes_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(trained(tmp_path / "run", monkeypatch))
    for arguments, said in (
        ([root], "--prior: must be given"),
        ([root, "--prior", "FlowPrio"], "unknown class 'FlowPrio'"),
        (
            [root, "--prior=FlowPrior", "--freeze=encoder"],
            "--freeze: not allowed with fit-prior, which sets",
        ),
        (
            [root, "--prior=FlowPrior", "--encoder=MLPEncoder"],
            "--encoder: not allowed with fit-prior, which keeps",
        ),
        (
            [root, "--prior=FlowPrior", "--decoder.bias=true"],
            "--decoder.bias: not allowed with fit-prior",
        ),
        (
            [root, "--prior=FlowPrior", "--prior.latent_dim=3"],
            "--prior.latent_dim 3: the frozen networks have ",
        ),
        (
            [root, "--prior=FlowPrior", "--data.image_size=32"],
            "decoder, encoder must be copied completely; ",
        ),
        ([root, "--prior=StandardNormal"], "nothing is left to train: only frozen parts have"),
        ([str(tmp_path / "none"), "--prior", "FlowPrior"], "none: no such directory"),
        (["--prior", "FlowPrior"], "--prior: the first argument is the run directory"),
    ):
        capsys.readouterr()
        assert said in refusal("fit_prior", arguments, monkeypatch, capsys)


def test_programs_with_parts_that_have_no_parameters_get_another_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--program=ConditionalVAE", "--program.attributes=[eye_size]"]
    assert run("train", [*TINY, *given, f"--run_dir={tmp_path / 'run'}"], monkeypatch) == 0
    options = [str(tmp_path / "run"), "--prior=GaussianMixture", "--prior.num_components=3"]
    assert run("fit_prior", options, monkeypatch) == 0


def test_a_run_that_began_with_the_weights_of_another_gets_another_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trained(tmp_path / "run", monkeypatch)
    again = [*TINY, f"--init_from={root}", f"--run_dir={tmp_path / 'again'}"]
    assert run("train", again, monkeypatch) == 0
    prior = ["--prior=GaussianMixture", "--prior.num_components=3"]
    assert run("fit_prior", [str(tmp_path / "again"), *prior], monkeypatch) == 0
    # A fitted run too.
    assert run("fit_prior", [str(tmp_path / "again-prior"), *prior], monkeypatch) == 0
