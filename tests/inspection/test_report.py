"""The report: sections, files and one page of HTML."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.colors import is_color_like, to_hex, to_rgba
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from pyrovae import DiagonalNormal, Engine, InputError, ModelGuidePair, Trainer
from pyrovae.inspection import PosteriorMonitor
from pyrovae.inspection import report as reports
from pyrovae.inspection.judge.advice import Options
from pyrovae.inspection.report import inspect
from pyrovae.inspection.section import SHOWN, Drawing, Section
from pyrovae.inspection.sections import SECTIONS
from pyrovae.inspection.subject import QUICK, Budget, Subject
from pyrovae.utils import palette
from tests.support.judgements import faulty
from tests.support.programs import CLASSES, MAKERS, ConditionalModel
from tests.support.small import LATENT_DIM, small_data, small_vae
from tests.support.subjects import shortened

pytestmark = pytest.mark.slow

CPU = Engine("cpu", "fp32")
SMALL = Budget(104, 2, 100, 2, 20, 2, 20, 3, num_splits=2)
#: For reports that need only be there.
LEAST = replace(
    SMALL, refined=1, steps=8, importance_draws=10, tree_depth=1, starts=1, num_splits=1
)
FACTORS = ("gaze", "skin_tone")


def subject(programs: ModelGuidePair | None = None, **fields: Any) -> Subject:
    data = small_data(num_test=104)
    split = data.split("test")
    given = {
        "train": data.split("train"),
        "factors": tuple(data.factors),
        "budget": SMALL,
    } | fields
    return Subject(programs or small_vae(), split, CPU, shown=split.take([0, 5]), **given)


class Page(HTMLParser):
    """What a page asks of others, what is open in it, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.images: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.links += [found[name] for name in ("src", "href") if name in found]
        self.anchors |= {found["id"]} if "id" in found else set()
        if tag == "img":
            self.images.append(found["alt"])
        if tag not in ("br", "img", "link", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[reports.Report, Path]:
    folder = tmp_path_factory.mktemp("posterior")
    torch.manual_seed(0)
    with shortened():
        return inspect(subject(budget=LEAST, factors=FACTORS), folder), folder


def test_every_section_is_made_and_written(written: tuple[reports.Report, Path]) -> None:
    report, folder = written
    made = [name for name in SECTIONS if name != "classes"]  # The programs predict none.
    assert report.failed == {} and list(report.sections) == made
    for name, section in report.sections.items():
        assert section.says and section.title
        for key, table in section.tables.items():
            again = pd.read_csv(folder / f"{name}_{key}.csv")
            assert list(again.columns) == [str(column) for column in table.columns], (name, key)
            assert len(again) == len(table)
        for key, drawing in section.figures.items():
            with Image.open(folder / f"{name}_{key}.png") as picture:
                assert 500 < picture.width <= 1300, (name, key)
            assert re.search(r"n = \d|\d (given )?image", drawing.caption), (name, key)
            assert re.search("split test|drawn from the model", drawing.caption), (name, key)


def test_the_page_is_whole_and_needs_no_other(written: tuple[reports.Report, Path]) -> None:
    report, folder = written
    text = (folder / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    assert not found.open
    assert all(link.startswith(("data:", "#")) for link in found.links)
    assert {link[1:] for link in found.links if link.startswith("#")} <= found.anchors
    figures = sum(len(section.figures) for section in report.sections.values())
    assert len(found.images) == figures + len(report.pictures) and all(found.images)
    assert list(report.pictures) == ["samples", "reconstructions"]
    assert escape(str(report.judgement)) in text
    assert "width=device-width" in text and "http" not in text


def first_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> str:
    """The first screen of a page with several findings."""
    monkeypatch.setattr(reports, "judge", faulty)
    monkeypatch.setattr(reports, "SECTIONS", {"program": SECTIONS["program"]})
    page = inspect(subject(**fields), tmp_path).html
    return page.read_text(encoding="utf-8").partition("<nav>")[0]


def test_the_first_screen_has_verdict_findings_and_what_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"epoch": [1, 2], "step": [4, 8], "train_elbo": [1.0, 2.0], "val_elbo": [1.5, 2.5]}
    history = pd.DataFrame(columns | {"skipped_steps": [0, 0]})
    options = Options({"prior": {"class_path": "pyrovae.StandardNormal"}})
    given = {"history": history, "options": options, "run": "runs/<a>"}
    text = first_screen(tmp_path, monkeypatch, **given)
    short, _, whole = text.partition("<details>")
    verdict, *found = re.findall(r"The noise is &lt;too&gt; small[^<]*|<b>[^<]*</b>", short)
    assert verdict == "The noise is &lt;too&gt; small: about 340 nats per image; 2 more faults."
    titles = ["The noise is &lt;too&gt; small", "Training stopped early"]
    titles += ["The split repeats images", "What to try next"]
    assert found == [f"<b>{own}</b>" for own in titles], "three findings in their order"
    assert "It is 2." in short and "It is fixed." not in short and "It is fixed." in whole
    command = "pyrovae train --config 'runs/<a>/config.yaml' --likelihood SharedScaleNormal"
    copied = "".join(re.findall(r'<pre class="command".*?</pre>', short))
    assert unescape(re.sub("<[^>]*>", "", copied)).startswith(command)
    assert "Expected effect: The ELBO rises by about 340 nats per image." in short
    assert "--trainer.epochs 60" in re.sub("</?span>", "", whole)
    assert (
        "a possible improvement" in whole
        and "--prior" in whole
        and "log p(x) without structure" in whole
    )
    pictures = re.findall(r'<img alt="([^:]*)', text)
    assert pictures == ["Samples", "Reconstructions", "ELBO per epoch"]


def test_programs_from_python_get_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub("</?span>", "", first_screen(tmp_path, monkeypatch))
    assert "likelihood=SharedScaleNormal(...)" in text and "pyrovae train" not in text


def colours(figure: Figure) -> Iterator[tuple[str, tuple[float, ...]]]:
    """The label and the colours of everything that is drawn, but for what a colour map colours."""
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            continue
        for line in axes.lines:
            if line.get_linestyle() != "None":
                yield str(line.get_label()), to_rgba(line.get_color())
            if line.get_marker() != "None":
                yield str(line.get_label()), to_rgba(line.get_markerfacecolor())
                yield str(line.get_label()), to_rgba(line.get_markeredgecolor())
        for patch in axes.patches:
            yield str(patch.get_label()), patch.get_facecolor()
            yield str(patch.get_label()), patch.get_edgecolor()
        for own in axes.collections:
            if own.get_array() is None:
                drawn = [*np.atleast_2d(own.get_facecolor()), *np.atleast_2d(own.get_edgecolor())]
                yield from ((str(own.get_label()), tuple(each)) for each in drawn if len(each))
        for bars in axes.containers:
            for patch in bars if isinstance(bars, BarContainer) else ():
                yield str(bars.get_label()), patch.get_facecolor()


def test_every_figure_has_the_colours_of_the_palette(
    written: tuple[reports.Report, Path],
) -> None:
    names = [value for name, value in vars(palette).items() if name.isupper()]
    known = {to_rgba(one)[:3] for one in names if is_color_like(one)}
    known |= {to_rgba(one)[:3] for one in palette.CATEGORIES}
    labelled: dict[str, set[str]] = {}
    for name, section in written[0].sections.items():
        for key, drawing in section.figures.items():
            for label, (*colour, alpha) in colours(drawing.figure):
                if alpha:
                    assert tuple(colour) in known, (name, key, label, to_hex(colour))
                    labelled.setdefault(label, set()).add(to_hex(colour))
    meant = {
        "draws of the prior": palette.PRIOR,
        "images drawn from the model": palette.PRIOR,
        "guide": palette.GUIDE,
        "encodings": palette.GUIDE,
        "encodings of held-out images": palette.GUIDE,
        "exact posterior (NUTS)": palette.EXACT,
        "images": palette.DATA,
        "test": palette.DATA,
    }
    assert {label: labelled[label] for label in meant} == {k: {v} for k, v in meant.items()}


#: Sections that other tests make of a ladder and of a mixture.
ELSEWHERE = {"traversals", "paths", "attributes", "map", "factors", "holes", "typical"}


@pytest.mark.usefixtures("short_fits", "unpainted")
@pytest.mark.parametrize("name", ["ladder", "mixture"])
def test_other_programs_get_a_report(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = {name: make for name, make in SECTIONS.items() if name not in ELSEWHERE}
    monkeypatch.setattr(reports, "SECTIONS", rest)
    report = inspect(subject(MAKERS[name](), budget=LEAST, factors=FACTORS), tmp_path)
    # Chains of Hamiltonian dynamics need continuous latents.
    discrete = {"mcmc"} if name in CLASSES else set()
    assert set(report.failed) == discrete and report.html.exists()


@pytest.mark.usefixtures("unpainted")
def test_it_follows_from_the_seed_and_changes_nothing(tmp_path: Path) -> None:
    vae = small_vae().train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    state = torch.get_rng_state()
    texts = []
    for place, seed in enumerate((0, 0, 1)):
        inspect(subject(vae, seed=seed), tmp_path / str(place), ["collapse", "posterior"])
        texts.append((tmp_path / str(place) / "posterior_predictive.csv").read_text())
    assert texts[0] == texts[1] != texts[2]
    assert vae.training and torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None and p.requires_grad for p in vae.parameters())
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


@pytest.mark.usefixtures("unpainted")
def test_what_one_section_lacks_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(subject: Subject) -> Section:
        raise InputError("needs <more> than there is")

    monkeypatch.setitem(reports.SECTIONS, "program", broken)
    said: list[str] = []
    report = inspect(subject(), tmp_path, ["program", "collapse"], log=said.append)
    assert list(report.sections) == ["collapse"] and "program" in report.failed
    assert "program: not made, needs <more> than there is" in said
    text = report.html.read_text()
    assert "not made, needs &lt;more&gt; than there is" in text


@pytest.mark.usefixtures("unpainted")
def test_what_is_done_is_there_when_the_rest_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(subject: Subject) -> Section:
        raise KeyboardInterrupt

    monkeypatch.setitem(reports.SECTIONS, "posterior", stopped)
    asked, lines = ["collapse", "posterior"], list[str]()
    before = tmp_path / "report_collapse_posterior.html"
    before.write_text("whole")
    with pytest.raises(KeyboardInterrupt):
        inspect(subject(), tmp_path, asked, log=lines.append)
    page = tmp_path / "report_collapse_posterior_unfinished.html"
    text = page.read_text()
    assert (
        "latent dimensions are active" in text
        and "Unfinished: stopped after 1 of 2 sections" in text
    )
    assert before.read_text() == "whole" and lines[-1] == f"unfinished report: {page}"
    monkeypatch.undo()
    report = inspect(subject(), tmp_path, asked)
    assert report.html == before and "Unfinished" not in before.read_text() and not page.exists()


@pytest.mark.usefixtures("unpainted")
def test_sites_narrow_what_is_looked_at(tmp_path: Path) -> None:
    programs = MAKERS["two latents"]()
    report = inspect(subject(programs, sites=("z2",)), tmp_path, ["collapse", "posterior"])
    assert set(report.sections["collapse"].tables["dimensions"]["dimension"]) == {"z2[0]", "z2[1]"}
    with pytest.raises(InputError, match="unknown site 'z9'; allowed are z1, z2"):
        _ = subject(programs, sites=("z9",)).columns
    with pytest.raises(InputError, match="'gazes' .did you mean gaze.*; allowed are skin_tone, "):
        _ = subject(attributes=("gazes",)).known_attributes
    with pytest.raises(InputError, match="unknown section 'hole'"):
        inspect(subject(), tmp_path, ["hole"])


@pytest.mark.usefixtures("short_fits", "unpainted")
def test_images_of_one_name_are_told_apart(tmp_path: Path) -> None:
    own = subject(budget=LEAST)
    own = replace(own, shown=replace(own.shown, names=["a.png", "a.png"]), given=True)
    report = inspect(own, tmp_path, ["posterior", "mcmc"])
    names = set(report.sections["posterior"].tables["posteriors"]["image"])
    assert report.failed == {} and names == {"a.png", "a.png (2)"}
    assert "2 given images" in report.sections["posterior"].figures["intervals"].caption


class Unscored(dist.Normal):
    """A Normal that can be drawn from and not scored."""

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError


class NoDensity(DiagonalNormal):
    """A posterior that cannot be scored, though its divergence from the prior is known."""

    def forward(self, h: Tensor) -> dist.TorchDistribution:
        return Unscored(*self.location_and_scale(h)).to_event(1)


@pytest.mark.usefixtures("short_fits", "unpainted")
def test_a_family_without_a_density_is_a_line_in_the_sections_that_need_one(
    tmp_path: Path,
) -> None:
    vae = small_vae()
    vae.guide.posterior = NoDensity(LATENT_DIM)
    report = inspect(subject(vae, budget=LEAST, factors=FACTORS), tmp_path)
    assert {"collapse", "posterior", "traversals", "attributes"} <= set(report.sections)
    assert {"mcmc", "calibration", "typical"} & set(report.failed)
    for reason in report.failed.values():
        assert "density" in reason or "densities" in reason
    assert "\n" not in "".join(report.failed.values())


@pytest.mark.slow
def test_a_notebook_shows_reports_sections_and_figures(
    written: tuple[reports.Report, Path],
) -> None:
    report, _ = written
    shown = report._repr_html_()
    assert str(report.html) in shown and shown.count("<img") == len(report.pictures)
    assert all(own.says[0] in unescape(shown) for own in report.sections.values())
    section = report.sections["posterior"]
    found = section._repr_html_()
    assert found.count("<img") == len(section.figures) > 0
    assert found.count("<table") == len(section.tables) and escape(section.says[-1]) in found
    drawing = next(iter(section.figures.values()))
    assert drawing._repr_png_() == drawing.captioned


@pytest.mark.parametrize(("rows", "said"), [(SHOWN, False), (SHOWN + 15, True)])
def test_a_notebook_says_how_many_rows_it_leaves_out(rows: int, said: bool) -> None:
    section = Section("Title", ["Sentence."], tables={"own": pd.DataFrame({"n": range(rows)})})
    assert ("<p>15 more rows</p>" in section._repr_html_()) == said


def test_files_of_figures_hold_their_captions() -> None:
    drawing = Drawing(Figure(figsize=(7, 2)), "Nothing, n = 20 images of the split test. " * 4)
    with Image.open(io.BytesIO(drawing.png)) as bare:
        size = bare.size
    with Image.open(io.BytesIO(drawing.captioned)) as whole:
        assert whole.width == size[0] and whole.height > size[1] + 30
        assert whole.convert("L").crop((0, size[1], *whole.size)).getextrema()[0] < 128


def test_quick_is_less_work() -> None:
    more = {name: value for name, value in vars(Budget()).items() if name != "tree_depth"}
    assert all(getattr(QUICK, name) < value for name, value in more.items())


class OneDrawAtATime(ConditionalModel):
    """A model that joins latents and attributes as if there were one draw an image."""

    def forward(
        self, x: Tensor | None = None, num_images: int = 1, *, attributes: Tensor
    ) -> Tensor:
        with pyro.plate("images", num_images if x is None else len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))
            maps = self.decoder(torch.cat([z, attributes], -1)).reshape(-1, 3, 16, 16)
            return pyro.sample("x", self.likelihood(maps), obs=x)


