"""A stranger's run or preset: opening it runs nothing of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import pyrovae
from pyrovae import InputError, RunDirectory
from pyrovae.config.catalogue import concrete
from pyrovae.config.naming import arguments_of, known_class
from pyrovae.config.roles import ROLES
from pyrovae.runs.checkpoint import load_checkpoint, save_checkpoint
from tests.support.commands import SCRIPTS, TINY, run
from tests.support.planted import (
    PLACES,
    Config,
    flow,
)

ENTRIES = {
    "load": lambda root, mark: pyrovae.load(root),
    "evaluate": ["evaluate", "{run}", "--sections=elbo", "--device=cpu"],
    "compare": ["evaluate", "{good}", "--compare", "{run}", "--sections=elbo", "--device=cpu"],
    "sample": ["sample", "{run}", "--num=2", "--out={tmp}/out.png", "--device=cpu"],
    "inspect": ["inspect_posterior", "{run}", "--quick", "--sections=program", "--device=cpu"],
    "resume": ["train", "--resume={run}", "--trainer.epochs=2"],
    "config": ["train", "--config={run}/config.yaml", "--run_dir={tmp}/out"],
    "prepare": ["prepare_data", "--config={run}/config.yaml"],
}

SYSTEM = "os.system"
TOUCH = "touch {mark}"


@pytest.fixture
def hostile(trained: Path, tmp_path: Path) -> Callable[[Config], Path]:
    """Makes a copy of a finished run with another configuration, also in its checkpoint."""

    def make(config: Config) -> Path:
        root = tmp_path / "hostile"
        shutil.copytree(trained, root)
        text = yaml.safe_dump(config)
        (root / "config.yaml").write_text(text)
        tensors, state = load_checkpoint(RunDirectory(root).last)
        save_checkpoint(RunDirectory(root).last, tensors, {**state, "config": text})
        return root

    return make


@pytest.fixture
def config(trained: Path) -> Config:
    return yaml.safe_load((trained / "config.yaml").read_text())


def opened(
    entry: str,
    root: Path,
    good: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *more: str,
) -> str:
    """The line that an entry point refuses a run with."""
    how: Any = ENTRIES[entry]
    if entry == "load":
        with pytest.raises(InputError) as refused:
            pyrovae.load(root)
        return str(refused.value)
    name, *arguments = [word.format(run=root, good=good, tmp=root.parent) for word in how]
    capsys.readouterr()
    assert run(name, [*arguments, *more], monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said.strip()


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_no_word_of_a_file_runs(
    entry: str,
    place: str,
    config: Config,
    hostile: Callable[[Config], Path],
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark = tmp_path / "mark"
    PLACES[place](config, "os.system", {"command": f"touch {mark}"})
    line = opened(entry, hostile(config), trained, monkeypatch, capsys)
    assert "hostile/config.yaml" in line
    assert "os.system" in line or place in ("dotted keys", "another file")
    assert not mark.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_module_that_a_file_names_is_imported(
    entry: str,
    config: Config,
    hostile: Callable[[Config], Path],
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither one of the current directory nor one that is installed."""
    mark = tmp_path / "mark"
    (tmp_path / "stray.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config["prior"]["class_path"] = "stray.Prior"
    line = opened(entry, hostile(config), trained, monkeypatch, capsys)
    assert "stray.Prior" in line and "config.yaml" in line and "--trust" in line
    assert "stray" not in sys.modules and not mark.exists()


def test_what_a_checkpoint_says_of_its_run_is_not_run_either(
    config: Config,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark, root = tmp_path / "mark", tmp_path / "run"
    shutil.copytree(trained, root)
    flow(config, "os.system", {"command": f"touch {mark}"})
    tensors, state = load_checkpoint(RunDirectory(root).last)
    save_checkpoint(RunDirectory(root).last, tensors, {**state, "config": yaml.safe_dump(config)})
    capsys.readouterr()
    assert run("train", [f"--resume={root}", "--trainer.epochs=2"], monkeypatch) == 2
    said = capsys.readouterr().err
    assert "last.safetensors: --prior.flow: names os.system" in said and said.count("\n") == 1
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("pyrovae.config.options.os.system", "prior"),
        ("pyrovae.config.options.RunDirectory", "prior"),
        ("pyrovae.StandardNormal ", "prior"),
        (".pyrovae.StandardNormal", "prior"),
        ("pyrovae..StandardNormal", "prior"),
        ("ｐyrovae.StandardNormal", "prior"),
        ("pyrovae.likelihoods.Laplace", "prior"),
        ("pyrovae.inspection.nothing.Prior", "prior"),
        ("pyrovae.ConvEncoder", "prior"),
        ("system", "prior"),
        ("torch.nn.modules.module.torch.os.system", "activation"),
        ("torch.nn.functional.relu", "activation"),
        ("torch.nn.init", "activation"),
        ("torch.load", "activation"),
        ("torch.hub.load", "activation"),
        ("torch.jit.ScriptModule", "activation"),
        ("pyrovae.VAE", "activation"),
        ("pyro.nn.PyroModule", "activation"),
        ("torch.optim.lr_scheduler.StepLR", "optimizer"),
        ("torch.optim.optimizer.os.system", "optimizer"),
        ("pyro.optim.Adam", "optimizer"),
        ("pandas.read_pickle", "data"),
        ("builtins.eval", "data"),
        ("torch.nn.ReLU", "anything"),
        ("pyrovae.VAE", "anything"),
    ],
)
def test_only_classes_of_a_role_need_no_consent(name: str, base: str) -> None:
    others = {
        "activation": torch.nn.Module,
        "optimizer": torch.optim.Optimizer,
        "anything": object,
    }
    assert known_class(name, {**ROLES, **others}[base]) is None


