"""What `import pyrovae` costs, and which names it has."""

from __future__ import annotations

import ast
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import pyrovae

pytestmark = pytest.mark.slow


def run(code: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_import_waits_until_a_name_is_used() -> None:
    heavy = "[name for name in ('torch', 'numpy', 'pyro', 'yaml') if name in sys.modules]"
    assert run(f"import sys, pyrovae, pyrovae.commands; print({heavy})") == "[]"
    parts = "print(pyrovae.priors.Laplace.__module__, 'pyrovae.training' in sys.modules)"
    assert run(f"import sys, pyrovae; {parts}") == "pyrovae.priors.simple False"


def test_a_star_import_brings_each_part_and_hides_nothing_of_pyro() -> None:
    names = set(run("from pyrovae import *; print(*dir())").split())
    assert {"FlowPrior", "VAE", "Trainer", "load", "evaluate", "priors", "CelebA"} <= names
    assert not names & {"SVI", "Laplace", "StudentT", "annotations", "TYPE_CHECKING", "gather"}
    assert names - set(run("print(*dir())").split()) == set(pyrovae.__all__)
    assert set(pyrovae.__all__) <= set(dir(pyrovae)) and "SVI" in dir(pyrovae)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Laplace", "one of likelihoods.Laplace, posteriors.Laplace, priors.Laplace"),
        ("StudentT", "one of likelihoods.StudentT, priors.StudentT"),
        ("Triner", "no such name in pyrovae"),
    ],
)
def test_names_of_several_packages_say_where_they_are(name: str, expected: str) -> None:
    with pytest.raises(AttributeError, match=expected) as caught:
        getattr(pyrovae, name)
    assert "\n" not in str(caught.value)


def test_a_type_checker_reads_the_modules_that_are_searched() -> None:
    tree = ast.parse(Path(pyrovae.__file__).read_text())
    stars = [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
    assert stars == [f"pyrovae.{home}" for home in pyrovae._HOMES]


def test_what_reads_modules_finds_the_lazy_names() -> None:
    assert inspect.getmodule(pyrovae.FlowPrior).__name__ == "pyrovae.priors.flow"
    part = pickle.loads(pickle.dumps(pyrovae.StandardNormal(3)))
    assert repr(part) == "StandardNormal(latent_dim=3)"
