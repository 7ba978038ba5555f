"""What a YAML file may say: it ends in a run, or in one line at once."""

from __future__ import annotations

import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

import pyrovae
from pyrovae import InputError
from pyrovae.config.options import parse_training, train_parser
from pyrovae.config.plain_yaml import parse_yaml
from tests.support.commands import run

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
        ("trainer.epochs: 2", "; write trainer: and indented below it epochs:"),
        ("", "is empty; allowed is a mapping of options, such as trainer: {epochs: 2}"),
        ("[1, 2]", "holds a list; allowed is a mapping of options"),
        ("# nothing\n", "holds comments only (# nothing)."),
        ("trainer: {epochs: 2\n", "(line 2, while parsing a flow mapping from line 1: expected"),
        ("trainer:\n\tepochs: 2", "(line 2: found character '\\t'"),
        ("prior: {nonsense: {}}", "--prior.nonsense: no such option"),
        ("nonsense: {}", "--nonsense: no such option"),
        ("trainer: {nonsense: {}}", "--trainer.nonsense: no such option"),
        ("prior: {class_path: VampPrior, init_args: {nonsense: {}}}", "--prior.nonsense: no such"),
        ("prior: {latent_dimm: 3}", "no such option; did you mean --prior.latent_dim? (see"),
        ("trainer: {epoch: 3}", "no such option; did you mean --trainer.epochs? (see"),
        ("optimizer: {lrr: 3}", "no such option; did you mean --optimizer.lr? (see"),
        (
            "prior: {class_path: FlowPrior, init_args: {flow: {num_layer: 3}}}",
            "no such option; did you mean --prior.flow.num_layers? (see",
        ),
        ("prior: {num_components: 3}", "no such option; GaussianMixture, VampPrior have it"),
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
    data: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"data": data}))
    given = [f"--config={tmp_path}/mine.yaml", f"--run_dir={tmp_path}/run"]
    assert run("train", given, monkeypatch) == 2
    error = capsys.readouterr().err
    assert "x" * 201 not in error and error.count("1, ") < 100 and error.count("\n") == 1