def test_every_part_is_known_by_the_names_it_has() -> None:
    for option, base in ROLES.items():
        for part in concrete(base):
            if part.__module__.startswith("pyro"):
                assert known_class(f"{part.__module__}.{part.__name__}", base) is part, option
                assert known_class(part.__name__, base) is not None
    assert known_class("torch.nn.ReLU", torch.nn.Module) is torch.nn.ReLU
    assert known_class("torch.optim.AdamW", torch.optim.Optimizer) is torch.optim.AdamW


def test_the_arguments_that_are_parts_are_known_as_such() -> None:
    found = {
        f"{part.__name__}.{name}": hint.base
        for role, base in ROLES.items()
        for part in concrete(base)
        if role != "program" and part.__module__.startswith("pyro")
        for name, hint in arguments_of(part).items()
        if hint.base is not None
    }
    assert found == {
        "ArrayData.augment": pyrovae.Augmentation,
        "CelebA.augment": pyrovae.Augmentation,
        "ImageFolder.augment": pyrovae.Augmentation,
        "TorchDataset.augment": pyrovae.Augmentation,
        "TorchvisionImages.augment": pyrovae.Augmentation,
        "FlowPrior.flow": pyrovae.priors.Flow,
        "Bernoulli.binarization": pyrovae.likelihoods.Binarization,
        "Masked.likelihood": pyrovae.Likelihood,
        "MLPEncoder.activation": torch.nn.Module,
        "MLPDecoder.activation": torch.nn.Module,
        "Capacity.schedule": pyrovae.Schedule,
        "Denoising.corruption": pyrovae.Corruption,
        "Denoising.bound": ROLES["objective"],
        "Warmup.then": pyrovae.Schedule,
        "ProbabilisticPCA.fallback": pyrovae.Start,
    }
    paths = [
        arguments_of(part)["root"]
        for part in concrete(ROLES["data"])
        if part.__name__ in ("CelebA", "ImageFolder", "TorchvisionImages")
    ]
    assert [hint.text for hint in paths] == [True] * 3


