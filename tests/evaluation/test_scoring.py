"""Scores of runs: complete, resumed, written, compared, and refused in one line."""

from __future__ import annotations

import errno
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pyrovae import (
    ArrayData,
    Engine,
    InputError,
    Masked,
    RunDirectory,
    evaluate,
    evaluate_run,
)
from pyrovae.commands.evaluate import score_run
from pyrovae.evaluation import Estimate, scoring
from pyrovae.evaluation.evidence import summary
from pyrovae.evaluation.opened import Opened
from pyrovae.evaluation.result_cache import ResultCache
from pyrovae.evaluation.run_scores import OF_DRAWS, RunScores, notes
from pyrovae.evaluation.scoring import SECTIONS, Options, Scorer
from pyrovae.evaluation.tables import TITLES, cell, score_table
from pyrovae.training import overview
from tests.support.commands import SCRIPTS, refusal, run, script
from tests.support.processes import run_script
from tests.support.programs import MAKERS
from tests.support.scored import unscored
from tests.support.small import small_data, small_vae

CPU = Engine("cpu", "fp32")
QUICK = Options(num_samples=30)
#: A run on other images, with steps so long that its last epoch is not always its best.
OTHER = ("--data.seed=3", "--trainer.epochs=3", "--optimizer.lr=0.3")


def scorer(**kwargs: Any) -> Scorer:
    data = small_data(num_train=60, num_test=40)
    return Scorer(small_vae().eval(), data, Options(num_samples=30, **kwargs), CPU)


@pytest.mark.slow
def test_every_section_gives_numbers_that_have_titles() -> None:
    own = scorer()
    for name in SECTIONS:
        found = own.section(name)
        assert bool(found) is (name != "classes")  # This program has none.
        assert all(math.isfinite(e.value) for e in found.values()), name
        assert {n for n in found if "/" not in n} <= set(TITLES), name
        errors = {n for n, e in found.items() if e.error is None}
        exact = {"active_units", "latent_dims", "limit", "ess", "k_hat", "frechet", "num_features"}
        assert errors <= exact, name


@pytest.mark.slow
def test_the_sections_agree_with_each_other() -> None:
    own = scorer()
    elbo, evidence, latents = (own.section(name) for name in ("elbo", "evidence", "latents"))
    assert elbo["elbo"].value == pytest.approx(evaluate(own.programs, own.split, CPU).elbo)
    total = elbo["rate"].value + elbo["distortion"].value
    assert elbo["elbo"].value == pytest.approx(-total)
    assert evidence["log_evidence"].value >= elbo["elbo"].value
    likelihood = own.programs.likelihood
    bits = likelihood.bits_per_dim(evidence["log_evidence"].value, own.size)
    assert evidence["evidence_bits_per_dim"].value == pytest.approx(bits)
    parts = latents["mutual_information"].value + latents["aggregate_kl"].value
    assert parts == pytest.approx(elbo["rate"].value, abs=5 * elbo["rate"].error + 1)
    assert latents["latent_dims"].value == 4 and 0 <= latents["active_units"].value <= 4


@pytest.mark.slow
def test_errors_are_those_of_groups_of_images() -> None:
    """Groups of the same image: as many independent images as there are groups."""
    images = np.repeat(small_data(num_test=30).split("test").images, 4, 0)
    groups = np.repeat(np.arange(30), 4)
    data = ArrayData(images, groups=groups, test_fraction=0.5)
    options = Options(num_samples=30, evidence_images=30)
    own = Scorer(small_vae().eval(), data, options, CPU)
    both = {"train": own.split.images, "test": own.split.images}
    plain = Scorer(own.programs, ArrayData(both), options, CPU)
    for name in ("elbo", "evidence", "reconstruction", "without_latent", "latents"):
        for score, found in own.section(name).items():
            other = plain.section(name)[score].error
            assert not other or found.error != other, score
            if score in ("elbo", "rate", "distortion", "psnr"):  # Others have noise per image.
                assert found.error == pytest.approx(2 * (other or 0), rel=0.1)
    report = Opened(Path("run"), own, {"checkpoint": "best"}).score(["elbo"])
    assert "60 images of 15 groups" in str(report)
    assert report._repr_html_() == f"<pre>{escape(str(report))}</pre>"


