"""A stranger's run or preset: opening it runs nothing of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import tracemalloc
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
from pyrovae.config.options import parse_training, train_parser
from pyrovae.config.plain_yaml import parse_yaml
from pyrovae.config.roles import ROLES
from pyrovae.runs.checkpoint import load_checkpoint, save_checkpoint
from tests.support.commands import SCRIPTS, TINY, run

Config = dict[str, Any]
Place = Callable[[Config, str, Config], None]

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


def at(path: str, spec: bool = True) -> Place:
    """Puts a class into a place of a configuration, with its argument or by name alone."""

    def put(config: Config, name: str, arguments: Config) -> None:
        *outer, last = path.split("/")
        node = config
        for key in outer:
            node = node.setdefault(key, {})
        node[last] = {"class_path": name, "init_args": arguments} if spec else name

    return put


def in_list(config: Config, name: str, arguments: Config) -> None:
    config["encoder"]["init_args"]["channels"] = [{"class_path": name, "init_args": arguments}]


def in_text(config: Config, name: str, arguments: Config) -> None:
    config["prior"] = yaml.safe_dump({"class_path": name, "init_args": arguments})


def in_dotted_key(config: Config, name: str, arguments: Config) -> None:
    config["prior.class_path"] = name
    config["prior.init_args"] = arguments


def deep(config: Config, name: str, arguments: Config) -> None:
    spec = {"class_path": name, "init_args": arguments}
    for _ in range(5):
        spec = {"class_path": "pyrovae.Warmup", "init_args": {"then": spec}}
    config["schedule"] = spec


def flow(config: Config, name: str, arguments: Config) -> None:
    inner = {"latent_dim": 4, "flow": {"class_path": name, "init_args": arguments}}
    config["prior"] = {"class_path": "pyrovae.FlowPrior", "init_args": inner}


def flow_by_name(config: Config, name: str, arguments: Config) -> None:
    config["prior"] = {"class_path": "pyrovae.FlowPrior", "init_args": {"flow": name}}


def activation(config: Config, name: str, arguments: Config) -> None:
    inner = {"activation": {"class_path": name, "init_args": arguments}}
    config["encoder"] = {"class_path": "pyrovae.MLPEncoder", "init_args": inner}


def activation_by_keywords(config: Config, name: str, arguments: Config) -> None:
    inner = {"activation": {"class_path": name, "dict_kwargs": arguments}}
    config["decoder"] = {"class_path": "pyrovae.MLPDecoder", "dict_kwargs": inner}


def file_as_part(config: Config, name: str, arguments: Config) -> None:
    other = Path(arguments["command"].split()[-1]).with_suffix(".yaml")
    other.write_text(yaml.safe_dump({"class_path": name, "init_args": arguments}))
    config["prior"] = str(other)


PLACES: dict[str, Place] = {
    "flow": flow,
    "flow by name": flow_by_name,
    "activation": activation,
    "activation by keywords": activation_by_keywords,
    "prior": at("prior"),
    "prior by name": at("prior", spec=False),
    "data": at("data"),
    "optimizer": at("optimizer"),
    "optimizer by name": at("optimizer", spec=False),
    "objective": at("objective"),
    "schedule, five deep": deep,
    "beta's schedule": at("beta/schedule"),
    "an argument that is plain": at("likelihood/init_args/initial_scale"),
    "an argument that says not what it is": at("objective/init_args/retain_graph"),
    "a list": in_list,
    "a text": in_text,
    "dotted keys": in_dotted_key,
    "another file": file_as_part,
    "an option that there is not": at("nonsense"),
}


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
        "CosineWarmup.then": pyrovae.Schedule,
        "ProbabilisticPCA.otherwise": pyrovae.Start,
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
        ("leaves.Prior", "'leaves.Prior' cannot be imported: SystemExit: 3"),
        ("breaks.Prior", "'breaks.Prior' cannot be imported: Odd: x y"),
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


ALIASES = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
MERGES = "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10))
HOSTILE_YAML = {
    "a bomb of aliases": "a0: &a0 [x, x]\n" + ALIASES,
    "a bomb of merges": "a0: &a0 {x: 1}\n" + MERGES,
    "a bomb in a text": "data: {class_path: ImageFolder, init_args: {root: '"
    + ("a0: &a0 [x, x]\n" + ALIASES).replace("\n", "\n\n")
    + "'}}",
    "recursion": "prior: &a [*a]",
    "recursion of a mapping": "prior: &a {b: *a}",
    "recursion in a text": "prior: '&a [*a]'",
    "2,000 levels": f"prior: {'[' * 2000}{']' * 2000}",
    "2,000 levels of lists": f"{'- ' * 2000}x",
    "2,000 levels in a text": f"prior: '{'[' * 1900}{']' * 1900}'",
    "an integer of 5,000 digits": f"trainer: {{epochs: {'9' * 5000}}}",
    "an integer of 5,000 hexadecimal digits": f"trainer: {{epochs: 0x{'f' * 5000}}}",
    "an integer of 3,000 digits in a text": f"trainer: {{epochs: '{'9' * 3000}'}}",
    "an object": "prior: !!python/object/apply:os.system [touch mark]",
    "an object by a tag of its own": "%TAG ! tag:yaml.org,2002:python/\n---\n"
    "prior: !object/apply:os.system [touch mark]",
    "a name": "prior: !!python/name:os.system",
    "a tag": "prior: !x y",
    "a set": "prior: !!set {x}",
    "a date that is none": "prior: 2024-99-99",
    "a NUL": "prior: a\0b",
    "a NUL in an escape": 'data: {class_path: ImageFolder, init_args: {root: "a\\0b"}}',
    "half a character": 'data: {class_path: ImageFolder, init_args: {root: "a\\ud800b"}}',
    "not UTF-8": b"prior: \xff\xfe",
    "UTF-16": "prior: x".encode("utf-16"),
    "a key twice": "prior: StandardNormal\nprior: VampPrior",
    "a key twice, further in": "prior: {class_path: StandardNormal, class_path: VampPrior}",
    "a key that is a list": "[1]: 2",
    "a key that is a number": "1: 2",
    "two documents": "prior: StandardNormal\n---\nprior: VampPrior",
    "no mapping": "- prior",
    "nothing": "",
    "an alias of nothing": "prior: *x",
    "50,000 keys": "".join(f"k{i}: 1\n" for i in range(50_000)),
    "one key of a megabyte": "x" * 10**6,
    "ten megabytes": "a: 1\n" * 2 * 10**6,
    "a word of 3,000 letters": f"prior: {'x' * 3000}",
    "a word of 30,000 letters": f"prior: {'x' * 30000}",
    "an argument of 3,000 letters": f"prior: {{class_path: StandardNormal, {'x' * 900}: 1}}",
    "a list of 4,000 numbers": f"prior: {{latent_dim: [{'1, ' * 4000}]}}",
    "a terminal's escape": 'prior: "\\e[31mred"',
}


@pytest.mark.slow
@pytest.mark.parametrize("case", HOSTILE_YAML)
def test_hostile_yaml_is_one_line_at_once(
    case: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = HOSTILE_YAML[case]
    root = tmp_path / "run"
    shutil.copytree(trained, root)
    (root / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.chdir(tmp_path)
    lines = []
    tracemalloc.start()
    with pytest.raises(InputError) as refused:
        pyrovae.load(root)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    lines.append(str(refused.value))
    started = time.process_time()
    with pytest.raises(InputError):
        pyrovae.load(root)
    assert time.process_time() - started < 1
    assert peak < 100e6
    for given in ([f"--resume={root}"], [f"--config={root}/config.yaml"]):
        capsys.readouterr()
        assert run("train", [*given, f"--run_dir={tmp_path}/out"], monkeypatch) == 2
        lines.append(capsys.readouterr().err)
    for line in lines:
        assert line.strip().count("\n") == 0 and ("config.yaml" in line or "--prior." in line)
        assert len(line) < 700 and line.strip().isprintable()
    assert not (tmp_path / "mark").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "encoder: {init_args: true}",
            "--encoder.init_args: must be a mapping of arguments, got True",
        ),
        ("encoder: {class_path: ConvEncoder, init_args: true}", "--encoder.init_args: must be"),
        ("trainer: false", "--trainer: is a group of options; set --trainer.batch_size"),
        ("trainer: 3", "--trainer: is a group of options"),
        ("beta: other.yaml", "--beta: is a group of options; set --beta.schedule, --beta.value"),
        (
            "objective: {class_path: Trace_ELBO, init_args: {retain_graph: text}}",
            "--objective.retain_graph: must be a number, true, false or null, got text",
        ),
        (
            "objective: {class_path: IWAE, init_args: {retain_graph: text}}",
            "retain_graph: no such option",
        ),
        ("resume: elsewhere", "--resume: allowed on the command line only"),
        ("trust: true", "--trust: allowed on the command line only"),
        ("config: other.yaml", "--config: allowed on the command line only"),
        ("prior.latent_dim: 3", "'prior.latent_dim' is not a valid name"),
        ("prior: {nonsense: {}}", "--prior.nonsense: no such option"),
        ("nonsense: {}", "--nonsense: no such option"),
        ("trainer: {nonsense: {}}", "--trainer.nonsense: no such option"),
        ("prior: {class_path: VampPrior, init_args: {nonsense: {}}}", "--prior.nonsense: no such"),
        ("prior: {latent_dim: -3}", "--prior.latent_dim: latent_dim must be at least 1, got -3"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_before_a_directory_is_made(
    content: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    given = [f"--config={tmp_path}/mine.yaml", f"--run_dir={tmp_path}/run"]
    assert run("train", given, monkeypatch) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prior.nonsense", "{}"], "--prior.nonsense: no such option"),
        (["--prior.init_args.nonsense={}"], "--prior.nonsense: no such option"),
        (["--prior.num_components={}"], "--prior.num_components: no such option"),
        (
            ["--prior=FlowPrior", "--prior.flow.nonsense={}"],
            "--prior.flow.nonsense: no such option",
        ),
        (["--trainer.nonsense={}"], "--trainer.nonsense"),
        (["--objective.retain_graph=text"], "--objective.retain_graph: must be a number"),
        (["--trainer=false"], "--trainer: is a group of options"),
        (["--prior=prior.yaml"], "--prior: 'prior.yaml' cannot be imported"),
        (["--prior=./prior.yaml"], "--prior: unknown class './prior.yaml'"),
        (["--config={tmp}/prior.yaml", "--config={tmp}/good.yaml"], "prior.yaml: --flow"),
    ],
)
def test_what_is_wrong_on_a_command_line_is_named_before_a_directory_is_made(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mark = tmp_path / "mark"
    monkeypatch.chdir(tmp_path)
    inner = {"class_path": "os.system", "init_args": {"command": f"touch {mark}"}}
    (tmp_path / "prior.yaml").write_text(yaml.safe_dump({"flow": inner}))
    (tmp_path / "good.yaml").write_text("beta: {value: 2}\n")
    given = [
        argument.format(tmp=tmp_path) if "tmp}" in argument else argument for argument in arguments
    ]
    assert run("train", [*given, f"--run_dir={tmp_path}/run"], monkeypatch) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert not (tmp_path / "run").exists() and not mark.exists()


def test_a_file_called_like_the_content_of_a_preset_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser looks for a file before it takes a text for the options themselves."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("prior: {latent_dim: 3}\n")
    for name in ("{prior: {latent_dim: 3}}", "prior: {latent_dim: 3}\n"):
        (tmp_path / name).write_text("prior: {latent_dim: 5}\n")
    config = parse_training(train_parser(), ["--config=mine.yaml"])
    assert config.prior.init_args.latent_dim == 3


def test_anchors_and_merges_of_a_preset_are_read() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n"
    found = {"x": 1, "y": 2}
    assert parse_yaml(text, "F") == {"a": found, "b": {"x": 1, "y": 3}, "c": [found, found]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        {"class_path": "TorchvisionImages", "init_args": {"name": "x" * 3000, "root": "r"}},
        {"class_path": "ImageFolder", "init_args": {"root": "x" * 3000}},
        {"class_path": "ImageFolder", "init_args": {"root": "r", "on_error": "x" * 3000}},
        {"class_path": "SyntheticFaces", "init_args": {"num_train": "x" * 3000}},
        {"class_path": "SyntheticFaces", "init_args": {"num_train": [1] * 3000}},
        {"class_path": "SyntheticFaces", "init_args": {"x" * 3000: 1}},
        {"class_path": "x" * 3000},
        {"class_path": "x." + "x" * 3000},
    ],
)
def test_a_long_value_is_cut_in_a_message(
    data: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"data": data}))
    given = [f"--config={tmp_path}/mine.yaml", f"--run_dir={tmp_path}/run"]
    assert run("train", given, monkeypatch) == 2
    error = capsys.readouterr().err
    assert "x" * 201 not in error and error.count("1, ") < 100 and error.count("\n") == 1


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
