"""What lists the parts, and what draws them side by side."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from pyrovae.config.catalogue import Entry, concrete
from pyrovae.config.roles import ROLES
from tests.support.commands import TINY, execute

pytestmark = pytest.mark.slow

CHOSEN = ("--trainer.epochs", "--prior=")
SHORT = [option for option in TINY if not option.startswith(CHOSEN)]


def own_parts(role: str) -> list[type]:
    """Those that a process of its own knows: without the parts of other tests."""
    own = [part for part in concrete(ROLES[role]) if part.__module__.startswith("pyro")]
    return sorted(own, key=lambda part: part.__name__)


def test_help_lists_every_part_with_its_description() -> None:
    shown = " ".join(execute("train", "--help").stdout.split())
    for role in ROLES:
        assert f"--{role} " in shown
        for part in own_parts(role):
            entry = Entry.of(part)
            assert f"{entry.name} {entry.summary}" in shown


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--prior.help=VampPrior", "number of pseudo-inputs K"),
        ("--objective.help=FreeBits", "nats per dimension"),
        ("--objective.help=IWAE", "--objective.vectorize_particles"),
        ("--posterior.help=LowRankNormal", "--posterior.rank"),
        ("--likelihood.help=DiscretizedLogisticMixture", "--likelihood.num_components"),
    ],
)
def test_the_help_of_a_part_explains_its_arguments(option: str, expected: str) -> None:
    shown = execute("train", option).stdout
    assert expected in " ".join(shown.split()) and "parts: choose one" not in shown


def test_parts_are_listed_in_words_and_as_markdown(tmp_path: Path) -> None:
    listed = execute("list_parts").stdout
    readme = tmp_path / "README.md"
    marks = ("<!-- parts: made by scripts/list_parts.py -->\n", "<!-- end of parts -->\n")
    readme.write_text(f"before\n{marks[0]}STALE\n{marks[1]}after\n")
    execute("list_parts", "--write", str(readme))
    written = readme.read_text()
    assert (
        written.startswith("before\n") and written.endswith("after\n") and "STALE" not in written
    )
    for part in concrete(ROLES["prior"]):
        if part.__module__.startswith("pyro"):  # Other tests have parts of their own.
            assert part.__name__ in listed and f"`{part.__name__}`" in written
    cells = [re.sub(r"\$`.*?`\$", "", row) for row in written.splitlines() if row[:2] == "| "]
    assert all(row.count("|") == 5 for row in cells)
    assert not re.search(r"\$`[^`]*\|[^`]*`\$", written), "a bare bar ends a table's cell"


def test_a_file_without_the_marks_is_one_line(tmp_path: Path) -> None:
    plain = tmp_path / "README.md"
    plain.write_text("no marks\n")
    done = execute("list_parts", "--write", str(plain), code=2)
    assert done.stderr.count("\n") == 1 and "README.md: needs the lines" in done.stderr
    assert plain.read_text() == "no marks\n"


def test_the_gallery_draws_a_row_for_each_part(tmp_path: Path) -> None:
    out = tmp_path / "gallery.png"
    short = [*SHORT, "--trainer.epochs=1", "--prior.latent_dim=3"]
    done = execute("gallery", "--out", str(out), "--roles", "posterior", "--", *short)
    names = [Entry.of(part).name for part in own_parts("posterior")]
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [f"posterior {name}" for name in names]
    assert lines[-1] == str(out)
    with Image.open(out) as picture:
        assert picture.height > 60 * len(names) and picture.width > 1000


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--roles", "sampler"], "--roles: allowed are prior, likelihood"),
        (["--out", "gallery.jpg"], "--out: must end in .png"),
        (["--", "--trainer.epoch=1"], "--trainer.epoch"),
    ],
)
def test_the_gallery_refuses_bad_input_in_one_line(arguments: list[str], expected: str) -> None:
    done = execute("gallery", *arguments, code=2)
    assert expected in done.stderr and done.stderr.count("\n") == 1
