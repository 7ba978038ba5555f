"""The command line, built from the constructors' signatures: a new part needs no registration."""

from __future__ import annotations

import difflib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from pyro.infer import ELBO
from torch import Tensor

from pyrovae import (
    VAE,
    Decoder,
    Encoder,
    ImageData,
    Likelihood,
    Posterior,
    Prior,
    Schedule,
)
from pyrovae.checkpoint import RunDirectory
from pyrovae.errors import InputError
from pyrovae.interruption import Diverged, Interrupted
from pyrovae.objectives import Beta
from pyrovae.starts import Start
from pyrovae.svi import Engine
from pyrovae.training import Recipe, Trainer

__all__ = [
    "Parser",
    "build_vae",
    "load_run",
    "parse_run",
    "parts_parser",
    "run_command",
    "train_parser",
]

PARTS: dict[str, tuple[type, str]] = {
    "data": (ImageData, "pyrovae.SyntheticFaces"),
    "prior": (Prior, "pyrovae.StandardNormal"),
    "likelihood": (Likelihood, "pyrovae.SharedScaleNormal"),
    "posterior": (Posterior, "pyrovae.DiagonalNormal"),
    "encoder": (Encoder, "pyrovae.ConvEncoder"),
    "decoder": (Decoder, "pyrovae.ConvDecoder"),
}

TRAINING: dict[str, tuple[type, str]] = {
    "schedule": (Schedule, "pyrovae.Constant"),
    "objective": (ELBO, "pyro.infer.Trace_ELBO"),
    "start": (Start, "pyrovae.RandomStart"),
}


class Parser(ArgumentParser):
    """A jsonargparse parser whose complaints are one line, with exit code 2."""

    def __init__(self, **kwargs: Any) -> None:
        # Abbreviations would let a misspelt option pass for another.
        super().__init__(**kwargs, allow_abbrev=False)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints one line that says what is wrong and what is allowed, and exits."""
        sys.stderr.write(f"error: {self.in_one_line(message)}\n")
        raise SystemExit(2)

    def in_one_line(self, message: str) -> str:
        """The part of jsonargparse's message that a user can act on."""
        keys = re.findall(r'Parser key "([^"]+)"', message)
        where = self._in_full(".".join(keys))
        if found := re.search(r"[Uu]nrecognized arguments: (.*)", message):
            return f"unrecognized arguments: {found[1]}{self._suggestion(found[1])} (see --help)"
        if found := re.search(r"(?:Option|Key) '([^']+)' is not (?:accepted|expected)", message):
            return f"{self._in_full(found[1])}: there is no such option (see --help)"
        if found := re.search(r"Expected a dot import path string: (.*)", message):
            return f"{where}: unknown class '{found[1]}'; {self._known(where)}"
        if found := re.search(r"Expected an? (.*)\. Got value: (.*)", message):
            return f"{where}: expected {_readable(found[1])}, got {found[2]}"
        if found := re.search(
            r"Errors:\s*- (.*?)\s*- Expected a <class 'NoneType'>", message, re.S
        ):
            return " ".join(found[1].split())
        return " ".join(message.split())

    def _in_full(self, key: str) -> str:
        """An option as it was given: jsonargparse may know its last part only."""
        for argument in sys.argv[1:]:
            option = argument.split("=")[0]
            if option.startswith("--") and f".{option[2:]}".endswith(f".{key}"):
                return option
        return f"--{key}"

    def _suggestion(self, arguments: str) -> str:
        options = [o for action in self._actions for o in action.option_strings]
        close = difflib.get_close_matches(arguments.split()[0].split("=")[0], options, n=1)
        return f"; did you mean {close[0]}?" if close else ""

    def _known(self, option: str) -> str:
        base = (PARTS | TRAINING).get(option.lstrip("-"), (None,))[0]
        names = sorted(_concrete(base)) if base else []
        listed = f"known are {', '.join(names)}; " if names else ""
        return f"{listed}your own go by dotted path, as my_module.MyClass"


def _readable(expected: str) -> str:
    """A type as jsonargparse prints it, in words."""
    words = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", expected)
    return re.sub(r"(?:typing\.)?Literal\[(.*)\]", r"one of \1", words)


