"""Runs that are saved, scored and inspected from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyro
import pyro.infer
import pyro.optim
import pytest
import torch

import pyrovae
from pyrovae import VAE, InputError, MLPDecoder, MLPEncoder, SyntheticFaces
from tests.support.commands import run
from tests.support.subjects import shortened

pytestmark = pytest.mark.slow


def by_hand() -> VAE:
    """A VAE after two steps of a loop that is not this package's."""
    data = SyntheticFaces(image_size=16, num_train=64, num_val=16, num_test=16)
    vae = VAE.for_images(data, 4, encoder=MLPEncoder, decoder=MLPDecoder)
    svi = pyro.infer.SVI(
        vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), pyro.infer.Trace_ELBO()
    )
    for _ in range(2):
        svi.step(vae.scored(torch.tensor(data.split("train").images)))
    return vae.eval()


def test_a_saved_vae_opens_in_python_and_in_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = by_hand()
    pyrovae.save(vae, tmp_path / "saved")
    opened = pyrovae.load(tmp_path / "saved")
    assert all(torch.equal(own, vae.state_dict()[n]) for n, own in opened.state_dict().items())
    report = pyrovae.evaluate_run(tmp_path / "saved", ["elbo"], split="val")
    assert report.numbers()["elbo"] == pytest.approx(
        pyrovae.evaluate(vae, vae.data.split("val")).elbo  # type: ignore[union-attr]
    )
    monkeypatch.chdir(tmp_path)
    assert run("sample", ["saved", "--num=2"], monkeypatch) == 0
    assert run("share", ["saved", "--out=shared"], monkeypatch) == 0
    assert " epochs" not in Path("shared/README.md").read_text().split("##")[0]


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    vae = by_hand()
    (full := tmp_path / "full").mkdir()
    (full / "a.txt").touch()
    with pytest.raises(InputError, match="full: exists already; name a new folder"):
        pyrovae.save(vae, full)
    vae.data = None
    with pytest.raises(InputError, match="data: the programs have no data set"):
        pyrovae.save(vae, tmp_path / "new")
    with pytest.raises(TypeError, match="vae must be of the kind ModelGuidePair, got Linear"):
        pyrovae.save(torch.nn.Linear(2, 2), tmp_path / "new")  # type: ignore[arg-type]
    assert [own.name for own in tmp_path.iterdir()] == ["full"]


def test_images_in_memory_are_not_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), np.uint8)
    pyrovae.save(by_hand(), tmp_path / "saved", pyrovae.ArrayData(images))
    assert "config.yaml cannot hold what is in memory (data.images)" in caplog.text
    data = pyrovae.ArrayData(images)
    report = pyrovae.evaluate_run(tmp_path / "saved", ["elbo"], data=data, split="train")
    assert report.num_images == len(data.split("train"))
    with shortened():
        found = pyrovae.inspect_run(tmp_path / "saved", ["collapse"], data=data, split="train")
    assert "as they were saved" in found.html.read_text()
    assert pyrovae.load(tmp_path / "saved").sample(2).shape == (2, 3, 16, 16)


