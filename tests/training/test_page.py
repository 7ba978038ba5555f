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
from pyrovae.utils.plotting import canvas, panel
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
    [({}, ""), ({"val_elbo": 1800.0}, ""), ({"val_elbo": -2e10}, "1 of 54 values below")],
)
def test_one_bad_epoch_does_not_flatten_the_curve(bad: dict[str, float], note: str) -> None:
    _, axes = panel(3)
    draw_elbo(axes, history(**bad))
    assert [own.get_text() for own in axes.texts] == ([note] if note else [])
    low, high = axes.get_ylim()
    assert high - low < 400 and low < 2000 - 900 / 4 and high > 1970
    assert (low < bad.get("val_elbo", 1800.0)) == (not note)


@pytest.mark.parametrize("sign", [1, -1], ids=["rises", "falls"])
@pytest.mark.parametrize("change", [2, 57], ids=["early", "late"])
def test_the_best_and_the_last_epoch_are_in_the_picture(sign: int, change: int) -> None:
    values = [sign * (-1000 + 0.1 * n + 350 * (n > change)) for n in range(61)]
    _, axes = panel(3)
    draw_elbo(
        axes, [{"epoch": n, "train_elbo": own, "val_elbo": own} for n, own in enumerate(values)]
    )
    low, high = axes.get_ylim()
    assert low < values[-1] and high > max(values) and not axes.texts


def test_no_rate_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, axes = canvas(3, 1, 2)
    monkeypatch.setattr("pyrovae.training.overview.canvas", lambda *_: (figure, axes))
    rates = [0.01] * 50 + [4.0, 8.0, 12.0, 16.0, 20.0]
    names = ("train_elbo", "val_elbo", "train_rate", "val_rate")
    write_curve(
        RunDirectory(tmp_path),
        [{"epoch": n, **dict.fromkeys(names, own)} for n, own in enumerate(rates)],
    )
    low, high = axes[0, 1].get_ylim()
    assert low < 0.01 and high > 20 and not axes[0, 1].texts


@pytest.mark.parametrize("step", [0.01, 0.4, 40.0, 4e4, 4e9])
@pytest.mark.parametrize("start", [0.0, -1.5e6, -2345678.0])
def test_ticks_are_distinct_and_short(start: float, step: float) -> None:
    figure, axes = panel(3)
    draw_elbo(axes, [{"epoch": n, "val_elbo": start + n * step} for n in range(9)])
    figure.draw_without_rendering()
    ticks = [own.get_text() for own in axes.get_yticklabels()]
    assert len({*ticks}) == len(ticks) > 3 and max(map(len, ticks)) <= 11


def test_the_ticks_of_a_run_that_diverged_are_short() -> None:
    figure, axes = panel(3)
    draw_elbo(axes, [{"epoch": 1, "train_elbo": -2.34567e10, "val_elbo": -385352.4}])
    figure.draw_without_rendering()
    ticks = [own.get_text() for own in axes.get_yticklabels()]
    assert "-2e+10" in ticks and max(map(len, ticks)) < 10
    _, axes = panel(3)
    draw_elbo(axes, history())
    assert axes.yaxis.get_major_formatter()(1950.0) == "1950"
