"""The command line: bad input, presets, help, and options that win over a preset."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from pyrovae import RunDirectory
from pyrovae.commands.running import run_command
from pyrovae.config.building import build_vae, instantiate
from pyrovae.config.options import parse_run, train_parser
from pyrovae.config.presets import preset_names, preset_path
from tests.support.commands import TINY, folder_of_images, run

pytestmark = pytest.mark.usefixtures("without_pages")


def images_with_a_broken_one(root: Path) -> Path:
    broken = folder_of_images(root) / "7.png"
    broken.write_bytes(broken.read_bytes()[:40])
    return root


def kaggle(root: Path, partition: str, names: tuple[str, ...] = ("1.jpg",)) -> Path:
    images = root / "img_align_celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (178, 218)).save(images / name)
    (root / "list_eval_partition.csv").write_text(partition)
    return root


BAD = {
    "no folder": (["--data=ImageFolder", "--data.root={tmp}/nowhere"], "nowhere"),
    "no images": (["--data=ImageFolder", "--data.root={empty}"], "empty"),
    "broken image": (["--data=ImageFolder", "--data.root={broken}"], "7.png"),
    "no such column": (["--data=CelebA", "--data.root={column}"], "partition"),
    "no such images": (["--data=CelebA", "--data.root={files}"], "2.jpg"),
    "not downloaded": (
        ["--data=TorchvisionImages", "--data.root={tmp}", "--data.name=MNIST"],
        "--data.download true",
    ),
    "too many halvings": (
        ["--encoder.channels=[4,4,4,4,4,4]"],
        "16x16 can be halved",
    ),
    "grey bernoulli": (["--likelihood=Bernoulli"], "DynamicBinarization"),
    "unknown class": (["--prior=Foo"], "unknown class 'Foo'; known are FlowPrior"),
    "unknown likelihood": (["--likelihood=Gaussian"], "SharedScaleNormal"),
    "unknown optimiser": (["--optimizer=Foo"], "Foo"),
    "unknown objective": (["--objective=Foo"], "Trace_ELBO"),
    "unknown module": (["--prior=my_parts.Mine"], "my_parts"),
    "misspelt option": (["--bta=1"], "--bta"),
    "no mapping": (
        ["--program=ConditionalVAE", "--program.num_classes=2"],
        "--program.num_classes: expected a mapping such as '{name: 2}', got 2",
    ),
    "name of another library": (["--program=LVAE"], "'LVAE' (here: --program LadderVAE)"),
    "empty option": ([""], "an argument is empty"),
    "empty value": (["--run_dir="], "--run_dir: the value is empty"),
    "empty value behind an option": (["--data.limit", ""], "--data.limit: the value is empty"),
    "misspelt suboption": (
        ["--prior.latnt_dim=1"],
        "--prior.latnt_dim: no such option; did you mean --prior.latent_dim?",
    ),
    "almost an option of another part": (
        ["--likelihood.scal=1"],
        "--likelihood.scal: no such option; did you mean --likelihood.scale of Normal?",
    ),
    "an option that other parts determine": (
        ["--encoder.image_shap=[3,8,8]"],
        "--encoder.image_shap: no such option (see --help)",
    ),
    "an option of another part": (
        ["--prior.num_components=3"],
        "--prior.num_components: no such option; GaussianMixture, VampPrior have it",
    ),
    "an option of one other program": (["--program.precision_weighted=true"], "LadderVAE has it"),
    "no value": (["--trainer.epochs"], "--trainer.epochs: needs a value\n"),
    "no value of a part": (["--prior.latent_dim"], "--prior.latent_dim: needs a value\n"),
    "half a mapping": (["--prior={{class_path:"], "--prior: '{class_path:' is not a mapping that"),
    "no list": (["--encoder.channels=abc"], "expected a list, such as [1, 2], got abc"),
    "no list, after an option of the same end": (
        ["--data=ImageFolder", "--data.root=x", "--data.channels=1", "--encoder.channels=16,32"],
        "--encoder.channels: expected a list, such as [1, 2], got 16,32",
    ),
    "an option of another data set, after one of the same end": (
        ["--encoder.channels=[4]", "--data.channels=1"],
        "--data.channels: no such option; ImageFolder",
    ),
    "misspelt trainer option": (
        ["--trainer.epoch=1"],
        "--trainer.epoch: no such option; did you mean --trainer.epochs?",
    ),
    "misspelt group": (
        ["--triner.epochs=1"],
        "--triner.epochs: no such option; did you mean --trainer.epochs?",
    ),
    "misspelt optimiser option": (
        ["--optimizer.lrr=1"],
        "--optimizer.lrr: no such option; did you mean --optimizer.lr?",
    ),
    "an option of another optimiser": (["--optimizer.momentum=1"], "RMSprop, SGD have it"),
    "wrong type": (["--trainer.epochs=many"], "--trainer.epochs"),
    "wrong type in a part": (["--prior.latent_dim=x"], "--prior.latent_dim: expected int, got x"),
    "wrong sign": (["--trainer.epochs=-1"], "epochs must be at least 1, got -1"),
    "wrong sign in a part": (["--prior.latent_dim=-3"], "latent_dim must be at least 1, got -3"),
    "wrong sign of a rate": (["--optimizer.lr=-0.1"], "-0.1"),
    "wrong scale": (["--likelihood=Normal", "--likelihood.scale=0"], "scale must be positive"),
    "no shortcut": (["--start.fallback=null", "--encoder.shortcut=false"], "shortcut true"),
    "no start": (
        ["--start.fallback=null", "--likelihood=Categorical"],
        "its scale cannot be set",
    ),
    "unknown flow": (["--prior=FlowPrior", "--prior.flow=Foo"], "known are NeuralSpline, RealNVP"),
    "flow of one dimension": (["--prior=FlowPrior", "--prior.latent_dim=1"], "at least 2, got 1"),
    "no components": (
        ["--prior=GaussianMixture", "--prior.num_components=0"],
        "num_components must be at least 1, got 0",
    ),
    "other spaces": (["--prior=HypersphericalUniform"], "must be on the same space"),
    "dependent dimensions": (
        ["--objective=BetaTC", "--posterior=FullRankNormal"],
        "BetaTC needs a posterior of independent dimensions",
    ),
    "objective without a loss": (
        ["--objective=pyro.infer.TraceTailAdaptive_ELBO"],
        "use DReG or IWAE",
    ),
    "objective that is no bound": (
        ["--objective=Trace_MMD"],
        "not the images with the prior; use MMD",
    ),
    "nothing in a nested part": (
        ["--objective=Denoising", "--objective.bound=IWAE", "--objective.bound.num_particles=0"],
        "error: --objective.bound.num_particles: num_particles must be at least 1, got 0\n",
    ),
    "no target": (["--objective=GECO"], "--objective.target: must be given"),
    "group of options": (["--beta=4"], "--beta: is a group of options; set --beta.schedule, "),
    "schedule without a name": (
        ["--beta.schedule.fraction=0.2"],
        "--beta.schedule: name a class first; known are Constant",
    ),
    "schedule of an objective without a name": (
        ["--objective=Capacity", "--objective.schedule.fraction=0.2"],
        "--objective.schedule: name a class first",
    ),
    "abstract class": (["--objective=PerImageELBO"], "--objective: name a class first"),
    "null objective": (["--objective=null"], "--objective: must name a class, got null"),
    "null schedule": (["--schedule=null"], "--schedule: must name a class, got null"),
    "no particles": (["--objective.num_particles=0"], "num_particles must be at least 1, got 0"),
    "null particles": (
        ["--objective=RenyiELBO", "--objective.num_particles=null"],
        "num_particles must be at least 1, got None",
    ),
    "help of nothing": (["--prior.help=Nope"], "unknown class 'Nope'; known are FlowPrior"),
    "pseudo-inputs in JSON": (
        ['--prior={{"class_path": "VampPrior", "init_args": {{"image_shape": [1, 28, 28]}}}}'],
        "--prior.image_shape: follows from --data",
    ),
    "pseudo-inputs of another size": (
        ["--prior=VampPrior", "--prior.image_shape=[3,8,8]"],
        "--prior.image_shape: follows from --data",
    ),
    "no config": (["--config={tmp}/none.yaml"], "none.yaml"),
    "no gpu": (["--engine.device=cuda:77"], "cuda:77"),
    "size that follows": (["--posterior.latent_dim=9"], "follows from --prior.latent_dim"),
    "size that follows, too": (["--decoder.num_maps", "9"], "follows from --likelihood"),
    "optimiser that needs a closure": (["--optimizer=LBFGS"], "LBFGS"),
    "null part": (
        ["--prior=null"],
        "--prior.latent_dim: --prior is null and has no arguments; leave one of the two out",
    ),
    "seed too large": (["--trainer.seed=99999999999999999999999"], "seed must be"),
    "nothing to resume": (["--resume={empty}"], "holds no run"),
    "no directory to resume": (["--resume={tmp}/nowhere"], "nowhere"),
    "option below a number": (
        ["--trainer.epochs.x=3"],
        "error: --trainer.epochs.x: no such option (see --help)\n",
    ),
    "null list": (["--callbacks=null"], "--callbacks: is a list; --callbacks=[] is an empty one"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing_behind(
    case: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    images_with_a_broken_one(tmp_path / "broken")
    kaggle(tmp_path / "column", "image_id,part\n1.jpg,0\n")
    kaggle(tmp_path / "files", "image_id,partition\n1.jpg,0\n2.jpg,1\n3.jpg,2\n")
    places = {name: tmp_path / name for name in ("empty", "broken", "column", "files")}
    arguments, expected = BAD[case]
    given = [argument.format(tmp=tmp_path, **places) for argument in arguments]
    base = [] if case.startswith(("no", "broken")) and "--data=" in arguments[0] else TINY
    if "resume" in case:
        base = []
    out = tmp_path / "out"
    code = run("train", [*base, *given, f"--run_dir={out}"], monkeypatch)
    captured = capsys.readouterr()
    assert code == 2
    assert expected in captured.err
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    assert not out.exists()


@pytest.mark.slow
def test_a_broken_image_of_the_test_split_stops_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val", "test"):
        folder_of_images(tmp_path / "faces" / split)
    (tmp_path / "faces" / "test" / "7.png").write_bytes(b"no image")
    data = ["--data=ImageFolder", f"--data.root={tmp_path}/faces", f"--run_dir={tmp_path}/run"]
    assert run("train", data, monkeypatch) == 2
    assert "7.png" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_preset_that_sets_a_size_that_follows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"decoder": {"class_path": "ConvDecoder", "init_args": {"latent_dim": 3}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert run("train", [f"--config={tmp_path}/mine.yaml"], monkeypatch) == 2
    assert "--decoder.latent_dim: follows from" in capsys.readouterr().err


@pytest.mark.slow
def test_printed_config_is_what_runs_and_can_be_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", [*TINY, "--beta.value=3", "--print_config"], monkeypatch) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["beta"]["value"] == 3.0
    (tmp_path / "mine.yaml").write_text(printed)
    arguments = [f"--config={tmp_path}/mine.yaml", f"--run_dir={tmp_path}/run"]
    assert run("train", arguments, monkeypatch) == 0
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert stored["beta"]["value"] == 3.0
    assert stored["data"]["init_args"]["image_size"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("preset", preset_names())
def test_presets_are_complete_and_build(preset: str) -> None:
    parser = train_parser()
    config = parser.parse_args(["--config", str(preset_path(preset)), "--engine.device=cpu"])
    objects = instantiate(parser, config)
    vae = build_vae(objects)
    assert vae.sample(1).shape == (1, *objects.data.image_shape)


@pytest.mark.slow
def test_an_option_wins_over_the_preset_wherever_it_stands(tmp_path: Path) -> None:
    for arguments in (
        ["--config=mnist", "--trainer.epochs=3"],
        ["--trainer.epochs=3", "--config=mnist"],
    ):
        config, *_ = parse_run(
            train_parser(), [*arguments, f"--run_dir={tmp_path}/run"], "default"
        )
        assert config.trainer.epochs == 3 and "MNIST" in str(config.data)


def test_a_preset_that_there_is_not_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", ["--config=celebb"], monkeypatch) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: --config celebb: no such preset or file (did you mean celeba?); presets"
    )


def test_the_preset_of_the_post_has_its_objective() -> None:
    config = yaml.safe_load(preset_path("celeba_post").read_text())
    scale = config["likelihood"]["init_args"]["scale"]
    assert scale**2 == pytest.approx(0.00025 * 3 * 64 * 64 / 2)


@pytest.mark.parametrize("name", ["train", "sample", "prepare_data"])
def test_help_lists_the_options(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, ["--help"], monkeypatch) == 0
    shown = capsys.readouterr().out
    wanted: dict[str, list[Any]] = {
        "train": ["--prior", "--likelihood", "--resume", "--trainer.epochs", "StandardNormal"],
        "sample": ["--num", "--reconstruct", "--interpolate", "--traverse"],
        "prepare_data": ["--data", "CelebA"],
    }
    assert all(option in shown for option in wanted[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "option", "expected"),
    [
        (
            ["--data=TorchvisionImages", "--data.name=MNIST", "--data.root=x"],
            "data.image_size",
            None,
        ),
        (["--optimizer=torch.optim.Adamax"], "optimizer.lr", 0.003),
        (["--optimizer=torch.optim.Adamax"], "optimizer.eps", 1e-8),
        (["--optimizer", "Adam", "--optimizer", "Adadelta"], "optimizer.rho", 0.9),
        (["--optimizer=Adadelta"], "optimizer.eps", 1e-6),
        (["--prior=VampPrior"], "prior.latent_dim", 20),
    ],
)
def test_a_class_that_is_named_keeps_what_was_given_and_no_defaults_of_another(
    arguments: list[str], option: str, expected: object, tmp_path: Path
) -> None:
    """Of `default.yaml`, which gives lr and latent_dim, and of the parser's own classes."""
    parser = train_parser()
    default = "default"
    config, _, _ = parse_run(parser, [*arguments, f"--run_dir={tmp_path / 'run'}"], default)
    part, name = option.split(".")
    assert config[part].init_args[name] == expected


