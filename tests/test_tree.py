"""The tree of the tests: helpers stand in `tests/support/`, folders mirror the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
#: Folders that test no package: helpers, campaigns of damaged input, runs with planted faults, a
#: run of an old version.
OTHERS = {"support", "fuzzing", "bench", "run_of_version_0_2"}
FILES = sorted(TESTS.rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    """The modules that a file may import, also inside functions and inside code in strings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ("tests." if node.level else "") + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and "import" in str(node.value):
            yield from (line for line in str(node.value).split() if line.startswith("tests."))


def is_test(module: str) -> bool:
    parts = module.split(".")
    return parts[0] == "tests" and any(part.startswith("test_") for part in parts)


@pytest.mark.slow
def test_no_test_module_is_imported() -> None:
    for path in FILES:
        if path != Path(__file__):  # The examples below.
            found = [module for module in imported(path.read_text()) if is_test(module)]
            assert not found, f"{path} imports {found}: move what is shared to tests/support"


@pytest.mark.parametrize(
    "code",
    ["from tests.test_a import b", "from tests.data import test_a", "import tests.data.test_a"]
    + ["from . import test_a", "from .test_a import b"]
    + ["CODE = '''\nfrom tests.data.test_a import b\n'''", "def f():\n  import tests.test_a"],
)
def test_an_import_of_a_test_module_is_seen(code: str) -> None:
    assert any(is_test(module) for module in imported(code))


def test_folders_mirror_the_package() -> None:
    others = OTHERS | {"__pycache__"}
    found = {path.name for path in TESTS.iterdir() if any(path.glob("*.*"))} - others
    packages = {path.parent.name for path in (ROOT / "pyrovae").glob("*/__init__.py")}
    assert found == packages | {"scripts"}


def test_test_modules_are_in_folders_of_tests_and_helpers_in_support() -> None:
    for path in FILES:
        folder = path.relative_to(TESTS).parts[0]
        named = path.stem.startswith("test_") or path.stem in ("__init__", "conftest")
        assert named or folder in {*OTHERS, "fuzz.py", "gpu.py"}, path
        assert folder not in OTHERS or not path.stem.startswith("test_"), path