def test_a_run_is_scored_as_by_the_command(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("evaluate", [str(trained), "--sections=elbo", "--num_images=8"], monkeypatch) == 0
    written = (trained / "evaluation.json").read_text()
    report = pyrovae.evaluate_run(trained, ["elbo"], num_images=8, device="cpu")
    assert (trained / "evaluation.json").read_text() == written
    assert repr(report).startswith(f"<Scores of {trained}: ") and len(repr(report)) < 300
    for wrong in (["elb"], "elbo"):
        with pytest.raises((InputError, TypeError), match="sections"):
            pyrovae.evaluate_run(trained, wrong)
    with pytest.raises(TypeError, match="num_imags"):
        pyrovae.evaluate_run(trained, ["elbo"], num_imags=8)


def test_a_run_is_inspected_as_by_the_command(trained: Path, tmp_path: Path) -> None:
    with shortened():
        report = pyrovae.inspect_run(trained, ["collapse"], quick=True, out=tmp_path, seed=3)
    assert report.html == tmp_path / "report_collapse.html" and report.html.is_file()
    assert "seed 3" in report.html.read_text() and str(report.html) in repr(report)
    assert len(report.sections["collapse"].tables)
    with shortened():
        other = pyrovae.inspect_run(trained, ["collapse"], quick=True, split="val")
    assert other.html.parent == trained / "posterior_val"
    with pytest.raises(TypeError, match="images must be of the kind list or tuple, got str"):
        pyrovae.inspect_run(trained, ["collapse"], images="test:0")
    with pytest.raises(TypeError, match="colour"):
        pyrovae.inspect_run(trained, ["collapse"], colour="red")


def test_wrong_arguments_are_named() -> None:
    vae = by_hand()
    assert vae.data is not None
    split = vae.data.split("test")
    with pytest.raises(TypeError, match=r'SyntheticFaces; data.split\("test"\) is a split$'):
        pyrovae.evaluate(vae, vae.data)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r'got str; such as Engine\("cuda"\)$'):
        pyrovae.evaluate(vae, split, "cuda")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"engine must be of the kind Engine, got str; such as"):
        pyrovae.Trainer().fit(vae, vae.data, engine="cuda")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(2, 16, 16, 3\): allowed is \(\*, 3, 16, 16\)$"):
        vae.encode(torch.zeros(2, 16, 16, 3))
    assert vae.encode(split.images[:3]).batch_shape == (3,)  # type: ignore[arg-type]
    assert repr(split) == "<Split: 16 images (3, 16, 16), 15 attributes>"
    assert repr(vae.data).startswith("SyntheticFaces(num_train=64, num_val=16")


def test_features_are_checked_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match="features 'Pixel': no such features"):
        pyrovae.evaluate_run("nowhere", features="Pixel")
    with pytest.raises(InputError, match="features Pixels: needs the section samples"):
        pyrovae.compare_runs(["no", "where"], ["elbo"], features="Pixels")


