"""The order of options on a command line: the class of a part counts wherever it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pyrovae.config.options import parse_training, train_parser, without_preset
from pyrovae.config.ordering import ordered
from pyrovae.config.resuming import config_text
from pyrovae.utils.errors import InputError

#: Options that belong together, the classes first.
LINES = [
    "--data=CelebA --data.root=here --data.crop=100",
    "--data=ImageFolder --data.root=here --data.augment=Shift --data.augment.pixels=5",
    "--prior=FlowPrior --prior.flow=NeuralSpline --prior.flow.num_bins=5",
    "--likelihood=Masked --likelihood.likelihood=Normal --likelihood.likelihood.scale=0.3",
    "--likelihood=Bernoulli --likelihood.binarization=ThresholdBinarization",
    "--posterior=InverseAutoregressiveFlow --posterior.num_flows=3",
    "--encoder=MLPEncoder --encoder.hidden=[30,20]",
    "--optimizer=SGD --optimizer.momentum=0.5",
    "--objective=Capacity --objective.schedule=Warmup --objective.schedule.fraction=0.4",
    "--schedule=Warmup --schedule.then=Cosine --schedule.fraction=0.2",
    "--beta.schedule=Warmup --beta.schedule.fraction=0.4",
    "--prior.class_path=VampPrior --prior.init_args.num_components=7",
    "--config=mnist_conv --prior=GaussianMixture --prior.num_components=7",
]


def parsed(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["pyrovae", *arguments])
    parser = train_parser()
    parser.exit_on_error = False
    return config_text(parser, parse_training(parser, arguments))


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_options_mean_the_same_in_any_order(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = line.split()
    expected = parsed(arguments, monkeypatch)
    assert parsed(arguments[::-1], monkeypatch) == expected
    apart = [word for argument in arguments[::-1] for word in argument.split("=", 1)]
    assert parsed(apart, monkeypatch) == expected


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--data.num_train=300 --data=CelebA --data.root=here", "--data.num_train"),
        ("--data=CelebA --data.root=here --data=SyntheticFaces", "--data.root"),
        ("--likelihood.num_components=3 --likelihood=Normal", "--likelihood.num_components"),
        ("--likelihood=Normal --likelihood.scale=3 --likelihood=Laplace", "--likelihood.scale"),
        ("--prior.num_components 3 --prior StandardNormal", "--prior.num_components"),
        ("--prior.flow.num_bins=5 --prior.flow=RealNVP --prior=FlowPrior",)
        + ("--prior.flow.num_bins",),
        ("--prior.flow.num_bins=5 --prior=StandardNormal", "--prior.flow.num_bins"),
        ("--posterior.num_flows=3 --posterior=DiagonalNormal", "--posterior.num_flows"),
        ("--encoder.hidden=[9] --encoder=ConvEncoder", "--encoder.hidden"),
        ("--optimizer=SGD --optimizer.momentum=0.5 --optimizer=Adam", "--optimizer.momentum"),
        ("--objective.schedule.fraction=1 --objective=IWAE", "--objective.schedule.fraction"),
        ("--schedule.fraction=0.2 --schedule=Constant", "--schedule.fraction"),
        ("--config=celeba --likelihood.num_components=2 --likelihood=Normal --data.root=here",)
        + ("--likelihood.num_components",),
        ('--prior={"class_path":"VampPrior","init_args":{"num_components":3}} --prior=Laplace',)
        + ("--prior.num_components",),
        ('--prior={"num_components":3} --prior=Laplace', "--prior.num_components"),
    ],
)
def test_an_option_that_the_last_class_lacks_is_refused(
    line: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError) as refused:
        parsed(line.split(), monkeypatch)
    assert re.fullmatch(
        rf"{named}: no such option(; [\w, ]+ ha(s|ve) it|; did you mean --[\w.]+\?"
        rf"( [\w, ]+ ha(s|ve) {named})?)? \(see --help\)",
        str(refused.value),
    )


@pytest.mark.slow
def test_of_two_classes_the_last_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for last in ("StudentT", "Laplace"):
        once = parsed([f"--likelihood={last}"], monkeypatch)
        for first in ("PixelwiseNormal", "Masked"):
            line = ["--likelihood", first, "--likelihood", last]
            assert parsed(line, monkeypatch) == once


@pytest.mark.slow
@pytest.mark.parametrize("config", [0, 1, 2])
def test_options_of_the_class_of_a_preset_are_dropped_with_it(
    config: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "likelihood: {class_path: DiscretizedLogisticMixture, init_args: {num_components: 3}}\n"
    )
    arguments = ["--likelihood.scale=0.2", "--likelihood=Normal"]
    arguments.insert(config, f"--config={tmp_path / 'mine.yaml'}")
    text = parsed(arguments, monkeypatch)
    assert "Normal" in text and "scale: 0.2" in text and "num_components" not in text


@pytest.mark.parametrize(
    ("content", "typed"),
    [
        ("trainer: {epochs: 7}", "--trainer.epochs=7"),
        (
            "prior: {class_path: VampPrior, init_args: {num_components: 7}}",
            "--prior=VampPrior --prior.num_components=7",
        ),
    ],
)
def test_a_file_behind_a_preset_changes_what_it_states(
    content: str, typed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (mine := tmp_path / "mine.yaml").write_text(content)
    both = parsed(["--config=default", f"--config={mine}"], monkeypatch)
    assert both == parsed(["--config=default", *typed.split()], monkeypatch)
    assert both != parsed([f"--config={mine}"], monkeypatch)  # Alone, it takes its place.


def test_an_argument_stays_behind_the_part_of_a_list_that_it_belongs_to() -> None:
    typed = "--l.a=1 --l+=A --l.a=2 --l.a.b=3 --l+=B --l.a.b=4 --l.a=5 --l=[C] --x=1"
    assert ordered(typed.split()) == (
        "--l=[C] --x=1 --l.a=1 --l+=A --l.a=2 --l.a.b=3 --l+=B --l.a=5 --l.a.b=4".split()
    )
    assert ordered([]) == []
    other = ["RUN", "--images", "a", "--images", "b", "--", "-1"]
    assert ordered(other) == other


@pytest.mark.parametrize("nothing", ["null", "NULL", "~", " null"])
def test_arguments_of_null_are_refused(nothing: str) -> None:
    taken = [f"--prior.flow={nothing}", "--prior=FlowPrior"]
    assert ordered(taken) == taken[::-1]
    message = "--prior.flow.num_layers: --prior.flow is null and has no arguments; leave one"
    with pytest.raises(InputError, match=message):
        ordered([*taken, "--prior.flow.num_layers=2"])


@pytest.mark.parametrize(
    "line", ["runs/v1.2 --images a b.png", "../run --num=2 --noise", "a.b.c --config=x --quick"]
)
def test_positional_arguments_stay_in_front(line: str) -> None:
    assert ordered(line.split()) == line.split()


@pytest.mark.parametrize(
    ("options", "content", "said"),
    [
        (["--config={file}"], "trainer: {epochs: 2}", True),
        (["--config={file}", "--prior=Laplace"], "trainer: {epochs: 2}", True),
        (["--config={file}"], "prior: Laplace", False),
        (["--config=default", "--config={file}"], "trainer: {epochs: 2}", False),
        ([], "", False),
    ],
)
def test_a_file_that_takes_the_place_of_the_preset_says_so(
    options: list[str], content: str, said: bool, tmp_path: Path
) -> None:
    (file := tmp_path / "mine.yaml").write_text(content)
    parser = train_parser()
    parse_training(parser, [option.format(file=file) for option in options])
    lines = without_preset(parser)
    assert len(lines) == said and all(str(file) in line for line in lines)
