"""The last lines of `pyrovae train`: the scores of the best weights, and of two baselines."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pyrovae.commands.evaluate import score_run
from pyrovae.commands.train import WITHOUT_LATENT, _below, _store, main
from pyrovae.evaluation.earlier import estimates
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.run_scores import RunScores, notes
from pyrovae.evaluation.scoring import Options
from pyrovae.posterior import Evaluation
from pyrovae.runs import RunDirectory, checksum

pytestmark = pytest.mark.usefixtures("without_pages")

SMALL = [
    "--prior=StandardNormal",
    "--data.num_train=60",
    "--data.num_val=10",
    "--data.num_test=10",
    "--data.image_size=16",
    "--prior.latent_dim=4",
    "--encoder.channels=[4,8]",
    "--decoder.channels=[8,4]",
    "--trainer.epochs=1",
]
BELOW = "below log p(x) of a simpler model, probabilistic PCA of 60 training"


@pytest.mark.slow
@pytest.mark.parametrize(("start", "warns"), [("RandomStart", True), ("ProbabilisticPCA", False)])
def test_a_vae_below_a_baseline_is_told_of(
    start: str, warns: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # With lr 0 the start decides: random weights are worse than PCA, and PCA is better than both
    # baselines' fits of one distribution per pixel.
    main([*SMALL, f"--run_dir={tmp_path / 'run'}", f"--start={start}", "--optimizer.lr=0"])
    said = capsys.readouterr().out
    assert "  probabilistic PCA of 60 training images, latent dimensions: 4: " in said
    (without,) = (line for line in said.splitlines() if line.startswith("  without latents"))
    assert "bits/dim  log p(x) " in without
    assert "rate" not in without
    assert (BELOW in said) == warns


@pytest.mark.parametrize(
    ("given", "model"),
    [
        ((), "a simpler model, PCA;"),
        (("age", "sex"), "a simpler model, PCA (not given age, sex);"),
    ],
)
def test_a_score_below_a_model_without_attributes_is_told_of(
    given: tuple[str, ...], model: str, tmp_path: Path
) -> None:
    scores = torch.linspace(-1.0, 1.0, 9)
    run = RunDirectory(tmp_path)
    (warning,) = _below(run, scores - 30, {"PCA": scores}, given)
    assert "the ELBO is 30 nats (standard error 0.0) below log p(x) of" in warning
    assert model in warning
    assert not _below(run, scores + 30, {"PCA": scores}, given)


@pytest.mark.slow
@pytest.mark.parametrize(("option", "alone"), [("missing=0", True), ("drop=0.5", False)])
def test_it_is_said_that_seen_pixels_alone_are_scored(
    option: str, alone: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    main([*SMALL, f"--run_dir={root}", "--likelihood=Masked", f"--likelihood.{option}"])
    assert ("nats per image, of seen pixels only:" in capsys.readouterr().out) == alone
    found = score_run(root, Options(), ["elbo"], device="cpu")
    assert ("; only seen pixels are scored" in found.about) == alone


def test_the_best_of_the_simpler_models_is_named() -> None:
    run = RunDirectory("runs/x")
    vae, pca, without = (torch.full((9,), value) for value in (1.0, 12.0, 13.0))
    (line,) = _below(run, vae, {"probabilistic PCA": pca, WITHOUT_LATENT: without})
    assert "12 nats (standard error 0.0) below" in line
    assert "simpler model, without latents" in line
    (line,) = _below(run, vae, {"probabilistic PCA": pca})
    assert line.endswith("probabilistic PCA; to find the cause: pyrovae inspect runs/x --quick")


@pytest.mark.parametrize(("less", "warns"), [(0.5, False), (10.0, True), (-10.0, False)])
def test_a_difference_within_its_error_is_not_told_of(less: float, warns: bool) -> None:
    # Images differ by far more than the two models do on each of them: errors are paired.
    torch.manual_seed(0)
    linear = 1000 * torch.randn(200)
    elbo = linear - less + 3 * torch.randn(200)
    assert bool(_below(RunDirectory("x"), elbo, {"PCA": linear})) == warns


def test_standard_errors_have_separators() -> None:
    assert "ELBO -104,932.2 ± 37,916.4  rate" in str(
        Evaluation(-104_932.2, 0.0, 104_932.2, None, 9, 37_916.4)
    )


def test_a_score_worse_than_that_of_uniform_pixels_is_told_of() -> None:
    known, worse = (Evaluation(-9.0, 0.0, 9.0, bits, 9, None) for bits in (8.0, 8.001))
    assert known.headline() == "8.000 bits/dim  ELBO -9.0"
    mark = "(worse than uniform pixels: 8)"
    assert worse.headline("log p(x)") == f"8.001 bits/dim {mark}  log p(x) -9.0"
    assert Evaluation(-9.0, 0.0, 9.0, None, 9, 0.5).headline() == "ELBO -9.0 ± 0.5"


def test_training_writes_scores_as_the_evaluation_does(tmp_path: Path) -> None:
    run, found = RunDirectory(tmp_path), Evaluation(-9.0, 1.0, 8.0, None, 7, 0.5, {"z": 1.0})
    linear, without = replace(found, bits_per_dim=2.0), replace(found, elbo=math.nan, rates={})
    _store(run, {"w": torch.zeros(2)}, found, {"PCA": linear, WITHOUT_LATENT: without})
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["split"] == "test" and content["num_images"] == 7
    assert content["vae"]["elbo"] == {"value": -9.0, "error": 0.5}
    assert content["vae"]["rate_z"] == {"value": 1.0, "error": None}
    assert content["ppca"] == {
        "log_evidence": {"value": -9.0, "error": 0.5},
        "evidence_bits_per_dim": {"value": 2.0, "error": None},
    }
    assert content["without_latent"] == {"log_evidence": {"value": None, "error": 0.5}}
    assert estimates(content["vae"]) == estimates(found.numbers())  # Those of earlier versions.
    assert math.isnan(estimates(content["without_latent"])["log_evidence"].value)


def test_scores_of_earlier_weights_are_moved_with_a_line(tmp_path: Path) -> None:
    run, found = RunDirectory(tmp_path), Evaluation(-9.0, 0.0, 9.0, None, 9, None)
    weights, later = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    assert _store(run, weights, found, {}) == []
    assert _store(run, later, found, {}) == []  # What training itself wrote is replaced.
    path = tmp_path / "evaluation.json"
    full = json.loads(path.read_text()) | {"weights": checksum(weights), "num_images": 9}
    path.write_text(json.dumps(full))
    assert _store(run, weights, found, {}) == []
    assert json.loads(path.read_text()) == full
    (line,) = _store(run, later, found, {})
    moved = tmp_path / "evaluation_test_9.json"
    assert line == f"the earlier scores (test, 9 images, other weights) are now in {moved}"
    assert json.loads((tmp_path / "evaluation_test_9.json").read_text()) == full
    assert "weights" not in json.loads(path.read_text())


@pytest.mark.slow
def test_pca_of_few_images_has_few_dimensions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [option.replace("latent_dim=4", "latent_dim=40") for option in SMALL]
    main([*few, f"--run_dir={tmp_path / 'run'}"])
    assert "PCA of 60 training images, latent dimensions: 15: " in capsys.readouterr().out


@pytest.mark.slow
def test_too_few_images_for_pca_leave_it_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [option.replace("num_train=60", "num_train=3") for option in SMALL]
    main([*few, f"--run_dir={tmp_path / 'run'}"])
    said = capsys.readouterr().out
    assert "probabilistic PCA of 3" not in said and "without latents" in said


@pytest.mark.parametrize(("elbo", "below"), [(-50.0, 2), (-20.0, 1), (0.0, 0)])
def test_the_evaluation_says_which_baseline_is_better(elbo: float, below: int) -> None:
    import pandas as pd

    scores = {
        "vae": {"elbo": Estimate(elbo)},
        "ppca": {"more_than_elbo": Estimate(-10.0 - elbo, 1.0)},
        "without_latent": {"more_than_elbo": Estimate(-30.0 - elbo, 1.0)},
    }
    report = RunScores(Path("run"), {}, scores, pd.DataFrame(), 10, 4, 256)
    assert sum("below log p(x) of the baseline" in note for note in notes(report)) == below