def test_runs_are_compared_from_python(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("first", "second"):
        pyrovae.save(by_hand(), tmp_path / name)
    both = [tmp_path / "first", tmp_path / "second"]
    table = pyrovae.compare_runs(both, ["elbo"], split="val", out=tmp_path)
    found = table.set_index(["run", "score"])["value"]
    each = [pyrovae.evaluate_run(own, ["elbo"], split="val").each_image for own in both]
    elbos = [-(own["rate"] + own["distortion"]) for own in each]
    difference = float((elbos[1] - elbos[0]).mean())
    assert found["second", "elbo_more_than_first"] == pytest.approx(difference)
    assert (tmp_path / "comparison.png").exists() and not capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    own = ["first", "--compare", "second", "--split=val", "--sections=elbo", "--out=cli"]
    Path("cli").mkdir()
    assert run("evaluate", own, monkeypatch) == 0
    assert Path("cli/comparison.csv").read_text() == Path("comparison.csv").read_text()
    with caplog.at_level("WARNING", "pyrovae"):
        pyrovae.compare_runs(both, ["evidence"], split="val", num_samples=2)
    assert "log p(x) is a loose lower bound" in caplog.text
    with pytest.raises(TypeError, match="compare_runs has no option num_sample .did you mean"):
        pyrovae.compare_runs(both, num_sample=3)
    with pytest.raises(TypeError, match="^runs must be of the kind list or tuple, got str; write"):
        pyrovae.compare_runs("first")
    for same, said in (([], "none"), (both[:1], ".*first only"), ([both[0]] * 2, ".*first only")):
        with pytest.raises(InputError, match=f"needs two or more different runs, got {said}$"):
            pyrovae.compare_runs(same)


def test_opening_and_scoring_a_run_changes_no_generator(tmp_path: Path) -> None:
    pyrovae.save(by_hand(), tmp_path / "saved")
    before = torch.get_rng_state()
    pyrovae.load(tmp_path / "saved")
    pyrovae.evaluate_run(tmp_path / "saved", ["elbo", "latents"], split="val")
    with shortened():
        pyrovae.inspect_run(tmp_path / "saved", ["collapse"], quick=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_export_and_share_write_what_the_commands_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pyrovae.save(by_hand(), source := tmp_path / "saved")
    files = pyrovae.export_run(source, tmp_path / "exported")
    assert [path.name for path in files] == ["encoder.pt2", "decoder.pt2"]
    decoder = torch.export.load(tmp_path / "exported" / "decoder.pt2").module()
    z = torch.randn(2, 4)
    torch.testing.assert_close(decoder(z)["image"], pyrovae.load(source).show(z))
    pyrovae.share_run(source, tmp_path / "shared")
    assert capsys.readouterr().out == ""
    for name in ("exported", "shared"):
        command = "export" if name == "exported" else "share"
        assert run(command, [str(source), f"--out={tmp_path / 'other' / name}"], monkeypatch) == 0
        own, other = (sorted((tmp_path / at).iterdir()) for at in (name, f"other/{name}"))
        assert [path.name for path in own] == [path.name for path in other]
        texts = {(path.parent / "README.md").read_text() for path in (own[0], other[0])}
        assert len(texts) == 1
    with pytest.raises(InputError, match="exists already; name a new folder"):
        pyrovae.share_run(source, tmp_path / "exported")


def test_a_program_that_cannot_be_exported_is_named_and_the_other_one_written(
    tmp_path: Path,
) -> None:
    data = SyntheticFaces(image_size=16, num_train=64, num_val=16, num_test=16)
    posterior = pyrovae.HouseholderFlow
    vae = VAE.for_images(data, 4, encoder=MLPEncoder, decoder=MLPDecoder, posterior=posterior)
    pyrovae.save(vae, tmp_path / "saved")
    with pytest.raises(InputError, match="^encoder: "):
        pyrovae.export_run(tmp_path / "saved", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md",
        "decoder.pt2",
    ]


def test_images_of_five_channels_are_shared_and_exported_with_their_range(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(80, 5, 16, 16)).astype(np.float32)
    data = pyrovae.ArrayData(images, black=-2.5, white=4)
    vae = VAE.for_images(data, 4, encoder=MLPEncoder, decoder=MLPDecoder)
    pyrovae.save(vae, tmp_path / "saved")
    pyrovae.share_run(tmp_path / "saved", tmp_path / "shared")
    assert (tmp_path / "shared" / "samples.png").is_file()
    pyrovae.export_run(tmp_path / "saved", tmp_path / "exported")
    readme = (tmp_path / "exported" / "README.md").read_text()
    assert "black is the value -2.5 of the data, white 4 |" in readme


def test_a_run_of_arrays_in_memory_is_inspected_with_the_options_of_the_command(
    tmp_path: Path,
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 5, 16, 16), dtype=np.uint8)
    data = pyrovae.ArrayData(images, show=[3, 2, 1])
    vae = VAE.for_images(data, 4, encoder=MLPEncoder, decoder=MLPDecoder)
    pyrovae.save(vae, tmp_path / "saved")
    with shortened():
        report = pyrovae.inspect_run(
            tmp_path / "saved",
            ["program"],
            quick=True,
            num_images=7,
            latents=tmp_path / "l.csv",
            data=data,
        )
    assert len((tmp_path / "l.csv").read_text().splitlines()) == 8
    page = Path(report.html).read_text()
    assert "Pictures show the channels 3, 2, 1 of 0 to 4, as red, green and blue." in page
    with pytest.raises(TypeError, match="inspect_run has no option movable; options are against"):
        pyrovae.inspect_run(tmp_path / "saved", movable=True)
    with pytest.raises(InputError, match="csv"):
        pyrovae.inspect_run(tmp_path / "saved", latents=tmp_path / "l.txt")
