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


@pytest.mark.parametrize("pattern", [r"scripts/\w+\.py", r"scripts/configs/\w+\.yaml"])
def test_files_named_in_the_readme_exist(pattern: str) -> None:
    named = set(re.findall(pattern, README))
    assert named and all((ROOT / name).exists() for name in named)


def test_parts_named_in_the_readme_exist_and_all_are_named() -> None:
    table = README.split("## Parts")[1].split("### Your own")[0]
    abstract = {"Likelihood", "Prior", "Posterior", "Encoder", "Decoder", "Schedule", "Start"}
    roles = [getattr(pyrovae, name) for name in sorted(abstract)] + [pyrovae.ImageData]
    for name in pyrovae.__all__:
        value = getattr(pyrovae, name)
        if isinstance(value, type) and issubclass(value, tuple(roles)) and value not in roles:
            assert f"`{name}`" in table, f"{name} is missing from the README's table of parts"


def test_importing_the_package_imports_nothing_that_is_slow() -> None:
    check = (
        "import torch, pyro, sys; import pyrovae; "
        "slow = {'pandas', 'torchvision', 'matplotlib', 'tensorboard', 'jsonargparse', 'PIL'}; "
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
