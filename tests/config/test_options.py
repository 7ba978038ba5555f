"""Several values of one option, as they are typed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyrovae.config.building import instantiate
from pyrovae.config.options import parse_run, parse_training, train_parser
from pyrovae.config.parsing import joined
from pyrovae.data import Colour, Crop, Shift
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Decoder, Encoder
from pyrovae.objectives import PerImageELBO
from pyrovae.posteriors import Posterior
from pyrovae.programs import ModelGuidePair
from pyrovae.utils.errors import InputError
from tests.support.commands import refusal

FOLDER = ["--data", "ImageFolder", "--data.root", "/nowhere"]


def made(*arguments: str, data: list[str] = FOLDER) -> Any:
    parser = train_parser()
    config, run, _ = parse_run(parser, [*data, *arguments], "default")
    assert run.config_text
    return instantiate(parser, config).data


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed",
    [["28x20"], ["28", "20"], ["[28,20]"], ["28 20"], ["(28, 20)"]],
    ids=" ".join,
)
def test_sizes_are_typed_in_any_way(typed: list[str]) -> None:
    assert made("--data.image_size", *typed).image_shape == (3, 28, 20)
    if len(typed) == 1:
        assert made(f"--data.image_size={typed[0]}").image_shape == (3, 28, 20)


class Unfinished(PerImageELBO):
    """An objective without its formula."""


def test_a_class_that_lacks_a_method_is_told_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{__name__}.Unfinished"
    said = refusal("train", ["--objective", name], monkeypatch, capsys)
    assert said == f"error: --objective: {name} is abstract: it must define objective"


@pytest.mark.slow
def test_lists_of_one_and_of_several() -> None:
    assert made("--data.show", "1").show == (1,)
    assert made("--data.show", "2", "0", "--data.limit", "5").show == (2, 0)
    assert [type(own) for own in made("--data.augment", "Shift").augment] == [Shift]
    several = made("--data.augment", "Shift", "Colour", "Crop").augment
    assert [type(own) for own in several] == [Shift, Colour, Crop]
    (one,) = made("--data.augment", "Shift", "--data.augment.pixels", "5").augment
    assert one.pixels == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--data.image_size 28 20 3",
            r"^--data.image_size: image_size \[28, 20, 3\]: allowed is a",
        ),
        ("--data.image_size 28xx", "^--data.image_size: image_size 28xx: allowed is a side, or"),
        ("--data.show 0 9", "^--data.show: show 9: allowed is 0 to 2$"),
        (
            "--data.augment Shift Shaft",
            "^--data.augment: unknown class 'Shaft' .did you mean Shift",
        ),
        ("--data.limit 0", "^--data.limit: limit 0: allowed is a number of images"),
        (
            "--data.augment Shift --data.augment.pixels -1",
            "^--data.augment.pixels: pixels -1: allowed is 0 or more$",
        ),
    ],
)
def test_wrong_lists_are_one_clear_line(arguments: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(*arguments.split())


@pytest.mark.slow
def test_the_argument_that_a_message_names_first_is_to_blame() -> None:
    array = ["--data", "ArrayData", "--data.path", "/nowhere.npy", "--data.image_shape=[1,8,8]"]
    with pytest.raises(InputError, match="^--data.limit: limit 0: allowed is a number of images"):
        made("--data.limit", "0", data=array)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["schedule", "beta.schedule"])
def test_of_two_parts_of_a_class_the_one_with_the_value_is_to_blame(path: str) -> None:
    both = ["--schedule", "Warmup", "--beta.schedule", "Warmup"]
    with pytest.raises(InputError, match=rf"^--{path}.fraction: .* \(0, 1\], got 1.5$"):
        made(*both, f"--{path}.fraction=1.5")


@pytest.mark.parametrize("option", ["limit", "show", "crop"])
def test_a_word_for_a_number_names_its_option(option: str) -> None:
    parser = train_parser()
    parser.exit_on_error = False
    with pytest.raises(InputError, match=f"^--data.{option}: expected int, got many$"):
        parse_run(parser, [*FOLDER, f"--data.{option}", "many"], "default")


def test_a_wrong_value_in_a_mapping_is_named_by_its_path_once() -> None:
    parser = train_parser()
    parser.exit_on_error = False
    with pytest.raises(InputError, match=r"^--trainer.epochs: expected int, got x$"):
        parse_run(parser, ['--trainer={"epochs": "x"}'], "default")


def test_a_word_for_a_number_or_nothing_names_its_option() -> None:
    parser = train_parser()
    parser.exit_on_error = False
    with pytest.raises(InputError, match="^--trainer.ema: expected float, got many$"):
        parse_run(parser, [*FOLDER, "--trainer.ema", "many"], "default")


@pytest.mark.parametrize("typed", ["--program.attributes a", "--program.attributes=a"])
def test_one_name_is_a_list_where_a_part_takes_names(typed: str) -> None:
    found = joined([*"--program ConditionalVAE --data.root x".split(), *typed.split()])
    assert "=".join(found).endswith("--data.root=x=--program.attributes=[a]")


def test_only_options_of_parts_take_several_values() -> None:
    typed = "run --images a b --data X --data.limit 3 --trainer.epochs 1 2 --loggers Console X"
    assert joined(typed.split()) == [
        *"run --images a b --data X --data.limit 3 --trainer.epochs 1 2 --loggers".split(),
        "[Console, X]",
    ]
    assert joined([]) == []


@pytest.mark.slow
def test_a_part_that_the_program_does_not_take_is_refused() -> None:
    with pytest.raises(InputError, match="--encoder: --program LadderVAE takes no encoder"):
        parse_training(train_parser(), ["--program=LadderVAE", "--encoder=ConvEncoder"])
    for program in ("VAE", "LadderVAE"):
        parse_training(train_parser(), [f"--program={program}", "--prior=StandardNormal"])


class WithoutPrior(ModelGuidePair):
    def __init__(
        self, encoder: Encoder, decoder: Decoder, likelihood: Likelihood, posterior: Posterior
    ) -> None:
        raise NotImplementedError


@pytest.mark.slow
def test_a_program_without_a_prior_has_latents_of_the_size_that_is_asked_for() -> None:
    program = f"--program={__name__}.WithoutPrior"
    config = parse_training(train_parser(), [program, "--prior.latent_dim=6"])
    assert config.prior.init_args.latent_dim == 6
    for more in ("--prior=Laplace", "--prior.latent_dim=6 --prior=Laplace"):
        with pytest.raises(InputError, match="--prior: --program WithoutPrior takes no prior"):
            parse_training(train_parser(), [program, *more.split()])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"likelihood": {"class_path": "Normal", "init_args": {"scal": 3}}},
            "--likelihood.scal: no such option",
        ),
        ({"trainer": {"epocs": 3}}, "--trainer.epocs: no such option; did you mean"),
        ({"trainer": {"epochs": "x"}}, "--trainer.epochs: expected int, got x"),
        ({"optimizer": {"class_path": "Adam", "init_args": {"lrr": 3}}}, "--optimizer.lrr:"),
        ({"colour": 3}, "--colour: no such option"),
        ({"prior": "StandardNorml"}, "--prior: unknown class 'StandardNorml'"),
    ],
)
def test_an_error_names_the_file_that_states_the_option(
    content: dict[str, Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (file := tmp_path / "own.yaml").write_text(yaml.safe_dump(content))
    line = ["--config", "default", "--config", str(file)]
    assert refusal("train", line, monkeypatch, capsys).startswith(f"error: {file}: {said}")


def test_an_error_of_a_typed_option_names_no_file(tmp_path: Path) -> None:
    parser = train_parser()
    parser.exit_on_error = False
    (file := tmp_path / "own.yaml").write_text("trainer: {epochs: 3}\n")
    for typed in ("--trainer.epochs=x", "--trainer={epochs: x}"):
        with pytest.raises(InputError, match="^--trainer.epochs: expected int, got x$"):
            parse_run(parser, ["--config", str(file), typed], "default")
    file.write_text("trainer: {epochs: 0}\n")
    config, _, _ = parse_run(parser, ["--config", str(file)], "default")
    with pytest.raises(InputError, match=f"^{re.escape(str(file))}: --trainer.epochs: "):
        instantiate(parser, config)
