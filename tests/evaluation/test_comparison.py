"""Runs side by side, and what a later evaluation does to the scores that stand."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from pyrovae import InputError
from pyrovae.commands.evaluate import open_run, score_run
from pyrovae.evaluation import pictures
from pyrovae.evaluation.comparison import check_comparable, compare
from pyrovae.evaluation.estimates import Estimate
from pyrovae.evaluation.pictures import _differ, _points, draw_curves, draw_scores
from pyrovae.evaluation.run_scores import RunScores
from pyrovae.evaluation.scoring import Options
from pyrovae.evaluation.seeds import Sweep
from pyrovae.evaluation.tables import COLUMNS, score_table
from pyrovae.utils.plotting import panel
from tests.support.commands import run
from tests.support.scored import unscored

QUICK = Options(num_samples=30)
#: A run on other images, with steps so long that its last epoch is not always its best.
OTHER = ("--data.seed=3", "--trainer.epochs=3", "--optimizer.lr=0.3")


@pytest.fixture(scope="module")
def compared(tiny_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs, `a` and `b`, scored and compared."""
    folder = tmp_path_factory.mktemp("compared")
    for name, options in (("a", []), ("b", ["--prior=GaussianMixture"])):
        unscored(tiny_run(*options), folder / name)
    with pytest.MonkeyPatch.context() as patch:
        assert run("evaluate", [*comparing(folder), "--sections", *MORE], patch) == 0
    return folder


@pytest.fixture
def folder(compared: Path, tmp_path: Path) -> Path:
    """A copy of these runs."""
    shutil.copytree(compared, found := tmp_path / "runs")
    return found


def comparing(folder: Path) -> list[str]:
    return [str(folder / "a"), *QUICKLY, "--compare", str(folder / "b")]


QUICKLY = ["--num_samples=9", "--device=cpu"]
#: The bounds, the evidence and the terms of the latents of each image, and a baseline.
MORE = ["elbo", "evidence", "without_latent", "latents"]