@pytest.mark.slow
def test_factors_are_scored_on_one_image_per_group_with_known_factors() -> None:
    faces = small_data(num_test=120).split("test")
    yaw = np.repeat(faces.attributes[:, list(faces.attribute_names).index("yaw")], 3)
    yaw[:6] = np.nan  # Of two groups.
    images, groups = np.repeat(faces.images, 3, 0), np.repeat(np.arange(120), 3)
    how: dict[str, Any] = {"attributes": {"yaw": yaw}, "factors": "yaw", "test_fraction": 0.7}
    data = ArrayData(images, groups=groups, **how)
    own = Scorer(small_vae().eval(), data, QUICK, CPU)
    apart = own.split.independent()
    some = apart.take(np.flatnonzero(np.isfinite(apart.attributes[:, 0])))
    assert 60 < len(some) < len(apart) == len(own.split) / 3
    codes = own.view.of(some).encoded.loc
    expected = scoring.factor_scores(codes, some.attributes, ["yaw"])
    found = own.section("factors")
    assert {name: e.value for name, e in found.items()} == pytest.approx(
        {name: e.value for name, e in expected.items()}, abs=1e-6
    )


@pytest.mark.parametrize("name", ["factors", "classes", "ppca"])
def test_a_section_without_scores_is_told_if_it_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holes = np.array(small_data(num_test=40).split("test").images, float) / 255
    holes[np.arange(len(holes)), :, np.arange(len(holes)) % 8] = np.nan
    vae = small_vae(likelihood=Masked(missing=0)).eval()
    own = Opened(Path("run"), Scorer(vae, ArrayData(holes, nan=0), QUICK, CPU), {})
    (failed,) = own.score([name]).failed
    assert failed.startswith(f"{name}: ")
    for other in SECTIONS:
        if other != name:
            monkeypatch.setitem(SECTIONS, other, lambda scorer: {"elbo": Estimate(0.0)})
    found = own.score([*SECTIONS])
    assert not found.failed and not {"factors", "classes", name} & {*found.scores}


def test_the_errors_of_one_group_are_unknown() -> None:
    images = np.repeat(small_data(num_test=10).split("test").images, 4, 0)
    data = ArrayData(images, groups=np.repeat(np.arange(10), 4))
    own = Scorer(small_vae().eval(), data, Options(num_samples=3), CPU)
    report = Opened(Path("run"), own, {"checkpoint": "best"}).score(["elbo", "without_latent"])
    assert report.scores["vae"]["elbo"].error is None and "4 images of 1 group" in str(report)
    assert "standard errors of fewer than 10 groups are rough" in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_other_programs_are_scored_too(name: str) -> None:
    own = Scorer(MAKERS[name](), small_data(num_test=30), Options(num_samples=10), CPU)
    for section in SECTIONS:
        assert all(math.isfinite(e.value) for e in own.section(section).values()), section


def test_some_images_are_spread_evenly() -> None:
    split = small_data(num_test=20).split("test")
    assert split.spread(0) is split and split.spread(20) is split
    few = split.spread(3)
    assert [split.names.index(name) for name in few.names] == [0, 9, 19]
    assert (few.images[1] == split.images[9]).all()


# Four blocks of images in one piece each, or in three pieces of draws.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("draws", "last", "blocks", "parts", "total"), [(30, 3, 2, 0, 6), (10, 6, 1, 2, 16)]
)
def test_what_was_done_is_read_and_not_done_again(
    draws: int,
    last: int,
    blocks: int,
    parts: int,
    total: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "BLOCK", 10 * draws * 3 * 16 * 16)
    expected = scorer().evidence
    original, calls = scoring.weights_of_images, []

    def interrupted(*args: Any, **kwargs: Any) -> Iterator[torch.Tensor]:
        calls.append(1)
        if len(calls) == last:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(scoring, "weights_of_images", interrupted)
    for attempt in range(2):
        own = scorer()
        own.journal = ResultCache(tmp_path, {"a": 1})
        if attempt == 0:
            with pytest.raises(KeyboardInterrupt):
                own.section("evidence")
            assert len(list(tmp_path.glob("images_*.json"))) == blocks
            assert len(list(tmp_path.glob("draws_*.json"))) == parts
            (tmp_path / "damaged").write_text("{")
            next(tmp_path.glob("images_*.json")).write_text("{")
        else:
            own.section("evidence")
            assert len(calls) == total  # One block was damaged.
            pd.testing.assert_frame_equal(own.evidence, expected, check_exact=True)
    kept = sorted(path.name.rsplit("-")[0] for path in tmp_path.glob("*.json"))
    assert kept == ["each_image", "evidence"]


