"""The page that shows several runs side by side."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pyrovae import Bernoulli, Engine, RunDirectory
from pyrovae.inspection.comparing import compare_reports, differences
from pyrovae.inspection.html import measurements
from pyrovae.inspection.judge.advice import Advice, Options
from pyrovae.inspection.judge.evidence import Evidence
from pyrovae.inspection.judge.finding import Judgement
from pyrovae.inspection.judge.labels import LABELS
from pyrovae.inspection.report import Report
from pyrovae.inspection.subject import Subject
from pyrovae.runs import save_checkpoint
from pyrovae.training.overview import write_index
from tests.support.commands import TINY, refusal, run
from tests.support.judgements import faulty
from tests.support.small import small_data, small_vae


def report(judgement: Judgement, options: dict[str, Any], **measured: float) -> Report:
    evidence = Evidence(options=Options(options), **measured)  # type: ignore[arg-type]
    return Report(Path(), judgement=judgement, evidence=evidence, run="runs/x")


def test_differences_of_measurements_have_no_shares(tmp_path: Path) -> None:
    first = report(faulty(), {"prior": "FlowPrior"}, elbo=200.0, rate=20.0, epochs=10.0)
    other = report(Judgement((), "No fault found."), {"prior": "Laplace"}, elbo=150.0, rate=20.0)
    text = compare_reports({"a": first, "b": other}, tmp_path, ["note <1>"]).read_text()
    assert "a compared with b" in text and "note &lt;1&gt;" in text and "http" not in text
    assert ">-50<" in text and "the same" in text and "not known for both" in text
    assert "No cause was found that costs more than 2 nats per image" in text
    assert "No fault found." in text and "about 340 nats per image" in text
    assert text.count("not found") == 4, "the findings of one run"
    assert '<td class="text long">about 8 nats per image, a possible improvement</td>' in text
    assert "--prior" in text and "Laplace" in text
    assert "All known settings" in compare_reports({"a": first, "c": first}, tmp_path).read_text()


def test_three_runs_are_compared_with_the_first(tmp_path: Path) -> None:
    reports = {name: report(faulty(), {}, elbo=value) for value, name in enumerate("abc", 1)}
    text = compare_reports(reports, tmp_path).read_text()
    assert "b minus a" in text and "c minus a" in text and ">+2<" in text


def test_errors_have_no_differences(tmp_path: Path) -> None:
    errors = [own.name for own in fields(Evidence) if own.name.endswith("_error")]
    first, other = (report(faulty(), {}, **dict.fromkeys(errors, size)) for size in (1.0, 3.0))
    text = compare_reports({"a": first, "b": other}, tmp_path).read_text()
    assert text.count("standard error of") >= len(errors) > 5 and ">+2<" not in text


def test_names_of_runs_stand_as_they_are(tmp_path: Path) -> None:
    first, other = (report(faulty(), {"prior": name}, elbo=2.0) for name in ("A", "B"))
    text = compare_reports({"lr_0.001": first, "lr_0.01": other}, tmp_path).read_text()
    assert text.count('<th class="text">lr_0.001</th>') == 2 and "lr 0.0" not in text
    assert ">lr_0.001</th>" in text[text.index("<h2>Measurements") :]


def test_measurements_have_names_and_meanings_in_words() -> None:
    values = {own.name: 1.0 for own in fields(Evidence) if own.type in ("float", "int")}
    table = measurements(Evidence(**values))  # type: ignore[arg-type]
    assert len(table) == len(values) == table["measurement"].nunique() > 40
    assert all(table["meaning"]) and not any("_" in own or "`" in own for own in table["meaning"])
    assert {*LABELS} <= {*values} and not any("_" in own for own in table["measurement"])


def test_settings_are_spelled_as_on_the_command_line(tmp_path: Path) -> None:
    nested = {"data": {"flip": False, "crop": None, "show": []}, "beta": {"value": 1e-3}}
    first, other = report(faulty(), nested), report(faulty(), {"data": {"flip": True}})
    text = compare_reports({"a": first, "b": other}, tmp_path).read_text()
    for name, value, there in (("data.flip", "false", "true"), ("data.crop", "null", "")):
        cells = "".join(f'<td class="text">{own}</td>' for own in (f"--{name}", value, there))
        assert cells in text, name
    run = RunDirectory(tmp_path)
    run.config.write_text(yaml.safe_dump(nested))
    write_index(run, [])
    page = run.index.read_text()
    assert "False" not in page and "None" not in page
    for name, value in (("flip", "false"), ("crop", "null"), ("show", "[]")):
        assert f'<td>--data.{name}</td><td class="text">{value}</td>' in page
    assert Advice("", {"data.flip": False, "data.crop": None}).command("x").count("null") == 1


def subject(**fields: Any) -> Subject:
    split = small_data().split("test")
    given = {"shown": split.take([0]), **fields}
    return Subject(small_vae(), given.pop("split", split), Engine("cpu", "fp32"), **given)


def test_what_is_not_comparable_is_said() -> None:
    first, same = subject(), subject()
    assert differences({"a": first, "b": same}) == []
    fewer = replace(first, split=first.split.take(range(3)))
    (said,) = differences({"a": first, "b": fewer})
    assert said.startswith(
        "b has different images from a in the split test (3 images of 3x16x16, not"
    )
    binary = replace(first, programs=small_vae(likelihood=Bernoulli()))
    (said,) = differences({"a": first, "b": binary})
    assert "likelihood on another scale" in said and "Bernoulli, not" in said


def test_runs_that_are_not_at_their_end_are_told_of(tmp_path: Path) -> None:
    subjects = {}
    for name, (epoch, count) in {"a": (4, 80), "b": (3, 60)}.items():
        subjects[name] = subject(run=str(tmp_path / name))
        state = {"epoch": epoch, "epochs": 4, "num_images": count, "images": f"print {count}"}
        save_checkpoint(RunDirectory(tmp_path / name).last, {"weights.w": torch.zeros(1)}, state)
    assert differences(subjects) == [
        "b is trained for 3 of 4 epochs.",
        "b: trained on 60 images, others than the first run's.",
    ]


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert run("train", [*TINY, f"--run_dir={root}"], patch) == 0
    return root


@pytest.mark.slow
def test_the_command_compares_runs(
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained_run, other := tmp_path / "other")
    command = [str(trained_run), "--quick", "--compare", str(other)]
    assert run("inspect_posterior", command, monkeypatch) == 0
    page = trained_run / "posterior" / "compare.html"
    assert str(page) in capsys.readouterr().out and not (other / "posterior").exists()
    text = page.read_text()
    assert "run compared with other" in text and text.count("data:image/png") == 6
    assert "All known settings are the same." in text and "The verdicts use no section" in text
    assert "posterior/compare.html" in (trained_run / "index.html").read_text()
    more = [*command, "--sections", "program", "--out", str(tmp_path / "out")]
    assert run("inspect_posterior", more, monkeypatch) == 0
    text = (tmp_path / "out" / "compare.html").read_text()
    assert "the measurements of the sections program." in text
    found = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.html")}
    places = ("compare.html", "report_program.html", "other/report_program.html")
    assert found == {Path(place) for place in places}


BAD = {
    "the run itself": (["{run}", "--compare", "{run}"], "two or more different runs, got"),
    "no run": (["{run}", "--compare", "{tmp}/nowhere"], "no such directory"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_compared_is_one_line(
    name: str,
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, said = BAD[name]
    command = [word.format(tmp=tmp_path, run=trained_run) for word in arguments]
    assert said in refusal("inspect_posterior", command, monkeypatch, capsys)
    assert not list(tmp_path.iterdir())