def _concrete(base: type) -> set[str]:
    """Names of a class's subclasses that can be instantiated."""
    found: set[str] = set()
    cls: type
    for cls in base.__subclasses__():
        found |= _concrete(cls)
        if not getattr(cls, "__abstractmethods__", None):
            found.add(cls.__name__)
    return found


def parts_parser(**kwargs: Any) -> Parser:
    """A parser for the data and the parts of a VAE; sizes that follow are linked, never asked."""
    parser = Parser(**kwargs)
    _add_roles(parser, PARTS)
    for network in ("encoder", "decoder"):
        _link(parser, "data", f"{network}.image_shape", lambda data: data.image_shape)
    for part in ("posterior", "decoder"):
        _link(parser, "prior", f"{part}.latent_dim", lambda prior: prior.latent_dim)
    _link(parser, "posterior", "encoder.num_outputs", lambda posterior: posterior.num_params)
    _link(parser, ("data", "likelihood"), "decoder.num_maps", _num_maps)
    return parser


def _add_roles(parser: Parser, roles: dict[str, tuple[type, str]]) -> None:
    for name, (base, default) in roles.items():
        shown = default.rsplit(".", 1)[1]
        parser.add_subclass_arguments(base, name, help=f"{_summary(base)} (default: {shown})")
        parser.set_defaults({name: {"class_path": default}})


def _num_maps(data: ImageData, likelihood: Likelihood) -> int:
    return likelihood.num_maps(data.image_shape[0])


def _link(parser: Parser, source: Any, target: str, compute: Callable[..., Any]) -> None:
    part, argument = target.split(".")
    parser.link_arguments(
        source, f"{part}.init_args.{argument}", compute_fn=compute, apply_on="instantiate"
    )


def _summary(cls: type) -> str:
    return (cls.__doc__ or cls.__name__).strip().splitlines()[0]


def train_parser() -> Parser:
    """The parser of `scripts/train.py`."""
    parser = parts_parser(prog="train.py", description="Trains a VAE with Pyro's SVI.")
    parser.add_argument("--config", action="config", help="a YAML file, as those in configs/")
    parser.add_argument(
        "--optimizer",
        type=Callable[[Iterable[Tensor]], torch.optim.Optimizer],
        default={"class_path": "torch.optim.Adam"},
        help="Any optimiser of torch.optim: Adam, AdamW, Adamax, SGD ... (default: Adam)",
    )
    _add_roles(parser, TRAINING)
    parser.add_class_arguments(Beta, "beta")
    parser.add_class_arguments(Trainer, "trainer")
    parser.add_class_arguments(Engine, "engine")
    parser.add_argument(
        "--run_dir", type=str | None, help="where the run goes (default: runs/...)"
    )
    parser.add_argument("--resume", type=str | None, help="goes on with the run in this directory")
    return parser


def build_vae(objects: Any) -> VAE:
    """The VAE of an instantiated configuration, which knows the data's preprocessing."""
    vae = VAE(**{name: objects[name] for name in PARTS if name != "data"})
    vae.preprocess = lambda image: torch.from_numpy(objects.data.preprocess(image))
    return vae


def read_config(run: RunDirectory) -> dict[str, Any]:
    """The configuration of a run, as plain values.

    Raises:
        InputError: if there is no run, or its configuration cannot be read.
    """
    run.check_run()
    try:
        config = yaml.safe_load(run.config.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{run.config}: is not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict):
        raise InputError(f"{run.config}: holds no configuration")
    return config


def load_run(
    run_dir: str | Path, checkpoint: str = "best", device: str | torch.device = "cpu"
) -> tuple[VAE, ImageData]:
    """The VAE of a run, with its weights and in evaluation mode, and its data set."""
    run = RunDirectory(run_dir)
    config = read_config(run)
    parser = parts_parser(exit_on_error=False)
    _find_own_parts()
    try:
        parsed = parser.parse_object({name: config[name] for name in PARTS if name in config})
        objects = parser.instantiate(parsed)
        vae = build_vae(objects)
        vae.load_state_dict(run.weights(checkpoint))
    except InputError:
        raise
    except Exception as error:  # Whatever a changed file or a missing module of the user's gives.
        reason = parser.in_one_line(str(error))
        raise InputError(f"{run.config}: the parts cannot be built again: {reason}") from error
    return vae.to(device).eval(), objects.data


