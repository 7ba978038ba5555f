"""Torch and Pyro may drop any name that they keep to themselves: the package runs without it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyrovae

pytestmark = pytest.mark.slow

ROOT = Path(pyrovae.__file__).parent

#: The private names that the package uses, with the object or module that holds each.
NAMES = {
    "DataDependentOutputException": "torch._subclasses.fake_tensor",
    "DynamicOutputShapeException": "torch._subclasses.fake_tensor",
    "TorchDispatchMode": "torch.utils._python_dispatch",
    "_Context": "pyro.nn.module",
    "_foreach_copy_": "torch",
    "_foreach_mul_": "torch",
    "_get_default_store": "torch.distributed.distributed_c10d",
    "_is_mkldnn_bf16_supported": "torch.ops.mkldnn",
    "compile": "torch._inductor",
    "fx_graph_cse": "torch._functorch.compile_utils",
    "make_fx": "torch.fx.experimental.proxy_tensor",
}

#: Private methods that Pyro or torch call themselves, so that nothing runs where they are gone.
METHODS = {"_check_input_dim", "_pyro_set_supermodule"}

#: Names that are hidden together: each process takes long to import the package. None of a group
#: is used where another of it is gone.
GROUPS = [[*NAMES][start::3] for start in range(3)]

#: For each group a process that starts without the package, hides the names from it, and
#: trains.
SCRIPT = """
import copy, importlib, io, json, os, sys, types
import torch, pyro, pyro.infer, pyro.optim, torch.utils.tensorboard, torch._dynamo
import torch._inductor, torch._functorch.compile_utils, torch.fx.experimental.proxy_tensor

class Hiding:
    def __init__(self, inner, name):
        self.__dict__.update(inner=inner, hidden=name)
    def __getattr__(self, name):
        if name == self.hidden:
            raise AttributeError(name)
        return getattr(self.inner, name)

def hide(place, name):
    if place in sys.modules:
        # Torch and Pyro keep their own module: only who imports from now on sees another.
        other = types.ModuleType(place)
        other.__dict__.update({k: v for k, v in vars(sys.modules[place]).items() if k != name})
        getter = vars(sys.modules[place]).get("__getattr__")
        if getter is not None:
            other.__getattr__ = getter
        sys.modules[place] = other
        assert not hasattr(other, name)
    parent, _, last = place.rpartition(".")
    if parent:
        outer = importlib.import_module(parent) if parent != "torch.ops" else torch.ops
        held = sys.modules.get(place) or Hiding(getattr(outer, last), name)
        setattr(outer, last, held)

def train():
    import pyrovae
    from tests.support.small import adam, small_data, small_vae
    vae = copy.deepcopy(small_vae())
    engine = pyrovae.Engine("cpu", compile="off")
    state = pyrovae.Trainer(epochs=1, batch_size=40).fit(vae, small_data(), adam(), engine).state
    return [state.step, state.loss != state.loss]

for group in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if not (child := os.fork()):
        try:
            for place, name in group:
                hide(place, name)
            print(train())
        except BaseException as error:
            print(type(error).__name__, *str(error).split())
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """What two steps of training gave without each name, and those of its group."""
    groups = [[(NAMES[name], name) for name in group] for group in GROUPS]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(groups)],
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    pairs = zip(GROUPS, lines, strict=True)
    return {name: line for group, line in pairs for name in group}


@pytest.mark.parametrize("name", NAMES)
def test_the_package_trains_without_a_private_name(name: str, found: dict[str, str]) -> None:
    assert found[name] == "[2, False]"


def private_names(path: Path) -> Iterator[tuple[str, bool]]:
    """Private names of torch and Pyro in a file, and whether the file's import needs them."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("torch", "pyro.")):
            for alias in node.names:
                if any(part.startswith("_") for part in f"{node.module}.{alias.name}".split(".")):
                    yield alias.name, node in tree.body
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner = ast.unparse(node.value)
            if f"{owner}.".startswith(("torch.", "pyro.", "dist.")) and node.attr[1] != "_":
                yield node.attr, False


def test_every_private_name_is_known_and_imported_where_it_is_used() -> None:
    found = {name: top for path in ROOT.rglob("*.py") for name, top in private_names(path)}
    known = {*NAMES, *METHODS} - {"make_fx"}
    assert set(found) <= known and not any(found.values())
    assert set(NAMES) - set(found) == {"make_fx"}