OWN = '''
import pyrovae


class Wide(pyrovae.StandardNormal):
    """A prior of the user's own."""

    def __init__(self, latent_dim: int = 4, wide: float = 2.0) -> None:
        super().__init__(latent_dim)
        self.wide = wide


def make(latent_dim: int = 4) -> pyrovae.Prior:
    open("mark", "w")
    return Wide(latent_dim)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a part in it, where commands run."""
    (tmp_path / "own_prior.py").write_text(OWN)
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "breaks.py").write_text(
        "class Odd(BaseException):\n    pass\nraise Odd('x\\ny')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_prior", raising=False)
    return tmp_path


REST = [argument for argument in TINY if "prior" not in argument]


@pytest.mark.slow
@pytest.mark.usefixtures("without_pages")
def test_consent_is_typed_or_given_by_trust(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--prior=own_prior.Wide", "--prior.wide=3"]
    assert run("train", [*REST, *typed, "--run_dir=run"], monkeypatch) == 0
    text = (own / "run" / "config.yaml").read_text()
    assert "own_prior.Wide" in text and "trust" not in text
    assert sys.path[-1] == str(own) and str(own) not in sys.path[:-1]
    with pytest.raises(
        InputError, match=r"config.yaml: --prior: names own_prior.Wide.*trust=True"
    ):
        pyrovae.load("run")
    assert pyrovae.load("run", trust=True).model.prior.wide == 3.0
    capsys.readouterr()
    longer = ["--resume=run", "--trainer.epochs=2"]
    assert run("train", longer, monkeypatch) == 2
    assert "run/config.yaml: --prior: names own_prior.Wide" in capsys.readouterr().err
    assert run("train", [*longer, "--prior=own_prior.Wide"], monkeypatch) == 0
    assert run("train", ["--resume=run", "--trainer.epochs=3", "--trust"], monkeypatch) == 0
    assert "trust" not in (own / "run" / "config.yaml").read_text()
    assert run("sample", ["run", "--num=1", "--device=cpu"], monkeypatch) == 2
    assert run("sample", ["run", "--num=1", "--device=cpu", "--trust"], monkeypatch) == 0
    preset = ["--config=run/config.yaml", "--run_dir=again"]
    assert run("train", preset, monkeypatch) == 2
    assert run("train", [*preset, "--trust"], monkeypatch) == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_prior.make", "own_prior.make is not a class"),
        ("own_prior.nothing", "module 'own_prior' has no attribute 'nothing'"),
        ("leaves.Prior", "'leaves.Prior' cannot be imported: 3 (SystemExit in leaves.py, line 1)"),
        ("breaks.Prior", "'breaks.Prior' cannot be imported: x y (Odd in breaks.py, line 3)"),
        ("venv.__main__.X", "'venv.__main__.X' cannot be imported: __main__ is a command"),
        ("os.system", "os.system is not a class"),
        ("fractions.Fraction", "fractions.Fraction must be a subclass of Prior"),
    ],
)
@pytest.mark.parametrize("consent", ["typed", "trusted"])
def test_nothing_but_a_class_of_the_role_is_made_whoever_allows_it(
    consent: str,
    name: str,
    said: str,
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (own / "mine.yaml").write_text(f"prior: {name}\n")
    given = [f"--prior={name}"] if consent == "typed" else ["--config=mine.yaml", "--trust"]
    assert run("train", [*REST, *given, "--run_dir=run"], monkeypatch) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert "--prior: " in error and ("mine.yaml" in error) == (consent == "trusted")
    assert not (own / "mark").exists() and not (own / "run").exists()


def test_typing_one_class_allows_no_other(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "stray.py").write_text(OWN + "open('mark', 'w')\n")
    (own / "mine.yaml").write_text("likelihood: stray.Wide\n")
    given = ["--config=mine.yaml", "--prior=own_prior.Wide", "--data.cache_dir=stray.Wide"]
    assert run("train", [*REST, *given, "--run_dir=run"], monkeypatch) == 2
    assert "mine.yaml: --likelihood: names stray.Wide" in capsys.readouterr().err
    assert not (own / "mark").exists()


#: Runs scripts one after the other, as `python SCRIPT` does each: it must import torch only once.
AFTER_EACH_OTHER = """
import sys
sys.path[0] = scripts = sys.argv[1]  # Not the current directory, as for a script.
import json, os, runpy
for name, *sys.argv[1:] in json.loads(sys.argv[2]):
    try:
        runpy.run_path(f"{scripts}/{name}.py", run_name="__main__")
    except SystemExit as stopped:
        assert not stopped.code, stopped.code
    assert not {"", ".", os.getcwd()} & set(sys.path), name
"""


@pytest.mark.slow
def test_a_command_imports_nothing_from_where_it_runs(trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(trained, root)
    for name in ("pandas", "numpy", "umap", "arviz", "yaml", "pyrovae", "StandardNormal"):
        (root / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    commands = [
        ["inspect_posterior", ".", "--quick", "--sections=program"],
        ["evaluate", ".", "--sections=elbo"],
        ["train", "--resume=.", "--trainer.epochs=2"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", AFTER_EACH_OTHER, str(SCRIPTS), json.dumps(commands)],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for wanted in ("report_program.html", "test, 16 images", "epoch 2/2"):
        assert wanted in done.stdout
    assert not (tmp_path / "mark").exists()


@pytest.mark.slow
def test_a_class_of_which_nothing_is_made_may_be_gone(
    config: Config,
    hostile: Callable[[Config], Path],
) -> None:
    """An objective, for one, is only trained with: a part of the user's own takes trust."""
    config["objective"]["class_path"] = "pyro.infer.Gone"
    root = hostile(config)
    assert not pyrovae.load(root).training
    config["objective"]["class_path"] = "own_objectives.Mine"
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"--objective: names own_objectives.Mine.*trust=True"):
        pyrovae.load(root)
    assert not pyrovae.load(root, trust=True).training
    assert "own_objectives" not in sys.modules