@pytest.mark.usefixtures("unpainted")
def test_a_program_that_takes_one_draw_only_leaves_the_other_sections(tmp_path: Path) -> None:
    programs = MAKERS["conditional"]()
    likelihood = programs.likelihood
    model = OneDrawAtATime(likelihood)
    own = ModelGuidePair(model, programs.guide, likelihood, [], programs.attributes)
    report = inspect(subject(own), tmp_path, ["map", "traversals", "mcmc"])
    assert list(report.sections) == ["map"]
    assert set(report.failed) == {"traversals", "mcmc"}
    assert all(
        "see ModelGuidePair" in said and "\n" not in said for said in report.failed.values()
    )


def test_what_cannot_be_looked_at_does_not_stop_training(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.inspection.monitor.LEAST_STEPS", 1)
    programs = MAKERS["conditional"]()
    model = OneDrawAtATime(programs.likelihood)
    own = ModelGuidePair(model, programs.guide, programs.likelihood, [], programs.attributes)
    state = (
        Trainer(epochs=3, batch_size=8)
        .fit(own, small_data(), progress=True, callbacks=[PosteriorMonitor()])
        .state
    )
    assert state.epoch == 3
    assert capsys.readouterr().out.count("the posterior cannot be checked") == 1


def test_sections_are_a_list(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="sections must be a list of names, got 'map'"):
        inspect(subject(), tmp_path, "map")
