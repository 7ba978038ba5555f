"""What the README says is what runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyro.infer
import pytest
import torch

import pyrovae
from pyrovae.config import catalogue
from pyrovae.config.presets import preset_names
from tests.support.tables import IMAGE_SHAPE, make_vae

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "pyrovae/README.md", "scripts/README.md", "tests/README.md")
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}
README = TEXTS["README.md"]


def blocks(language: str, page: str = "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXTS[page], flags=re.DOTALL)


def test_ci_runs_exactly_the_test_command_of_the_readme() -> None:
    assert blocks("bash")[:2] == [
        "pip install -e . && pyrovae train\n",
        "pip install -e '.[test]' && pytest\n",
    ]
    assert blocks("bash")[1].strip() in (ROOT / ".ci" / "run").read_text().splitlines()


def test_people_finish_the_readme() -> None:
    assert len(README.splitlines()) < 200


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "pyrovae/README.md"])
def test_python_blocks_run(page: str) -> None:
    names: dict[str, Any] = {}
    small = "SyntheticFaces(num_train=32, num_val=8, num_test=8)"
    for block in blocks("python", page):
        code = block.replace("SyntheticFaces()", small).replace("progress=True", "")
        code = re.sub(r"epochs=\d+", "epochs=1", code)
        exec(compile(code, page, "exec"), names)
    if page == "README.md":
        assert names["images"].shape == (16, 3, 64, 64)
        assert names["draws"].shape[-1] == 20
    else:
        image = torch.zeros(2, 5, 3, 8, 8)
        assert names["PatchEncoder"]((3, 8, 8), 4)(image).shape == (2, 5, 4)
        likelihood = names["FixedLaplace"](0.1)
        assert likelihood(image).event_shape == (3, 8, 8)
        assert likelihood.fixed_scale() == pytest.approx(0.1 * 2**0.5)
        vae, x = make_vae("Normal"), torch.rand(4, *IMAGE_SHAPE)
        losses = [names["TargetRate"](target).loss(vae.model, vae.guide, x) for target in (0, 99)]
        assert losses[0] < losses[1]  # The rate of random weights is far below 99 nats.


@pytest.mark.parametrize("page", PAGES)
def test_files_and_presets_named_in_a_page_exist(page: str) -> None:
    text = TEXTS[page]
    assert all((ROOT / name).exists() for name in re.findall(r"scripts/\w+\.py", text))
    assert set(re.findall(r"--config (\w+)", text)) <= {*preset_names(), "NAME"}
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("http") or ((ROOT / page).parent / link).exists(), link


def test_the_table_of_presets_has_each_preset() -> None:
    table = TEXTS["scripts/README.md"].split("| preset | what it is |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)) == sorted(preset_names())


def test_a_version_under_development_is_not_one_that_was_released() -> None:
    log = (ROOT / ".github" / "CHANGELOG.md").read_text()
    released = re.findall(r"^## ([\d.]+)$", log, re.MULTILINE)
    assert "0.2.0" in released
    assert "## Unreleased" not in log or pyrovae.__version__ not in released


def test_the_table_of_parts_is_what_the_docstrings_say() -> None:
    between = TEXTS["pyrovae/README.md"].split("<!-- parts: made by scripts/list_parts.py -->\n")[
        1
    ]
    found = between.split("<!-- end of parts -->")[0].strip()
    stale = "run: python scripts/list_parts.py --write pyrovae/README.md"
    assert found == catalogue.markdown().strip(), stale


OWN = {
    f"{role}-{part.__name__}": (role, part)
    for role, base in catalogue.ROLES.items()
    for part in catalogue.concrete(base)
    if part.__module__.startswith("pyrovae.")
}
every_own_part = pytest.mark.parametrize(("role", "part"), OWN.values(), ids=OWN.keys())


@every_own_part
def test_every_part_says_what_it_is_when_to_use_it_and_where_it_is_from(
    role: str, part: type
) -> None:
    entry = catalogue.Entry.of(part)
    assert entry.summary.endswith(".") and "\n" not in entry.summary
    assert entry.when.startswith("Use it ") and entry.when.endswith(".")
    if role in ("prior", "prior.flow", "likelihood", "posterior", "objective"):
        assert entry.formula and entry.sources, f"{part.__name__}: needs a formula and References:"


@every_own_part
def test_every_part_is_a_public_name(role: str, part: type) -> None:
    places = [pyrovae, pyrovae.priors, pyrovae.likelihoods, pyrovae.posteriors]
    places += [pyrovae.networks, pyrovae.objectives, pyrovae.training.loggers, pyrovae.inspection]
    places += [pyrovae.training.callbacks]
    assert any(getattr(place, part.__name__, None) is part for place in places)


def test_every_stock_objective_exists() -> None:
    for name in catalogue.STOCK:
        assert issubclass(getattr(pyro.infer, name), pyro.infer.ELBO)


@pytest.mark.slow
def test_importing_the_package_imports_nothing_that_is_slow() -> None:
    check = (
        "import torch, pyro, sys; from pyrovae import *; "
        "slow = {'pandas', 'torchvision', 'matplotlib', 'tensorboard', 'jsonargparse', 'PIL'}; "
        "slow |= {'sklearn'}; "
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_top_level_holds_what_was_agreed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    visible = {name for name in top if not name.startswith(".")}
    assert visible <= {"pyproject.toml", "README.md", "pyrovae", "scripts", "tests"}
