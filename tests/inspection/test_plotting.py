"""The plotting kit, and the palette that all figures share."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import CSS4_COLORS, is_color_like, to_rgb

import pyrovae
from pyrovae.inspection.plotting import Sample, densities, image_rows, shorten
from pyrovae.utils import palette
from pyrovae.utils.plotting import canvas, legend

ROOT = Path(pyrovae.__file__).parent
PYTHON = [*ROOT.rglob("*.py"), *(ROOT.parent / "scripts").rglob("*.py")]
#: Those that draw.
MODULES = [
    path
    for path in PYTHON
    if any(word in path.read_text("utf-8") for word in ("matplotlib", "plotting", "palette"))
    and path.stem != "palette"
]
#: Arguments of matplotlib that take a colour or a colour map.
ARGUMENTS = {"c", "color", "colors", "ec", "fc", "mec", "mfc", "ecolor", "cmap"}
ARGUMENTS |= {"edgecolor", "facecolor", "markeredgecolor", "markerfacecolor"}


def named(source: str) -> Iterator[str]:
    """The colours and colour maps that a module names."""
    for node in ast.walk(ast.parse(source)):
        pairs: list[tuple[str | None, ast.expr]] = []
        if isinstance(node, ast.Call):
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            pairs = list(zip(keys, node.values, strict=True))
        for name, value in pairs:
            if name in ARGUMENTS and isinstance(value, ast.Constant) and value.value != "none":
                yield str(value.value)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            word = node.value.lower()
            if word in CSS4_COLORS or word.startswith("#") and is_color_like(word):
                yield word
            if word.startswith("tab:") or word in {"viridis", "magma", "rdbu_r", "inferno"}:
                yield word


@pytest.mark.slow
def test_no_module_names_a_colour_itself() -> None:
    assert len(MODULES) > 20
    found = {str(path): sorted(set(named(path.read_text("utf-8")))) for path in MODULES}
    assert not {path: colours for path, colours in found.items() if colours}


@pytest.mark.parametrize(
    "source",
    [
        'axes.plot(x, color="C0")',
        'axes.plot(x, mfc="k")',
        'BLUE = "#0072b2"',
        'how = {"color": "r"}',
        'axes.imshow(x, cmap="gray")',
        'Image.new("RGB", size, "white")',
    ],
)
def test_a_colour_that_a_module_names_is_found(source: str) -> None:
    assert list(named(source))


def test_meanings_have_colours_that_differ_also_in_the_eyes_of_the_colour_blind() -> None:
    together = [palette.PRIOR, palette.GUIDE, palette.EXACT, palette.DATA, palette.WARNING]
    # Deuteranopia, by the matrix of Machado et al. (2009), in linear light.
    seen = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    values = [np.array(to_rgb(colour)) ** 2.2 for colour in together]
    values = [(seen @ value).clip(0, 1) ** (1 / 2.2) for value in values]
    for row, first in enumerate(values):
        for second in values[:row]:
            assert np.abs(first - second).max() > 0.15
    maps = (palette.DIVERGING, palette.HEAT, palette.SEQUENTIAL, palette.GREY_LEVELS)
    for name in (*maps, palette.SHARES):
        assert name in colormaps


def test_densities_share_their_bins_and_have_unit_area() -> None:
    figure, axes = canvas(2)
    first, second = np.linspace(0, 1, 500), np.linspace(0.5, 3, 400)
    own = axes[0, 0]
    low, high = densities(
        own,
        Sample(np.append(first, np.nan), "images", palette.DATA),
        Sample(second, "draws", palette.PRIOR),
        bins=10,
        tails=0.0,
    )
    assert (low, high) == (0, 3)
    area = sum(patch.get_height() * patch.get_width() for patch in own.patches[:10])
    assert area == pytest.approx(1)
    legend(figure, own)
    figure.draw_without_rendering()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    box = figure.legends[0].get_window_extent()
    assert words == ["images", "draws"] and not box.overlaps(own.get_window_extent())


def test_densities_of_one_value_are_drawn() -> None:
    _, axes = canvas(2)
    one = Sample(np.ones(3), "images", palette.DATA)
    low, high = densities(axes[0, 0], one, one)
    assert low < 1 < high


def test_a_few_outliers_do_not_widen_the_axis() -> None:
    _, axes = canvas(2)
    own, usual = axes[0, 0], np.linspace(-1, 1, 100)
    sample = Sample(np.append(usual, [50.0, -1e6]), "images", palette.DATA)
    assert densities(own, sample, Sample(usual, "draws", palette.PRIOR)) == (-1, 1)
    assert [text.get_text() for text in own.texts] == ["2 of 202\noutside"]
    _, axes = canvas(2)
    few = Sample(np.array([0.0, 1.0, 30.0]), "images", palette.DATA)
    assert densities(axes[0, 0], few) == (0, 30) and not axes[0, 0].texts


def test_notes_stand_below_the_middle_of_their_images() -> None:
    rows = {"first": torch.rand(3, 1, 8, 6), "second": torch.rand(2, 1, 8, 6)}
    figure = image_rows(rows, {"first": ["a", "b", "c"]})
    first, second = figure.axes
    # Images of 6 pixels, 2 white ones between two.
    assert list(first.get_xticks()) == [2.5, 10.5, 18.5]
    assert [text.get_text() for text in first.get_xticklabels()] == ["a", "b", "c"]
    assert first.get_xlim() == second.get_xlim() == (-0.5, 21.5)


def test_long_names_keep_their_end() -> None:
    assert shorten("a" * 18) == "a" * 18 and shorten("x" * 30 + "me.jpg", 10) == "…xxxme.jpg"
    assert len(shorten("y" * 40)) == 18


def test_the_template_is_in_the_package() -> None:
    template = resources.files("pyrovae.inspection") / "report.html.j2"
    assert template.is_file()
    assert '"jinja2' in (ROOT.parent / "pyproject.toml").read_text()
