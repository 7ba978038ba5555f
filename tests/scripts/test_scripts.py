"""Each script in a process of its own, as a user runs it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import RunDirectory
from tests.support.commands import SCRIPTS, TINY, execute, folder_of_images
from tests.support.commands import run as run_here
from tests.support.processes import Script, run_script
from tests.support.real import few_faces

pytestmark = pytest.mark.slow

OWN_PARTS = '''
import pyro.distributions as dist
import torch
from pyrovae import Prior
from pyrovae.likelihoods import DensityLikelihood

class WidePrior(Prior):
    """A Normal of any width."""

    def __init__(self, latent_dim: int, width: float = 1.0) -> None:
        super().__init__(latent_dim)
        self.width = width

    def forward(self):
        return dist.Normal(torch.zeros(self.latent_dim), self.width).to_event(1)

class Laplace(DensityLikelihood):
    """A Laplace density."""

    def __init__(self, scale: float = 0.1) -> None:
        super().__init__()
        self.scale = scale

    def num_maps(self, channels):
        return channels

    def forward(self, h):
        return dist.Laplace(h, self.scale).to_event(3)
'''


def start(*arguments: str) -> Script:
    return Script(SCRIPTS / "train.py", *arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scripts") / "run"
    printed = execute("train", *TINY, f"--run_dir={root}").stdout
    for wanted in ("epoch 1/1", "ELBO", "rate", "distortion", "bits/dim", "images/s", "test,"):
        assert wanted in printed
    assert "without latents" in printed
    return root


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("samples", ["--num=10", "--columns=5"], (5 * 66 - 2, 2 * 66 - 2)),
        ("reconstructions", ["--reconstruct", "test", "--num=6"], (6 * 66 - 2, 2 * 66 - 2)),
        ("files", ["--reconstruct", "{image}", "test:3"], (2 * 66 - 2, 2 * 66 - 2)),
        ("interpolation", ["--interpolate", "{image}", "val:0", "--steps=7"], (7 * 66 - 2, 64)),
        ("rows", ["--num=22"], (11 * 66 - 2, 2 * 66 - 2)),
    ],
)
def test_sample_draws(
    name: str, arguments: list[str], size: tuple[int, int], run: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (30, 40), (200, 150, 100)).save(tmp_path / "face.png")
    given = [argument.format(image=tmp_path / "face.png") for argument in arguments]
    execute("sample", str(run), *given, f"--out={tmp_path}/out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == size


@pytest.mark.parametrize("rows", [["0", "3"], ["1", "--image=test:2"]])
def test_traversals_have_labels(rows: list[str], run: Path, tmp_path: Path) -> None:
    execute("sample", str(run), "--traverse", *rows, "--steps=4", f"--out={tmp_path}/out.png")
    dims = sum(word.isdigit() for word in rows)
    with Image.open(tmp_path / "out.png") as picture:
        width, height = picture.size
        top, left = height - (dims * 66 - 2), width - (4 * 66 - 2)
        pixels = np.asarray(picture.convert("L"))
    assert 10 < top < 30 and 15 < left < 50
    for row in range(dims):
        label = pixels[top + 66 * row : top + 66 * row + 64, : left - 3]
        assert (label < 128).sum() > 10
    for step in range(4):
        label = pixels[: top - 1, left + 66 * step : left + 66 * step + 64]
        assert (label < 128).sum() > 5


def test_each_kind_of_picture_has_a_file_of_its_own(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = [[], ["--reconstruct", "test"], ["--interpolate", "test:0", "test:1"]]
    for kind in [*kinds, ["--traverse", "0"]]:
        (name,) = execute("sample", str(run), *kind, "--num=4").stdout.splitlines()
        assert (tmp_path / name).exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        "samples.png",
        "reconstructions.png",
        "interpolation.png",
        "traversals.png",
    }


def test_samples_depend_on_the_seed_alone(run: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        execute("sample", str(run), "--num=4", f"--seed={seed}", f"--out={tmp_path}/{name}.png")
    noisy = f"--out={tmp_path}/d.png"
    execute("sample", str(run), "--num=4", "--seed=1", "--noise", noisy)
    a, b, c, d = ((tmp_path / f"{name}.png").read_bytes() for name in "abcd")
    assert a == b != c and d not in {a, c}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--traverse", "77"], "no latent dimension 77: allowed is 0 to 3"),
        (["--reconstruct", "nowhere.png"], "nowhere.png"),
        (
            ["--interpolate", "test:0", "test:99"],
            "test:99: allowed are the images 0 to 15 of test",
        ),
        (["--num", "0"], "--num"),
        (["--image", "a.png"], "--image: allowed with --traverse only"),
        (["--noise", "--traverse", "0"], "--noise: allowed for samples only"),
        (["--out", "a.jpg"], "must end in .png"),
        (["--reconstruct", "test", "val"], "test: no such file"),
        (["--checkpoint", "worst"], "allowed are best and last, got worst"),
        (["--steps", "1", "--interpolate", "test:0", "test:1"], "steps must be at least 2"),
    ],
)
def test_sample_refuses_bad_input(
    arguments: list[str],
    expected: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: how a process ends that refuses its arguments is tested by others."""
    assert run_here("sample", [str(run), *arguments], monkeypatch) == 2
    told = capsys.readouterr().err
    assert expected in told and told.count("\n") == 1