def _find_own_parts() -> None:
    """Lets dotted paths name modules in the directory where the command runs."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def parse(parser: Parser, arguments: list[str]) -> Namespace:
    """Parses a command line; own parts may come from the current directory."""
    _find_own_parts()
    return parser.parse_args(arguments)


def parse_run(
    parser: Parser, arguments: list[str], default: Path
) -> tuple[Namespace, RunDirectory, bool]:
    """Parses the command line of training.

    Args:
        parser: from `train_parser`.
        arguments: the command line.
        default: the preset that applies where neither `--config` nor `--resume` is given.

    Returns:
        The configuration, the run directory, and whether the run goes on from a checkpoint.

    Raises:
        InputError: if the directory holds a run already, or none to resume, or if resuming
            would change an option.
    """
    _find_own_parts()
    resumed = _value_of("--resume", arguments)
    if resumed is not None:
        return _parse_resumed(parser, arguments, RunDirectory(resumed))
    if _value_of("--config", arguments) is None:
        arguments = ["--config", str(default), *arguments]
    config = parser.parse_args(arguments)
    data = config.data.class_path.split(".")[-1]
    root = config.run_dir or f"runs/{data}_{time.strftime('%Y%m%d-%H%M%S')}"
    run = RunDirectory(root, _text(parser, config))
    run.check_free()
    return config, run, False


def _parse_resumed(
    parser: Parser, arguments: list[str], run: RunDirectory
) -> tuple[Namespace, RunDirectory, bool]:
    read_config(run)
    old = parser.parse_args(["--config", str(run.config)])
    new = parser.parse_args(["--config", str(run.config), *arguments])
    before, after = (_flat(parser, config) for config in (old, new))
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    if refused := sorted(changed - {"trainer.epochs"}):
        raise InputError(
            f"--{refused[0]}: a resumed run keeps its options; only --trainer.epochs may change"
        )
    if new.trainer.epochs < old.trainer.epochs:
        raise InputError(
            f"--trainer.epochs: a resumed run may be lengthened, not cut from "
            f"{old.trainer.epochs} to {new.trainer.epochs}"
        )
    run.config_text = _text(parser, new)
    return new, run, True


def _text(parser: Parser, config: Namespace) -> str:
    """The YAML of a configuration, without where it runs."""
    kept = config.clone()
    for name in ("run_dir", "resume", "config"):
        kept.pop(name, None)
    return parser.dump(kept, skip_unset=False)


def _flat(parser: Parser, config: Namespace) -> dict[str, Any]:
    def walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                name = key if key not in ("class_path", "init_args") else ""
                yield from walk(inner, f"{path}.{name}" if path and name else path or name)
        else:
            yield path, value

    return dict(walk(yaml.safe_load(_text(parser, config)), ""))


def _value_of(option: str, arguments: list[str]) -> str | None:
    """The value of an option on a command line that is not parsed yet."""
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(f"{option}="):
            return argument.split("=", 1)[1]
    return None


def instantiate(parser: Parser, config: Namespace) -> Any:
    """The objects that a configuration names.

    Raises:
        InputError: if a constructor refuses its arguments.
    """
    try:
        return parser.instantiate(config)
    except (ValueError, TypeError) as error:
        raise InputError(parser.in_one_line(str(error))) from error


def recipe(objects: Any) -> Recipe:
    """What an instantiated configuration optimises, and how."""
    names = ("optimizer", "schedule", "objective", "beta", "start")
    return Recipe(**{name: objects[name] for name in names})


def run_command(command: Callable[[list[str]], None]) -> NoReturn:
    """Runs a script's main function; a user's mistake is one line and exit code 2.

    Exit codes: 0 done, 1 the run diverged, 2 wrong input, 130 and 143 stopped by SIGINT and
    SIGTERM (128 plus the signal's number) with everything saved.
    """
    code = 0
    try:
        command(sys.argv[1:])
    except (InputError, OSError) as error:
        code = _complain(" ".join(str(error).split()), 2)
    except Diverged as error:
        code = _complain(str(error), 1)
    except Interrupted as error:
        code = _complain(str(error), 128 + error.signal)
    except KeyboardInterrupt:
        code = _complain("stopped by SIGINT", 128 + signal.SIGINT)
    raise SystemExit(code)


def _complain(text: str, code: int) -> int:
    sys.stderr.write(f"{'error: ' if code < 128 else ''}{text}\n")
    return code
