"""A module imports from layers below its own, and from its own package, only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyrovae

ROOT = Path(pyrovae.__file__).parent
LAYERS = (
    {"utils"},
    {"distributions", "data", "runs"},
    {"priors", "likelihoods", "posteriors", "networks", "objectives", "engine"},
    {"programs"},
    {"posterior"},
    {"training", "evaluation"},
    {"inspection"},
    {"config"},
    {"commands"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(
    path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem == "engine"
)


def name_of(path: Path) -> str:
    parts = (ROOT.name, *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


NAMES = {name_of(path) for path in ROOT.rglob("*.py")}


def imported(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("pyrovae"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            if module.startswith("pyrovae"):
                whole = [f"{module}.{alias.name}" for alias in node.names]
                yield from (name if name in NAMES else module for name in whole)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    own = name_of(path).split(".")[1]
    for module in imported(path):
        assert module != "pyrovae", "the top imports all layers: name the package"
        package = module.split(".")[1]
        assert package == own or LEVEL[package] < LEVEL[own], f"{own} imports {module}"


def test_every_package_has_a_layer() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages | {"engine"} == set(LEVEL)
    top = {"__init__.py", "__main__.py", "engine.py", "conftest.py"}
    assert {path.name for path in ROOT.glob("*.py")} <= top


def test_no_import_runs_in_a_circle() -> None:
    graph = {name_of(path): set(imported(path)) - {name_of(path)} for path in MODULES}
    # A package's own list of names is no layer: what imports it from inside would be a circle.
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in done:
            for lower in graph.get(name, ()):
                walk(lower, (*above, name))
            done.add(name)

    for name in graph:
        walk(name, ())