@pytest.mark.slow
def test_parts_of_the_draws_are_other_draws_of_the_same_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "BLOCK", 10 * 10 * 3 * 16 * 16)
    parts = [scorer()._draws(range(10, 20), 10, part).to_numpy() for part in range(3)]
    assert not (parts[0] == parts[1]).any() and not (parts[1] == parts[2]).any()
    weights = torch.tensor(np.concatenate(parts))
    expected = summary(weights)
    found = scorer().evidence.iloc[10:20].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.drop(columns="name"), expected, check_exact=True)


@pytest.mark.slow
def test_what_a_score_does_not_follow_from_computes_nothing_again(
    tiny_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, calls = unscored(tiny_run(), tmp_path / "run"), []

    def counting(name: str) -> Callable[[Scorer], dict[str, Estimate]]:
        """A section that counts its calls and costs nothing."""
        return lambda scorer: (calls.append(name), {name: Estimate(1.0)})[1]  # type: ignore

    for name in SECTIONS:
        monkeypatch.setitem(SECTIONS, name, counting(name))
    score_run(root, QUICK)
    assert calls == list(SECTIONS)
    for options, again in (
        (QUICK, []),
        (replace(QUICK, features="Pixels"), ["samples"]),
        (replace(QUICK, num_samples=31), ["evidence"]),
        (replace(QUICK, seed=1), list(SECTIONS)),
        (replace(QUICK, evidence_images=13), ["evidence"]),
        (replace(QUICK, num_images=39), list(SECTIONS)),
    ):
        calls.clear()
        score_run(root, options)
        assert calls == again
    calls.clear()
    monkeypatch.setattr(RunDirectory, "weights_of", other_weights(RunDirectory.weights_of))
    score_run(root, QUICK)
    assert calls == list(SECTIONS)


def other_weights(weights: Callable[..., Any]) -> Callable[..., Any]:
    def changed(*args: Any) -> tuple[dict[str, Any], int]:
        found, epoch = weights(*args)
        return {name: value + 1e-3 for name, value in found.items()}, epoch

    return changed


@pytest.mark.slow
def test_a_run_is_scored_written_and_scored_again_the_same(
    tiny_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_run()
    first = score_run(root, QUICK)
    path = first.write()
    content = json.loads(path.read_text())
    assert content["num_images"] == 40 and content["split"] == "test"
    assert content["vae"]["elbo"]["value"] == first.scores["vae"]["elbo"].value
    assert set(content) >= {"vae", "ppca", "without_latent"}
    images = pd.read_csv(root / "evaluation_images.csv")
    assert len(images) == 40 and images.name.is_unique
    shutil.rmtree(root / "evaluation")
    again = score_run(root, QUICK)
    assert again.scores == first.scores
    other = score_run(root, Options(num_samples=30, seed=1), ["elbo"])
    assert other.scores["vae"]["elbo"] != first.scores["vae"]["elbo"]
    text = str(first)
    assert "test, 40 images; log p(x) from 30 draws; samples in the features of Random" in text
    assert "linear (PPCA)" in text


@pytest.mark.slow
def test_the_last_checkpoint_and_other_splits_are_others(
    tiny_run: Callable[..., Path],
) -> None:
    root = tiny_run(*OTHER)
    best, last = (score_run(root, QUICK, ["elbo"], checkpoint=which) for which in ("best", "last"))
    val = score_run(root, Options("val"), ["elbo"])
    assert val.num_images == 24 and best.settings["weights"] == val.settings["weights"]
    assert val.scores != best.scores
    assert best.scores != last.scores or best.settings["weights"] == last.settings["weights"]


@pytest.mark.slow
def test_what_stands_of_images_is_kept_when_other_sections_are_scored(
    tiny_run: Callable[..., Path],
) -> None:
    root = tiny_run()
    for sections in (["evidence"], ["elbo"], ["latents"]):
        score_run(root, QUICK, sections).write()
    table = pd.read_csv(root / "evaluation_images.csv", dtype={"name": str})
    assert {"log_evidence", "k_hat", "rate", "distortion", "name"} <= set(table)
    whole = score_run(root, QUICK, ["elbo", "evidence"]).each_image
    pd.testing.assert_frame_equal(table[list(whole)], whole)
    score_run(root, Options(seed=5, num_samples=3), ["elbo"]).write()
    assert "k_hat" not in pd.read_csv(root / "evaluation_images.csv")


@pytest.mark.slow
def test_scores_of_other_settings_are_merged_with_what_stands_there(
    tiny_run: Callable[..., Path], tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(tiny_run(), root)
    first = score_run(root, QUICK, ["elbo", "evidence", "without_latent"])
    path = first.write()
    before, images = json.loads(path.read_text()), pd.read_csv(root / "evaluation_images.csv")
    others = Options(num_samples=5000, features="Pixels", evidence_images=7)
    score_run(root, others, ["elbo"]).write()
    assert json.loads(path.read_text()) == before
    again = pd.read_csv(root / "evaluation_images.csv")
    pd.testing.assert_frame_equal(again[list(images)], images)

    some = Options(num_samples=9, evidence_images=5, features="Pixels")
    fewer = score_run(root, some, ["evidence"])
    fewer.write()
    assert json.loads(path.read_text()) == before
    assert "is kept: it has 30 draws per image, this one 9" in fewer.remarks[0]
    again = pd.read_csv(root / "evaluation_images.csv")
    pd.testing.assert_frame_equal(again[list(images)], images)

    more = score_run(root, Options(num_samples=31, features="Pixels"), ["evidence"])
    more.write()
    content = json.loads(path.read_text())
    assert content["num_samples"] == 31 and content["features"] == before["features"]
    assert content["without_latent"] == before["without_latent"]
    assert content["vae"]["elbo"] == before["vae"]["elbo"] and not more.remarks
    value = more.scores["vae"]["log_evidence"].value
    assert content["vae"]["log_evidence"]["value"] == value


@pytest.mark.slow
def test_images_without_draws_have_no_bound_of_draws(
    tiny_run: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_run(), root := tmp_path / "run")
    some = replace(QUICK, evidence_images=7)
    score_run(root, some, ["elbo", "evidence"]).write()
    path = root / "evaluation_images.csv"
    images = pd.read_csv(path, dtype={"name": str})
    assert list(images[OF_DRAWS].notna()) == list(images["log_evidence"].notna())
    assert images[OF_DRAWS].count() == 7
    report = score_run(root, some, ["elbo"])
    report.write()
    again = pd.read_csv(path, dtype={"name": str})
    pd.testing.assert_frame_equal(again[list(images)], images)
    assert json.loads((root / "evaluation.json").read_text())["epoch"] > 0
    gap = report.whole().of_images()["gap"]
    assert gap.mean() == pytest.approx(report.whole().scores["vae"]["gap"].value)


BAD: dict[str, tuple[list[str], str]] = {
    "no run": (["{tmp}/nowhere"], "nowhere: no such directory"),
    "no checkpoint": (
        ["{tmp}/empty"],
        "empty: has no weights yet (training ended before its first",
    ),
    "unknown split": (["{run}", "--split=night"], "split 'night': allowed are train, val, test"),
    "unknown section": (["{run}", "--sections", "poetry"], "sections: allowed are elbo"),
    "a run to compare with that is not there": (
        ["{run}", "--compare", "{tmp}/nowhere"],
        "nowhere: no such directory",
    ),
    "a module that is no feature space": (
        ["{run}", "--features=os.path.join", "--sections", "samples"],
        "features of join: fails on images",
    ),
    "a large seed": (["{run}", "--seed=99999999999999999999999"], "seed: allowed is 0 or more"),
    "no draws": (["{run}", "--num_samples=0"], "num_samples: allowed is 1 or more, got 0"),
    "no such features": (["{run}", "--features=my_net.Net"], "my_net"),
    "too few images": (
        ["{run}", "--num_images=3", "--sections", "samples", "elbo"],
        "samples: 3 images",
    ),
    "one image": (["{run}", "--num_images=1", "--sections", "latents"], "at least 2 images"),
    "nothing to compare": (
        ["{run}", "--compare", "{run}", "--sections", "elbo"],
        "a comparison needs two or more different runs, got",
    ),
    "unknown checkpoint": (["{run}", "--checkpoint=first"], "allowed are best and last"),
    "a file as folder": (
        ["{run}", "--out={run}/config.yaml"],
        "config.yaml: cannot be written: File exists; --out (out in Python) names another folder",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line(
    name: str,
    tiny_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tiny_run()
    (tmp_path / "empty").mkdir()
    shutil.copy(root / "config.yaml", tmp_path / "empty" / "config.yaml")
    arguments, said = BAD[name]
    command = [word.format(tmp=tmp_path, run=root) for word in arguments]
    assert said in refusal("evaluate", command, monkeypatch, capsys)


def test_an_empty_split_is_one_line() -> None:
    data = small_data()
    split = data.split("test")
    data.split = lambda name: split.take([])  # type: ignore[method-assign]
    with pytest.raises(InputError, match="the split test has no images"):
        Scorer(small_vae(), data, QUICK, CPU)


@pytest.mark.slow
def test_the_script_scores_and_compares(
    tiny_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = tiny_run(), tiny_run("--prior=GaussianMixture")
    command = [str(first), "--num_samples=10", "--compare", str(second), f"--out={tmp_path}"]
    assert run("evaluate", [*command, "--sections", "elbo", "evidence", "ppca"], monkeypatch) == 0
    shown = capsys.readouterr().out
    assert f"{first}: test, 40 images" in shown and f"{second}: test, 40 images" in shown
    assert str(tmp_path / "comparison.png") in shown and "log p(x) from 10 draws" in shown


@pytest.mark.slow
def test_results_are_written_beside_a_run_that_cannot_be_written(
    tiny_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root, out = tiny_run(), tmp_path / "own"
    (root / "index.html").write_text("as it was")
    before = set(root.rglob("*"))
    written = overview.replace_file

    def read_only(path: Path, content: str) -> None:
        if path.is_relative_to(root):
            raise OSError(errno.EROFS, "Read-only file system")
        written(path, content)

    monkeypatch.setattr(overview, "replace_file", read_only)
    command = [str(root), f"--out={out}", "--sections", "elbo"]
    assert run("evaluate", command, monkeypatch) == 0
    assert (out / "evaluation.json").exists() and (out / "evaluation_images.csv").exists()
    assert "index.html: has no links to the new results: Read-only" in caplog.text
    assert set(root.rglob("*")) == before
    found = evaluate_run(root, ["elbo"], out=out)  # From the files of the first evaluation.
    assert found.folder == out and "elbo" in found.numbers()


def test_tables_are_aligned_and_hide_single_factors() -> None:
    columns = {
        "vae": {"elbo": Estimate(-1234.5, 6.78), "mutual_information_gap/gaze": Estimate(0.5)},
        "ppca": {"log_evidence": Estimate(-10.0, 0.1)},
    }
    lines = score_table(columns).splitlines()
    assert len(lines) == 3 and "gaze" not in "".join(lines)
    counts = [cell(Estimate(15.5, error), 0) for error in (None, 0.5)]
    assert counts == ["16", "15.5 ± 0.5"], "a mean over seeds is no whole number"
    assert "-1,234.50 ± 6.78" in lines[2] and "log p(x), nats" in lines[1]
    assert script("evaluate").parser().parse_args(["run"]).num_samples == 5000


@pytest.mark.parametrize("content", ["{}", "[1, 2]", "3", '{"x": 1}', "{"])
def test_a_file_that_holds_no_table_is_computed_again(content: str, tmp_path: Path) -> None:
    journal = ResultCache(tmp_path, {})
    journal.get("a", lambda: pd.DataFrame({"x": [1.5]}))
    (path,) = tmp_path.glob("a-*.json")
    path.write_text(content)
    assert journal.get("a", lambda: pd.DataFrame({"x": [1.5]}))["x"].tolist() == [1.5]


def told(grey_levels: int | None = 256, **scores: float) -> list[str]:
    own = {name: Estimate(value) for name, value in scores.items()}
    columns = {"vae": own, "ppca": {"log_evidence": Estimate(-1.0)}}
    settings = {"num_samples": 100}
    return notes(RunScores(Path(), settings, columns, pd.DataFrame(), 50, 64, grey_levels))


def test_what_must_be_known_to_read_the_scores_is_told() -> None:
    assert told(ess=80.0, **{"k_hat_above_0.7": 0.1}) == []
    (loose,) = told(ess=80.0, **{"k_hat_above_0.7": 0.9})
    assert "lower bound" in loose and "90%" in loose
    (few,) = told(ess=2.0)
    assert "effective draws is 2.0 of 100" in few
    (saturated,) = told(limit=3.9, mutual_information=3.8)
    assert "limited by the number of images (50)" in saturated
    assert told(limit=9.2, mutual_information=3.8) == []
    (bits,) = told(grey_levels=None)
    assert "PPCA" in bits
    (biased,) = told(num_features=50.0)
    assert "mostly bias: 50 images for 50 features" in biased
    assert told(num_features=49.0) == []


@pytest.mark.slow
def test_own_features_are_found_beside_the_user(tiny_run: Callable[..., Path]) -> None:
    root = tiny_run()
    (root.parent / "beside.py").write_text("def net(images):\n    return images.mean((2, 3))\n")
    arguments = [str(root), "--sections", "samples", "--features", "beside.net"]
    done = run_script(SCRIPTS / "evaluate.py", *arguments, folder=root.parent)
    assert done.returncode == 0, done.stderr
    assert "features of beside.net" in done.stdout
