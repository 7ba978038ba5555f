"""The page and the curve of a run directory."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pyrovae import RunDirectory, Trainer
from pyrovae.training.overview import draw_elbo, refresh_index, write_curve, write_index
from pyrovae.utils.plotting import panel
from tests.support.commands import TINY, run
from tests.support.small import adam, rows, small_data, small_vae


def fit(epochs: int, **kwargs: Any) -> None:
    Trainer(epochs=epochs, batch_size=40).fit(small_vae(), small_data(), adam(), **kwargs)


class Links(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def check(page: Path) -> list[str]:
    """All links of a page; each is a file beside it, so that it needs no network."""
    found = [link for link in Links(page).found if link != "data:,"]
    assert found and all((page.parent / link).is_file() for link in found)
    assert "http" not in page.read_text(encoding="utf-8")
    return found


@pytest.mark.slow
def test_the_page_shows_the_newest_epoch_and_is_rewritten(tmp_path: Path) -> None:
    fit(1, run=tmp_path)
    first, curve = (tmp_path / "index.html").read_text(), (tmp_path / "curve.png").read_bytes()
    assert "samples/epoch_0001.png" in check(tmp_path / "index.html")
    fit(2, run=tmp_path, resume=True)
    links = check(tmp_path / "index.html")
    assert {"samples/epoch_0002.png", "reconstructions/epoch_0002.png", "curve.png"} <= set(links)
    assert "metrics.csv" in links and "evaluation.json" not in links
    text = (tmp_path / "index.html").read_text()
    assert text != first and "--prior.latent_dim" in text and "Warnings" not in text
    assert f"{float(rows(tmp_path)[-1]['val_elbo']):,.2f}" in text
    assert (tmp_path / "curve.png").read_bytes() != curve and not list(tmp_path.rglob("*.tmp"))
    with Image.open(tmp_path / "curve.png") as drawn:
        assert np.asarray(drawn.convert("L")).std() > 10


@pytest.mark.slow
def test_warnings_are_shown_as_text(tmp_path: Path) -> None:
    fit(1, run=tmp_path)
    (tmp_path / "warnings.txt").write_text("warning: <b>two</b> & three\n")
    refresh_index(tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert "&lt;b&gt;two&lt;/b&gt; &amp; three" in text and "Warnings" in text


@pytest.mark.slow
def test_results_are_linked_once_they_exist(tmp_path: Path) -> None:
    fit(1, run=tmp_path)
    (tmp_path / "posterior last").mkdir()
    names = {"evaluation.json", "posterior last/report.html"}
    names |= {"evaluation_test_16.json", "evaluation_images_test_16.csv"}  # Of other weights.
    for name in names:
        (tmp_path / name).write_text("")
    refresh_index(tmp_path)
    found = {re.sub("%20", " ", link) for link in Links(tmp_path / "index.html").found}
    assert names <= found


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"epoch\n1\n"])
def test_damaged_files_do_not_stop_the_page(tmp_path: Path, content: bytes) -> None:
    fit(1, run=tmp_path)
    for name in ("metrics.csv", "config.yaml", "warnings.txt"):
        (tmp_path / name).write_bytes(content)
    refresh_index(tmp_path)
    assert "samples/epoch_0001.png" in Links(tmp_path / "index.html").found


def test_a_run_without_a_page_gets_none(tmp_path: Path) -> None:
    refresh_index(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_numbers_that_are_not_finite_are_drawn_over(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    names = ("train_elbo", "val_elbo", "train_rate", "val_rate")
    for values in (["nan"], ["nan", "1.0", "-inf"], []):
        table = [{"epoch": str(i + 1)} | dict.fromkeys(names, own) for i, own in enumerate(values)]
        write_curve(directory, table)
    write_index(directory, [])
    assert directory.curve.exists() and directory.index.exists()


@pytest.mark.slow
def test_commands_link_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "run"
    assert run("train", [*TINY, f"--run_dir={root}"], monkeypatch) == 0
    assert "evaluation.json" in check(root / "index.html")
    (root / "evaluation.json").unlink()
    assert run("evaluate", [str(root), "--sections", "elbo"], monkeypatch) == 0
    assert "evaluation.json" in check(root / "index.html")
    quick = ["--quick", "--num_images=8", "--sections", "program"]
    assert run("inspect_posterior", [str(root), *quick], monkeypatch) == 0
    assert "posterior/report_program.html" in check(root / "index.html")


def history(**bad: float) -> list[dict[str, float]]:
    """Thirty epochs, one of them bad."""
    names = ("train_elbo", "val_elbo")
    rows = [{"epoch": n, **dict.fromkeys(names, 2000 - 900 / n)} for n in range(1, 31)]
    rows[16] |= bad
    return rows


@pytest.mark.parametrize(
    ("bad", "note"),
    [({}, ""), ({"val_elbo": 1800.0}, ""), ({"val_elbo": -2e10}, "1 of 54 values outside")],
)
def test_one_bad_epoch_does_not_flatten_the_curve(bad: dict[str, float], note: str) -> None:
    _, axes = panel(3)
    draw_elbo(axes, history(**bad))
    assert [own.get_text() for own in axes.texts] == ([note] if note else [])
    low, high = axes.get_ylim()
    assert high - low < 400 and low < 2000 - 900 / 4 and high > 1970
    assert (low < bad.get("val_elbo", 1800.0)) == (not note)


def test_the_ticks_of_a_run_that_diverged_are_short() -> None:
    figure, axes = panel(3)
    draw_elbo(axes, [{"epoch": 1, "train_elbo": -2.34567e10, "val_elbo": -385352.4}])
    figure.draw_without_rendering()
    ticks = [own.get_text() for own in axes.get_yticklabels()]
    assert "-2e+10" in ticks and max(map(len, ticks)) < 10
    _, axes = panel(3)
    draw_elbo(axes, history())
    assert axes.yaxis.get_major_formatter()(1950.0) == "1950"
