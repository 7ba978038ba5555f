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

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_ci_runs_exactly_the_test_command_of_the_readme() -> None:
    assert blocks("bash")[:2] == [
        "pip install -e . && python scripts/train.py\n",
        "pip install -e '.[test]' && pytest\n",
    ]
    assert blocks("bash")[1].strip() in (ROOT / ".ci" / "run").read_text().splitlines()


def test_python_blocks_of_the_readme_run() -> None:
    names: dict[str, Any] = {"torch": torch, "Predictive": pyro.infer.Predictive}
    small = "SyntheticFaces(num_train=64, num_val=16, num_test=16)"
    for block in blocks("python"):
        code = block.replace("SyntheticFaces()", small).replace("progress=True", "")
        exec(compile(code, "README.md", "exec"), names)
    assert names["images"].shape == (16, 3, 64, 64)
    assert names["draws"].shape[-1] == 32


@pytest.mark.parametrize("pattern", [r"scripts/\w+\.py"])
def test_files_named_in_the_readme_exist(pattern: str) -> None:
    named = set(re.findall(pattern, README))
    assert named and all((ROOT / name).exists() for name in named)


def test_presets_named_in_the_readme_exist() -> None:
    assert set(re.findall(r"--config (\w+)", README)) <= set(preset_names())


def test_the_table_of_parts_is_what_the_docstrings_say() -> None:
    between = README.split("<!-- parts: made by scripts/list_parts.py -->\n")[1]
    found = between.split("<!-- end of parts -->")[0].strip()
    stale = "run: python scripts/list_parts.py --write README.md"
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
        assert entry.formula and entry.sources


@every_own_part
def test_every_part_is_a_public_name(role: str, part: type) -> None:
    places = [pyrovae, pyrovae.priors, pyrovae.likelihoods, pyrovae.posteriors]
    places += [pyrovae.networks, pyrovae.objectives, pyrovae.training.loggers, pyrovae.inspection]
    assert any(getattr(place, part.__name__, None) is part for place in places)


def test_every_stock_objective_exists() -> None:
    for name in catalogue.STOCK:
        assert issubclass(getattr(pyro.infer, name), pyro.infer.ELBO)


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