def test_prepare_data_builds_the_cache_that_training_uses(tmp_path: Path) -> None:
    folder = folder_of_images(tmp_path / "faces")
    data = ["--data=ImageFolder", f"--data.root={folder}", "--data.image_size=16"]
    data += [f"--data.cache_dir={tmp_path}/cache"]
    printed = execute("prepare_data", *data).stdout
    assert "train:" in printed and "3x16x16" in printed
    assert " files, " in printed and "-> 16x16 RGB" in printed
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    assert stamps
    rest = [argument for argument in TINY if not argument.startswith("--data")]
    execute("train", *data, *rest, f"--run_dir={tmp_path}/run")
    assert stamps == {
        path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")
    }


def test_prepare_data_takes_the_data_of_a_preset(tmp_path: Path) -> None:
    folder = folder_of_images(tmp_path / "faces")
    preset = tmp_path / "mine.yaml"
    preset.write_text(
        f"data: {{class_path: ImageFolder, init_args: {{root: {folder}, image_size: 16}}}}\n"
        "trainer: {epochs: 3}\n"
    )
    assert "3x16x16" in execute("prepare_data", f"--config={preset}").stdout
    assert (
        "no such preset or file" in execute("prepare_data", "--config=nothing.yaml", code=2).stderr
    )
    assert "--data" in execute("prepare_data", code=2).stderr


def test_skipping_broken_images_is_counted(tmp_path: Path) -> None:
    folder = folder_of_images(tmp_path / "faces")
    (folder / "7.png").write_bytes(b"no image")
    data = ["--data=ImageFolder", f"--data.root={folder}", "--data.image_size=16"]
    refused = execute("prepare_data", *data, code=2)
    assert "7.png" in refused.stderr
    done = execute("prepare_data", *data, "--data.on_error=skip")
    assert "1" in done.stderr and "7.png" in done.stderr


def test_own_parts_work_by_dotted_path(tmp_path: Path) -> None:
    (tmp_path / "my_parts.py").write_text(OWN_PARTS)
    own = [
        "--prior=my_parts.WidePrior",
        "--prior.latent_dim=4",
        "--prior.width=2.5",
    ]
    own += ["--likelihood=my_parts.Laplace", "--likelihood.scale=0.3"]
    rest = [argument for argument in TINY if "prior" not in argument]
    execute("train", *rest, *own, "--run_dir=run", folder=tmp_path)
    refused = execute("sample", "run", "--num=2", "--out=out.png", folder=tmp_path, code=2)
    assert "my_parts.WidePrior" in refused.stderr and "--trust" in refused.stderr
    execute("sample", "run", "--num=2", "--out=out.png", "--trust", folder=tmp_path)
    check = "import pyrovae; v = pyrovae.load('run', trust=True)\n"
    check += "print(v.model.prior.width, v.likelihood.scale)"
    (tmp_path / "check.py").write_text(check)
    done = run_script(tmp_path / "check.py", folder=tmp_path)
    assert done.stdout.split() == ["2.5", "0.3"]
    (tmp_path / "my_parts.py").unlink()
    (tmp_path / "else").mkdir()
    execute("sample", "../run", "--num=2", "--trust", folder=tmp_path / "else")
    (tmp_path / "run" / "parts" / "my_parts.py").unlink()
    elsewhere = execute("sample", "../run", "--trust", folder=tmp_path / "else", code=2)
    assert "my_parts" in elsewhere.stderr and elsewhere.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_resume(number: int, code: int, tmp_path: Path) -> None:
    long = ["--trainer.epochs=500", "--trainer.patience=null", "--engine.compile=off"]
    process = start(*TINY, *long, f"--run_dir={tmp_path}/run")
    wait_for(tmp_path / "run" / "config.yaml", process)
    process.signal(number)
    done = process.end(120)
    assert done.returncode == code
    assert f"--resume {tmp_path / 'run'}" in done.stderr
    assert "Traceback" not in done.stderr


