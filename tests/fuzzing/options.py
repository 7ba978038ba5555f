"""Command lines and YAML files of training, up to the point where training would begin."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pyrovae import load
from pyrovae.config.presets import preset_names, preset_path
from tests.fuzzing.base import (
    REACHED,
    Campaign,
    Wrong,
    check_no_code,
    command,
    contents,
    copy_run,
    refusal,
    stop_before_training,
)
from tests.fuzzing.mutations import VALUES, mutated, places
from tests.support.commands import TINY

PRESETS = [preset_path(name) for name in preset_names()]
OPTIONS = [
    "--beta.value=0.5", "--beta.schedule=Warmup", "--beta.schedule.fraction=0.2",
    "--optimizer=Adam", "--optimizer.lr=0.01", "--optimizer=SGD", "--optimizer.momentum=0.5",
    "--prior=GaussianMixture", "--prior.num_components=3", "--prior=VampPrior",
    "--prior=FlowPrior", "--prior.flow=NeuralSpline", "--prior.flow.num_bins=5",
    "--likelihood=Normal", "--likelihood.scale=0.3", "--likelihood=DiscretizedLogistic",
    "--posterior=FullRankNormal", "--posterior=LowRankNormal", "--posterior.rank=2",
    "--objective=IWAE", "--objective.num_particles=3", "--objective=BetaTC",
    "--objective=Capacity", "--objective.capacity=5", "--schedule=Cosine",
    "--schedule=Warmup", "--start=RandomStart", "--start.fallback=null",
    "--trainer.seed=3", "--trainer.clip_norm=10", "--trainer.patience=2",
    "--trainer.epochs=3", "--trainer.batch_size=8", "--engine.compile=off",
    "--engine.precision=auto", "--encoder=MLPEncoder", "--decoder=MLPDecoder",
    "--encoder.hidden_dims=[8,8]", "--encoder.activation=torch.nn.ReLU",
    "--data.num_train=40", "--data.image_size=[16,16]", "--resume=auto",
]  # fmt: skip
ODD = [
    "", "-1", "0", "1", "text", "null", "nan", "inf", "-inf", "1e999", "1e-400", "0x10", "²", "٣",
    "[]", "{}", "[1,2]", "[[1]]", "{a: 1}", "true", "1.5", "9999999999999999999999", "9" * 5000,
    "1_000", "a" * 5000, "os.system", "torch.nn.Linear", "pyrovae.VAE", "pyrovae", "torch", "..",
    ".", "[", "{", "'", "!!python/name:os.system", "&a [*a]", "*a", "名前", "\x1b[31m", "a b", "=",
    "{class_path: os.system, init_args: {command: touch canary}}", "/etc/passwd", "~", "3 4",
    "{class_path: torch.nn.ReLU}", "{init_args: {a: 1}}", "builtins.exec", "1\n2", "torch.optim",
]  # fmt: skip


class OptionLines(Campaign):
    name, count, quick = "options", 400, 8

    def attempt(self, shared: Path, folder: Path, rng: random.Random) -> None:
        given = rng.sample(OPTIONS, rng.choice((0, 1, 2, 4)))
        arguments = [*TINY, *given, "--run_dir=run"]
        for _ in range(rng.choice((1, 1, 1, 2))):
            change_line(arguments, rng)
        if any(part.startswith(("--help", "-h")) or ".help" in part for part in arguments):
            return
        check_training(folder, arguments, {})


class YamlFiles(Campaign):
    name, count, quick = "yaml", 450, 10

    def prepare(self, shared: Path) -> None:
        copy_run(shared, shared / "run")

    def attempt(self, shared: Path, folder: Path, rng: random.Random) -> None:
        config = shared / "run" / "config.yaml"
        source = rng.choice([*PRESETS, *[config] * len(PRESETS)])
        kind, data = change_yaml(source.read_bytes(), rng)
        if source == config and rng.random() < 0.5:
            return check_load(shared / "run", folder / "run", kind, data)
        (folder / "mine.yaml").write_bytes(data)
        stated = strict_yaml(kind, data)
        check_training(folder, ["--config=mine.yaml", "--run_dir=run"], stated)
        return None


def check_training(folder: Path, arguments: list[str], stated: dict[str, Any] | None) -> None:
    """Raises `Wrong` unless a command is refused in a line, or has all options that it states.

    Args:
        folder: where it runs.
        arguments: of the command.
        stated: the options in its file; None if the file is damaged.
    """
    before = contents(folder)
    with stop_before_training() as found:
        answer = command("train", *arguments)
    check_no_code()
    if answer.refused and contents(folder) != before:
        raise Wrong(f"refused, but leaves {contents(folder)}")
    if answer.refused:
        return
    if answer.code != REACHED or stated is None:
        raise Wrong(f"code {answer.code}, of a damaged file: {arguments}")
    final = dict(leaves(found["answer"][0].as_dict()))
    wanted = dict(leaves(stated)) | dict(on_line(arguments))
    for key, value in wanted.items():
        if not holds(final, key, value):
            raise Wrong(f"{key} = {str(value)[:80]!r} is ignored, it has {final.get(key)!r}")


def check_load(shared: Path, run: Path, kind: str, data: bytes) -> None:
    """Raises `Wrong` unless a run with another configuration is refused, or loads its weights."""
    shutil.copytree(shared, run)
    (run / "config.yaml").write_bytes(data)
    before = contents(run)
    line = refusal(lambda: load(run))
    check_no_code()
    if contents(run) != before:
        raise Wrong("loading changes files")
    if not line and strict_yaml(kind, data) is None:
        raise Wrong("a damaged file is loaded")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values by the option that sets them."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            if key == "init_args" and not inner:
                continue
            hidden = key == "init_args" or (key == "class_path" and path)
            yield from leaves(inner, path if hidden else f"{path}.{key}".lstrip("."))
    else:
        yield path, value


def on_line(arguments: list[str]) -> Iterator[tuple[str, Any]]:
    """The options on a command line, and their values as YAML."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    joined = ["=" in argument for argument in arguments]
    if not all(joined):
        return  # A value apart: only refusing is checked.
    for key, text in zip(words[::2], words[1::2], strict=True):
        if key.removeprefix("--") not in ("run_dir", "resume", "config"):
            try:
                yield from leaves(yaml.safe_load(text), key.removeprefix("--"))
            except yaml.YAMLError:
                yield key.removeprefix("--"), text


