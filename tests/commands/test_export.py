"""`pyrovae export`: its files work in a process that has torch alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyrovae import InputError, Trainer, load
from pyrovae.commands import export
from tests.support.commands import TINY, run
from tests.support.small import adam, train

ALONE = """
import sys
{code}
assert not {{"pyro", "pyrovae", "numpy.testing"}} & set(sys.modules)
torch.save([images, q, new, decoder(new)], "found.pt")
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source") / "run"
    train(Trainer(epochs=1, batch_size=16), adam(), root)
    return root


@pytest.mark.slow
def test_the_code_of_the_readme_runs_with_torch_alone(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export.main([str(source), "--out", str(out)])
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "decoder.pt2",
        "encoder.pt2",
    ]
    prepare, code = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert "def prepare(image)" in prepare
    subprocess.run(
        [sys.executable, "-I", "-c", ALONE.format(code=code)], cwd=out, check=True, timeout=300
    )
    images, q, new, p = torch.load(out / "found.pt")
    vae = load(source)
    expected, pixels = vae.encode(images).base_dist, vae.decode(new).base_dist  # type: ignore[attr-defined]
    for name in ("loc", "scale"):
        torch.testing.assert_close(q[name], getattr(expected, name))
        torch.testing.assert_close(p[name], getattr(pixels, name))
    torch.testing.assert_close(p["image"], vae.show(new))


@pytest.mark.slow
def test_a_folder_with_content_is_left_alone(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert run("export", [str(source), f"--out={tmp_path}"], monkeypatch) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: exists already; name a new folder\n"
    assert run("export", [str(source)], monkeypatch) == 2
    assert capsys.readouterr().err == "error: --out: must be given, new folder to write\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_failure_while_writing_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "readme", fails)
    assert run("export", [str(source), f"--out={tmp_path / 'out'}"], monkeypatch) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_part_that_cannot_be_exported_gets_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*TINY, "--posterior=HouseholderFlow", f"--run_dir={tmp_path / 'run'}"]
    assert run("train", options, monkeypatch) == 0
    capsys.readouterr()
    assert run("export", [str(tmp_path / "run"), f"--out={tmp_path / 'out'}"], monkeypatch) == 2
    said, errors = capsys.readouterr()
    assert "decoder.pt2" in said and "encoder.pt2" not in said
    assert errors.startswith("error: encoder: ConvEncoder and HouseholderFlow cannot be exported")
    assert errors.count("\n") == 1
    text = (tmp_path / "out" / "README.md").read_text()
    assert "Not exported: encoder" in text and "encoder.pt2" not in text


@pytest.mark.parametrize("name", ["model.onnx", "decoder.pt2"])
def test_a_file_is_no_folder_to_write(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name}: is the name of a file; allowed is a"):
        export.main([str(tmp_path), "--out", str(tmp_path / name)])