def test_a_command_that_is_told_to_end_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as stopped:
            run_command(lambda arguments: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.code == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"


@pytest.mark.slow
def test_the_scores_after_training_are_of_the_best_weights_and_so_is_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    arguments = [*TINY, f"--run_dir={root}", "--trainer.epochs=4", "--optimizer.lr=0.5"]
    arguments += ["--schedule=Cyclical", "--schedule.num_cycles=1"]  # Ever worse.
    assert run("train", arguments, monkeypatch) == 0
    best, last = (RunDirectory(root).weights_of(which)[1] for which in ("best", "last"))
    assert last == 4 and best < 4
    printed = capsys.readouterr().out
    assert f"weights of epoch {best} (the best)" in printed
    assert f"samples: {RunDirectory(root).picture('samples', best)}" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--prior=own_parts.Cauch"],
            "'own_parts.Cauch' cannot be imported: module 'own_parts' has",
        ),
        (["--prior=no_parts.Cauchy"], "No module named 'no_parts' (looked for in this directory"),
        (["--prior=own_parts.Bare"], "the argument latent_dim of own_parts.Bare"),
        (["--prior=own_parts.Breaks"], "--prior: 1 (KeyError in own_parts.py, line 7)"),
        (["--prior=own_parts.Later"], "out of range (IndexError in own_parts.py, line 10)"),
        (["--encoder=own_parts.Wrong"], "(RuntimeError in own_parts.py, line 14)"),
        (["--encoder=own_parts.Plain", "--encoder.channels=[0]"], "positive numbers, got [0]\n"),
        (["--prior=own_imports.A"], "'none_such' (ModuleNotFoundError in own_imports.py, line 1)"),
        (
            ["--optimizer=Adma"],
            "--optimizer: unknown class 'Adma'; known are the classes of torch.optim",
        ),
    ],
)
def test_a_part_that_cannot_be_had_is_named(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = "from pyrovae import StandardNormal\nclass Bare(StandardNormal):\n"
    code += "    def __init__(self, latent_dim):\n        super().__init__(latent_dim)\n"
    code += "class Breaks(StandardNormal):\n    def __init__(self):\n        {}[1]\n"
    code += "class Later(StandardNormal):\n    def forward(self):\n        return [][1]\n"
    code += "from pyrovae import ConvEncoder\nclass Wrong(ConvEncoder):\n"
    code += "    def forward(self, x):\n        return super().forward(x) @ x\n"
    code += "class Plain(ConvEncoder):\n    def __init__(self, *args, **kwargs):\n"
    code += "        super().__init__(*args, **kwargs)\n"
    (tmp_path / "own_parts.py").write_text(code)
    (tmp_path / "own_imports.py").write_text("import none_such\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    assert run("train", arguments, monkeypatch) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.slow
def test_help_says_the_default_once_and_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", ["--help"], monkeypatch) == 0
    shown = " ".join((whole := capsys.readouterr().out).split())
    assert "default: ProbabilisticPCA)" in shown and "default: AdamW)" in shown
    assert "default: RandomStart" not in shown and "class_path'" not in shown
    assert "their Python state changes are not recorded either (default: true)" in shown
    assert "(default: True)" not in shown and shown.count("(default: false)") == 1
    assert "\nTraining with Pyro's SVI:\n" in whole