def written(folder: Path) -> list[set[tuple[str, ...]]]:
    """The names of all scores and columns in the files of two runs, and of their comparison."""
    runs = [folder / "a", folder / "b"]
    found = [json.loads((root / "evaluation.json").read_text()) for root in runs]
    images = [pd.read_csv(root / "evaluation_images.csv") for root in runs]
    rows = pd.read_csv(runs[0] / "comparison.csv")
    return [
        {(column, name) for own in found for column in COLUMNS for name in own.get(column, [])},
        *({(name,) for name in own} for own in images),
        set(zip(rows.run, rows.score, strict=True)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["--sections=elbo"], ["--sections=ppca"], ["--num_samples=5", "--sections=evidence"]],
    ids=["a section", "a baseline", "fewer draws"],
)
@pytest.mark.parametrize("again", [False, True], ids=["alone", "compared"])
def test_a_later_evaluation_drops_nothing(
    command: list[str],
    again: bool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = written(folder)
    used = comparing(folder) if again else [str(folder / "a"), *QUICKLY]
    assert run("evaluate", [*used, *command], monkeypatch) == 0
    assert all(old <= new for old, new in zip(before, written(folder), strict=True))


@pytest.mark.slow
def test_the_comparison_prints_what_was_asked_for_and_says_whose_draws_it_has(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fewer = [*comparing(folder), "--num_samples=5"]
    assert run("evaluate", [*fewer, "--sections", "evidence", "ppca"], monkeypatch) == 0
    said = capsys.readouterr().out
    table = said[said.rindex("note: log p(x) of the earlier evaluation") :]
    assert "log p(x), bits/dim" in table and "linear (PPCA) 4" in table
    assert not any(row in table for row in ("active units", "rate, nats", "no latent", "\nELBO"))
    assert "I(x; z)" not in table, "a note on scores that the table does not show"
    # The table has the draws of the earlier evaluation, and so the lines above it say.
    assert said.count("log p(x) from 9 draws") == 2 and "from 5 draws" not in said


@pytest.mark.slow
def test_the_first_run_stays_first_and_draws_are_the_same(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    b = folder / "b"
    given = [str(b), "--compare", str(folder / "a"), str(b), "--device=cpu"]
    # One run keeps the 9 draws of both, the other gets more.
    assert run("evaluate", [str(b), "--num_samples=12", "--device=cpu"], monkeypatch) == 0
    capsys.readouterr()
    assert run("evaluate", [*given, "--sections=elbo"], monkeypatch) == 0
    said = capsys.readouterr().out
    assert "minus b, per image" in said and "not compared: log p(x) has 12 draws in b" in said
    assert all(str(b / f"comparison{own}") in said for own in (".csv", ".png", "_curves.png"))
    rows = pd.read_csv(b / "comparison.csv")
    assert list(rows.run.unique()[:2]) == ["b", "a"] and "log_evidence" not in set(
        rows.score[rows.run == "b"]
    )
    assert (
        set(rows.epoch[rows.run == "a"]) <= {1, 2, 3} and rows.epoch[rows.run > "b"].isna().all()
    )
    more = [*given, "--num_samples=5", "--sections=evidence"]
    assert run("evaluate", more, monkeypatch) == 0
    said = capsys.readouterr().out
    assert "log p(x) has 5 draws here; the files of the runs keep 12 draws in b" in said
    rows = pd.read_csv(b / "comparison.csv").query("score == 'more_than_first'")
    assert list(rows.run) == ["a"] and list(rows.num_samples) == [5]


def test_a_baseline_without_attributes_has_no_conditional_score() -> None:
    columns = {"vae": {"log_evidence": Estimate(-7.0)}, "ppca": {"log_evidence": Estimate(-9.0)}}
    for given, rows in (
        ([], [["log", "p(x),", "nats", "-7.00", "-9.00"]]),
        (
            ["vae"],
            [["log", "p(x", "|", "y),", "nats", "-7.00"], ["log", "p(x),", "nats", "-9.00"]],
        ),
    ):
        head, *lines = score_table(columns, given=given).splitlines()
        assert [line.split() for line in lines] == rows
    assert len(lines[0]) < len(lines[1]) == len(head)


@pytest.mark.slow
def test_scores_given_attributes_are_named_so(
    tiny_run: Callable[..., Path], tmp_path: Path
) -> None:
    runs = tiny_run(), tiny_run("--program=ConditionalVAE", "--program.attributes=[gaze]")
    plain, conditional = (score_run(own, QUICK, SHOWN) for own in runs)
    assert conditional.given and not plain.given
    count = {row[:12].strip(): row.count("±") for row in str(conditional).splitlines()}
    assert count["log p(x | y)"] == 1 and count["log p(x), na"] == len(conditional.scores) - 1
    assert "log p(x | y) from 30 draws" in conditional.about
    both = str(compare([plain, conditional], tmp_path))
    assert "log p(x) of grey values, nats" in both
    (note,) = (line for line in both.splitlines() if "does not show a better" in line)
    assert note.endswith(f"if it is below, there is a fault. ({conditional.run.name})")
    assert "log p(x | y) of grey values, nats" in both
    assert "log p(x | y)" not in str(plain)


@pytest.mark.slow
def test_scores_of_other_images_are_moved_with_a_line(
    tiny_run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "run"
    # Other tests score the same run.
    shutil.copytree(tiny_run(), root, ignore=shutil.ignore_patterns("evaluation*"))
    before = score_run(root, QUICK, ["elbo", "without_latent"]).write().read_text()
    images = (root / "evaluation_images.csv").read_text()
    command = [str(root), "--sections=elbo", "--num_images=20", "--device=cpu"]
    assert run("evaluate", command, monkeypatch) == 0
    moved = f"(test, 40 images) are now in {root / 'evaluation_test_40.json'}"
    assert f"note: the earlier scores {moved}" in capsys.readouterr().out
    assert "without_latent" not in json.loads((root / "evaluation.json").read_text())
    assert (root / "evaluation_test_40.json").read_text() == before
    assert (root / "evaluation_images_test_40.csv").read_text() == images
    for again in ([], ["--num_images=20"]):
        assert run("evaluate", [*command[:2], *again, "--device=cpu"], monkeypatch) == 0
    assert (root / "evaluation_test_40.json").read_text() == before
    assert (root / "evaluation_test_40_2.json").exists()
    content = json.loads((root / "evaluation.json").read_text())
    (root / "evaluation.json").write_text(json.dumps(content | {"split": "../a/b"}))
    assert run("evaluate", [*command[:2], "--device=cpu"], monkeypatch) == 0
    assert (root / "evaluation_ab_20.json").exists()


#: What the comparison sets side by side: the sections of samples and factors would take longer.
SHOWN = ["elbo", "evidence", "latents", "ppca", "without_latent"]


@pytest.mark.slow
def test_runs_side_by_side(tiny_run: Callable[..., Path], tmp_path: Path) -> None:
    runs = [
        tiny_run(),
        tiny_run("--prior=GaussianMixture"),
        tiny_run("--likelihood=Laplace"),
    ]
    reports = [score_run(root, QUICK, SHOWN) for root in runs]
    text = str(compare(reports, tmp_path))
    for root in runs:
        assert root.name in text
    assert f"minus {runs[0].name}, per image" in text and "ELBO of grey values, nats" in text
    notes = [line for line in text.splitlines() if line.startswith("note: ")]
    assert notes and len({line.rsplit(" (", 1)[0] for line in notes}) == len(notes)
    table = pd.read_csv(tmp_path / "comparison.csv")
    gap = table[table.score == "more_than_first"].set_index("run")
    assert set(gap.index) == {runs[1].name, runs[2].name}
    values = [report.scores["vae"]["log_evidence"] for report in reports]
    expected = values[1].value - values[0].value
    assert gap.value[runs[1].name] == pytest.approx(expected)
    each = [report.each_image.log_evidence for report in reports]
    assert gap.error[runs[1].name] == pytest.approx((each[1] - each[0]).std() / 40**0.5)
    gap = table[table.score == "elbo_more_than_first"].set_index("run")
    bounds = [-(r.each_image.rate + r.each_image.distortion) for r in reports]
    assert gap.value[runs[2].name] == pytest.approx((bounds[2] - bounds[0]).mean())
    assert gap.error[runs[2].name] == pytest.approx((bounds[2] - bounds[0]).std() / 40**0.5)
    assert {"linear (PPCA) 4", "no latent"} <= set(table.run)
    # A likelihood that scores the grey values themselves, on the scale of their probability.
    grey = score_run(tiny_run("--likelihood=DiscretizedLogistic"), QUICK, SHOWN)
    compare([reports[0], grey], tmp_path)
    gap = pd.read_csv(tmp_path / "comparison.csv").query("score == 'more_than_first'")
    bits = [r.scores["vae"]["evidence_bits_per_dim"].value for r in (reports[0], grey)]
    nats = (bits[0] - bits[1]) * math.log(2) * 3 * 16 * 16
    assert gap.value.item() == pytest.approx(nats, rel=1e-6)
    table = pd.read_csv(tmp_path / "comparison.csv").query("score == 'log_evidence'")
    assert set(table.scale) == {"grey values"}
    shown = table.set_index("run").value
    assert shown[grey.run.name] - shown[runs[0].name] == pytest.approx(nats, rel=1e-6)
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused(tiny_run: Callable[..., Path]) -> None:
    binary = "--likelihood=Bernoulli"
    runs = {
        "one": tiny_run(),
        "other": tiny_run(*OTHER),
        "larger": tiny_run("--data.image_size=32"),
        "drawn": tiny_run(binary, "--likelihood.binarization=DynamicBinarization"),
        "cut": tiny_run(binary, "--likelihood.binarization=ThresholdBinarization"),
    }
    opened = {name: open_run(root, QUICK) for name, root in runs.items()}
    for names, said in (
        (["one", "other"], "cannot be compared: their images of the split test differ$"),
        (["one", "larger"], r"differ \(40 of 3x16x16, and 40 of 3x32x32\)$"),
        (["one", "cut"], "one observes binary pixels, the other grey"),
        (["drawn", "cut"], "their binarisations differ"),
    ):
        with pytest.raises(InputError, match=said):
            check_comparable([opened[name] for name in names])


@pytest.mark.parametrize(
    ("values", "scale"), [([-8.0, -60.0], "linear"), ([-8.0, -60.0, -1700.0], "symlog")]
)
def test_one_bad_run_does_not_hide_the_differences_of_others(
    values: list[float], scale: str
) -> None:
    _, axes = panel(3)
    names = [str(place) for place in range(len(values))]
    columns = {
        n: {"more_than_first": Estimate(v, 2.0)} for n, v in zip(names, values, strict=True)
    }
    _points(axes, columns, dict.fromkeys(names, 0), "difference", ["more_than_first"])
    assert axes.get_xscale() == scale
    assert ("(log scale)" in axes.get_title()) == (scale == "symlog")
    low, high = axes.get_xlim()
    assert low < min(values) - 4 and high > 0


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
@pytest.mark.parametrize("others", [[], [-8.0, -60.0], [-8.0, -1700.0]])
def test_a_run_that_is_not_finite_leaves_the_picture_of_the_others(
    bad: float, others: list[float], tmp_path: Path
) -> None:
    values = {"0": 0.0, "bad": bad} | {str(own): own for own in others}
    columns = {
        name: {"elbo": Estimate(own - 100.0, 1.0), "elbo_more_than_first": Estimate(own, 1.0)}
        for name, own in values.items()
    }
    draw_scores(columns, dict.fromkeys(values, 0), "title", tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").stat().st_size > 1000


@pytest.mark.parametrize("count", [2, 4, 18])
@pytest.mark.parametrize("length", [1, 27, 40])
def test_headings_of_panels_are_inside_the_picture(
    count: int, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    monkeypatch.setattr(pictures, "legible", lambda own: found.append(own) or nullcontext())
    names = [f"{place:x>{length}}"[-length:] for place in range(count)]
    scores = {name for _, own in pictures.PANELS for name in own}
    columns = {n: dict.fromkeys(scores, Estimate(1.0 + p, 0.1)) for p, n in enumerate(names)}
    draw_scores(columns, {n: p // 3 for p, n in enumerate(names)}, "t", tmp_path / "p.png")
    picture = found[0]
    edges = [own.title.get_window_extent() for own in picture.axes if own.get_title()]
    assert len(edges) == len(pictures.PANELS)
    assert all(0 <= own.x0 and own.x1 <= picture.bbox.width for own in edges)
    rows = [sorted((e.x0, e.x1) for e in edges[i : i + 3]) for i in range(0, len(edges), 3)]
    assert all(a[1] <= b[0] for row in rows for a, b in pairwise(row))


def test_curves_are_of_the_runs_that_have_metrics(tmp_path: Path) -> None:
    named = {
        name: RunScores(tmp_path / name, {}, {"vae": {}}, pd.DataFrame(), 10, 4, 256)
        for name in ("a", "b", "c")
    }
    sweep = Sweep({name: {"trainer.seed": place} for place, name in enumerate(named)})
    assert not draw_curves(named, sweep, picture := tmp_path / "curves.png")
    assert not picture.exists()
    for name, text in (("a", "epoch,val_elbo\n1,-9.5\n2,\n3,-inf\n4,-8\n"), ("b", "x\n1\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.csv").write_text(text)
    found = pictures._curve(named["a"])
    # On the scale of the probability of grey values, as the scores are.
    assert found.to_dict() == {1: -9.5 + named["a"].shift, 4: -8 + named["a"].shift}
    assert not len(pictures._curve(named["b"])) and not len(pictures._curve(named["c"]))
    assert draw_curves(named, sweep, picture) and picture.stat().st_size > 1000


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("levels", [(-90.0, -91.0, -92.0, -40.0), (-90.0, -90.5, -9e3), (-7.0,)])
def test_the_best_and_last_values_of_all_curves_are_in_the_picture(
    levels: tuple[float, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = pictures.panel(3.0)
    monkeypatch.setattr(pictures, "panel", lambda height: drawn)
    named = {
        str(level): RunScores(tmp_path / str(level), {}, {"vae": {}}, pd.DataFrame(), 10, 4, None)
        for level in levels
    }
    for level, own in zip(levels, named.values(), strict=True):
        rows = "".join(f"{epoch},{level - 2 / epoch}\n" for epoch in range(1, 31))
        own.run.mkdir()
        (own.run / "metrics.csv").write_text(f"epoch,val_elbo\n{rows}")
    draw_curves(named, Sweep({name: {"prior": name} for name in named}), tmp_path / "curves.png")
    low, high = drawn[1].get_ylim()
    assert all(low < level - 2 / 30 < high for level in levels)
    labels = {text.get_text() for text in drawn[0].legends[0].get_texts()}
    assert len(labels) == len(levels)


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        ([Estimate(20.0), Estimate(20.0)], False),
        ([Estimate(20.0), Estimate(19.0)], True),
        ([Estimate(20.0, 0.1), Estimate(20.0, 0.1)], True),
        ([Estimate(math.nan)], False),
    ],
)
def test_a_panel_of_equal_counts_is_left_out(runs: list[Estimate], shown: bool) -> None:
    assert _differ([{"active_units": own} for own in runs], ["active_units"]) == shown
    assert not _differ([{}, {}], ["active_units"])
