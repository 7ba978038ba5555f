"""What is installed, and what an installation needs."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from pyrovae.utils.version import __version__
from tests.support.commands import TINY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Extras that need not be installed here: the module of each and its distribution.
OPTIONAL = {"umap": "umap-learn", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
#: Packages whose distribution Python 3.10 does not find.
OTHERWISE = {"sklearn": "scikit-learn"}
SMALL = [option for option in TINY if not option.startswith("--engine")]
needs_builder = pytest.mark.skipif(
    not (importlib.util.find_spec("hatchling") and importlib.util.find_spec("pip")),
    reason="builds a wheel with pip and hatchling, and one of them is not installed",
)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ;]", requirement)[0] for requirement in requirements}


def imports() -> set[str]:
    """The distributions that the files of the package import, also inside functions."""
    found: set[str] = set()
    for path in (ROOT / "pyrovae").rglob("*.py"):
        if path.name == "conftest.py":  # It is left out of the wheel.
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "optional_package":
                package, *extra = [str(ast.literal_eval(own)) for own in node.args]
                named = names(PROJECT["optional-dependencies"][(extra or [package])[0]])
                assert package in named, f"{path}: no extra installs {package}"
                found.add(package)
    found -= {*sys.stdlib_module_names, "pyrovae"}
    known = packages_distributions()
    named = OPTIONAL | OTHERWISE
    return {named.get(name) or known.get(name, [name])[0].lower() for name in found}


@pytest.mark.slow
def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    needed, extras = names(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    used = [extra for extra in extras if extra not in ("bench", "browser", "test")]
    optional = names([name for extra in used for name in extras[extra]])
    assert imports() == needed | optional


def test_the_project_names_its_licence_and_no_private_place() -> None:
    assert PROJECT["license"] == "MIT" and PROJECT["license-files"] == ["pyrovae/LICENSE"]
    assert (ROOT / "pyrovae" / "LICENSE").read_text().startswith("MIT License\n")
    assert "version" in PROJECT["dynamic"]
    assert all(url.startswith("https://") for url in PROJECT["urls"].values())
    assert not re.search(r"index-url|simple/|localhost", (ROOT / "pyproject.toml").read_text())


def test_ci_covers_the_versions_that_the_project_names() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    matrix = re.findall(r'python: "([\d.]+)", torch: "(\S+)', text)
    stated = [line.split(" :: ")[-1] for line in PROJECT["classifiers"] if "3." in line]
    assert {python for python, _ in matrix} == set(stated)
    (oldest,) = re.findall(r"torch>=([\d.]+)", " ".join(PROJECT["dependencies"]))
    torches = {python: {torch for own, torch in matrix if own == python} for python in stated}
    assert torches[stated[0]] == torches[stated[-1]] == {f"torch=={oldest}.*", "torch"}


def test_base_classes_are_where_the_page_for_contributors_says() -> None:
    page = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| `([\w/]+)`, (.*?) \|", page, re.MULTILINE)
    assert len(rows) == 17
    for package, bases in rows:
        files = (ROOT / "pyrovae" / package).glob("*.py")
        text = "\n".join(path.read_text() for path in files)
        for base in re.findall(r"`(\w+)`", bases):
            assert re.search(rf"^class {base}\b", text, re.MULTILINE), f"{package}: {base}"


def clean(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "PYTHONPATH"}


def install(folder: Path, *what: str) -> Path:
    """Installs into a new environment that sees the packages of this one; its programs."""
    venv.create(folder, with_pip=False)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    (site,) = folder.rglob("site-packages")
    (site / "others.pth").write_text("\n".join(p for p in sys.path if "site-packages" in p))
    command = [sys.executable, "-m", "pip", "-q", f"--python={programs / 'python'}", "install"]
    command += ["--no-deps", "--no-index", "--no-build-isolation"]
    command += ["--no-compile", *what]
    done = subprocess.run(command, capture_output=True, text=True, env=clean(dict(os.environ)))
    assert done.returncode == 0, done.stderr
    return programs


def execute(program: Path, *arguments: str, folder: Path) -> str:
    command, environment = [str(program), *arguments], clean(dict(os.environ))
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what an installation is built from, in a folder of the usual name."""
    root = tmp_path_factory.mktemp("above") / "pyrovae"
    root.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "pyrovae", root / "pyrovae", ignore=shutil.ignore_patterns("*.pyc"))
    return root


@pytest.mark.slow
@needs_builder
def test_an_installed_wheel_trains_the_default_run_in_an_empty_folder(
    clone: Path, tmp_path: Path
) -> None:
    programs = install(tmp_path / "venv", str(clone))
    (package,) = (path.parent for path in (tmp_path / "venv").rglob("pyrovae/py.typed"))
    assert (package / "LICENSE").exists() and not (package / "conftest.py").exists()
    assert (package / "config" / "presets" / "celeba.yaml").exists()
    page = Path("commands", "explorer", "page")
    served = {path.name for path in (package / page).iterdir()}
    assert served == {path.name for path in (ROOT / "pyrovae" / page).iterdir()}
    (empty := tmp_path / "empty").mkdir()
    said = execute(programs / "pyrovae", "--version", folder=empty)
    assert said == f"pyrovae {__version__}\n"
    assert "test, 16 images" in execute(programs / "pyrovae", "train", *SMALL, folder=empty)
    assert len(list((empty / "runs").iterdir())) == 1
    assert {path.name for path in empty.iterdir()} == {"runs"}


@pytest.mark.slow
@needs_builder
def test_the_folder_above_an_installed_clone_does_not_hide_it(clone: Path, tmp_path: Path) -> None:
    programs = install(tmp_path / "venv", "-e", str(clone))
    check = "import pyrovae.utils.version; print(pyrovae.__file__)"
    found = execute(programs / "python", "-c", check, folder=clone.parent)
    assert Path(found.strip()) == clone / "pyrovae" / "__init__.py"