def holds(final: dict[str, Any], key: str, value: Any) -> bool:
    """Whether a configuration has this value; a class may be named in short."""
    if value is None or value == {}:
        return True  # Says nothing, or is refused by the types.
    if key not in final:
        # A class named later drops what an earlier one was given.
        return False
    found = final[key]
    if isinstance(value, (list, tuple)):
        return isinstance(found, (list, tuple)) and all(map(same, found, value))
    return same(found, value)


def same(found: Any, value: Any) -> bool:
    """Whether two plain values mean the same."""
    if isinstance(value, bool) and found in ("on", "off"):
        return value == (found == "on")  # YAML's words for true and false.
    if isinstance(found, str) or isinstance(value, str):
        text, other = str(found), str(value)
        return text.rsplit(".", 1)[-1] == other.rsplit(".", 1)[-1] or number_of(text) == (
            number_of(other) or math.inf
        )
    if isinstance(found, bool) != isinstance(value, bool):
        return False
    if isinstance(found, float) and math.isnan(found):
        return value != value
    try:
        return bool(found == value or found == float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def number_of(text: str) -> float | None:
    """The number that a text is for YAML, where 0x10 is 16, if it is one."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(int(text, 0))
    except ValueError:
        return None


def change_line(arguments: list[str], rng: random.Random) -> None:
    """Changes a command line in place."""
    at, kind = rng.randrange(len(arguments)), rng.random()
    option, _, value = arguments[at].partition("=")
    if kind < 0.5:
        arguments[at] = f"{option}={rng.choice(ODD)}"
    elif kind < 0.6:
        letter = rng.randrange(len(option) + 1)
        arguments[at] = (
            f"{option[:letter]}{rng.choice(['', 'x', '.', '-'])}{option[letter + 1 :]}={value}"
        )
    elif kind < 0.65:
        arguments[at] = option
    elif kind < 0.72:
        arguments[at : at + 1] = [option, value, value]
    elif kind < 0.8:
        arguments.insert(rng.randrange(len(arguments)), f"{option}={rng.choice(ODD)}")
    elif kind < 0.9:
        inner = rng.choice(["nonsense", "class_path", "init_args", "latent_dim", "lr", "value"])
        arguments.append(f"{option}.{inner}={rng.choice([*ODD, value])}")
    else:
        arguments.insert(at, rng.choice(["--", "-x", "text", "-", "=", "--=", "", "\0"]))


def change_yaml(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A YAML file of options with a change, and the kind of change."""
    kind = rng.choice(
        ["value", "value", "value", "key", "lost", "added", "twice", "text", "bytes"]
    )
    if kind == "bytes":
        return kind, mutated(data, rng)
    if kind == "twice":
        lines = [line for line in data.decode().splitlines() if not line.startswith("#")]
        at = rng.randrange(len(lines))
        return kind, "\n".join([*lines[: at + 1], *lines[at:]]).encode()
    if kind == "text":
        lines = data.decode().splitlines()
        at = rng.randrange(len(lines))
        lines[at] = f"{lines[at].split(':')[0]}: {rng.choice([*ODD, *HOSTILE])}"
        return kind, "\n".join(lines).encode("utf-8", "surrogatepass")
    content = yaml.safe_load(data)
    holder, key = rng.choice(places(content))
    if kind == "lost":
        del holder[key]
    elif kind == "value" or isinstance(holder, list):
        holder[key] = rng.choice(VALUES)
    else:
        word = rng.choice(["nonsense", "class_path", "init_args", "lr", "trust", "resume", "é", 3])
        holder[word] = rng.choice(VALUES) if kind == "added" else holder.pop(key)
    return kind, json.dumps(content).encode()


HOSTILE = [
    "!!python/object/apply:os.system ['touch canary']",
    "!!python/name:os.system",
    "!!binary aGVsbG8=",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!timestamp 2026-13-45",
    "&a [*a]",
    "&a {b: *a}",
    "*nothing",
    "[" * 2000,
    "[" * 60 + "]" * 60,
    "{a: " * 60 + "1" + "}" * 60,
    "|\n  two\n  lines",
    "? [a]\n: b",
    "{<<: {a: 1}}",
    "<<",
    "\t1",
    "12:30:45",
    "0o17",
    "0b11",
    "yes",
]


def strict_yaml(kind: str, data: bytes) -> dict[str, Any] | None:
    """What a YAML file states; None if it must be refused."""
    try:
        content = yaml.safe_load(data.decode())
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    twice = kind == "twice" and re.search(rb"^[^\n-]*:", data)
    if not isinstance(content, dict) or twice and has_key_twice(data):
        return None
    return content


def has_key_twice(data: bytes) -> bool:
    """Whether a key of a mapping is there two times."""

    def walk(node: yaml.Node) -> bool:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            return len(set(keys)) < len(keys) or any(walk(inner) for _, inner in node.value)
        return isinstance(node, yaml.SequenceNode) and any(map(walk, node.value))

    node = yaml.compose(data.decode(), yaml.SafeLoader)
    return node is not None and walk(node)