def wait_for(path: Path, process: Script, lines: int = 0) -> None:
    """Waits for a file, and until it has so many lines."""
    for _ in range(12_000):
        if not process.runs or (path.exists() and path.read_text().count("\n") >= lines):
            break
        time.sleep(0.005)
    assert path.exists(), process.end().stderr


@pytest.mark.usefixtures("without_pages")  # In this process, which trains the whole run.
def test_killed_runs_resume_to_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*TINY, "--trainer.epochs=5", "--trainer.patience=null"]
    assert run_here("train", [*arguments, f"--run_dir={tmp_path}/whole"], monkeypatch) == 0
    chance = random.Random(0)
    process = start(*arguments, f"--run_dir={tmp_path}/cut")
    wait_for(tmp_path / "cut" / "config.yaml", process)
    for epochs in (1, 2):
        wait_for(tmp_path / "cut" / "metrics.csv", process, lines=1 + epochs)
        time.sleep(chance.uniform(0, 0.3))  # Anywhere in an epoch.
        process.signal(signal.SIGKILL)
        assert process.end().returncode == -signal.SIGKILL
        process = start(f"--resume={tmp_path}/cut")
    done = process.end(120)
    assert done.returncode == 0, done.stderr
    whole, cut = (RunDirectory(tmp_path / name).weights("last") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    first, second = ((tmp_path / n / "metrics.csv").read_text() for n in ("whole", "cut"))
    assert first.count("\n") == second.count("\n") == 6
    assert not [path for path in (tmp_path / "cut").rglob("*.tmp")]


def test_help_needs_no_data_and_imports_no_drawing(tmp_path: Path) -> None:
    check = (
        "import runpy, sys\n"
        f"sys.argv = ['train.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(SCRIPTS / 'train.py')!r}, run_name='__main__')\n"
        "except SystemExit as stopped:\n"
        "    assert stopped.code == 0\n"
        "assert 'pyrovae.priors' in sys.modules\n"
        "heavy = {'matplotlib', 'tensorboard', 'torchvision', 'pandas', 'sklearn', 'scipy'}\n"
        "heavy = (heavy | {'sympy', 'pyro.contrib.gp'}) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    fresh = os.environ | {"PYROVAE_CACHE": str(tmp_path)}  # A kept text imports nothing at all.
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, env=fresh)


FULL_DISK = f"""
import resource, runpy, signal, sys
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
runpy.run_path({str(SCRIPTS / "train.py")!r}, run_name="__main__")
"""


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(FULL_DISK)
    root = tmp_path / "run"
    done = run_script(tmp_path / "train.py", *TINY, f"--run_dir={root}")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1 and "File too large" in done.stderr
    assert not (root / "config.yaml").exists()
    assert not list(root.rglob("*.tmp"))


def test_real_faces_train(real_data: Path, tmp_path: Path) -> None:
    root = few_faces(real_data / "celeba", tmp_path / "few")
    data = ["--data=CelebA", f"--data.root={root}", "--data.image_size=16"]
    rest = [argument for argument in TINY if not argument.startswith("--data")]
    rest += ["--trainer.batch_size=100"]
    printed = execute("train", *data, *rest, f"--run_dir={tmp_path}/run").stdout
    assert "test, 330 images" in printed


def test_real_digits_train(real_data: Path, tmp_path: Path) -> None:
    preset = "--config=mnist"
    arguments = [preset, f"--data.root={real_data}", "--trainer.epochs=1"]
    arguments += ["--trainer.batch_size=1000", f"--run_dir={tmp_path}/run"]
    arguments += ["--data.limit=2000", "--data.val_size=1000"]
    arguments += ["--encoder.hidden=[20]", "--decoder.hidden=[20]"]
    printed = execute("train", *arguments).stdout
    assert "test, 10,000 images" in printed
    assert "bits/dim" not in printed
