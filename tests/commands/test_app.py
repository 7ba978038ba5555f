"""The command `pyrovae`, which finds a command by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pyrovae
from pyrovae.commands import app
from pyrovae.commands.running import run_command
from pyrovae.utils.version import __version__

lazy = pytest.mark.skipif(not hasattr(pyrovae, "__getattr__"), reason="pyrovae imports torch")


def answer(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int | str | None, str, str]:
    monkeypatch.setattr(sys, "argv", ["pyrovae", *arguments])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    return stopped.value.code, *capsys.readouterr()


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_overview_lists_every_command(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = answer(arguments, monkeypatch, capsys)
    assert (code, err) == (0, "")
    for name, what in app.COMMANDS.items():
        assert f"  {name:10}{what}\n" in out
    assert max(map(len, out.splitlines())) <= 99


def test_the_version_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(["--version"], monkeypatch, capsys) == (0, f"pyrovae {__version__}\n", "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("trian", "trian: no such command; did you mean train?"),
        ("evalute", "evalute: no such command; did you mean evaluate?"),
        ("--config", "--config: no such command; commands are train, evaluate, inspect"),
        ("gallery", "gallery: no such command; commands are"),
    ],
)
def test_an_unknown_command_is_one_line(
    given: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = answer([given, "--help"], monkeypatch, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and expected in err and err.count("\n") == 1


@pytest.mark.parametrize("name", app.COMMANDS)
def test_each_command_knows_its_name(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = answer([name, "--help"], monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert out.split()[:3] == ["usage:", "pyrovae", name]
    code, out, err = answer([name, "--nonsense=1"], monkeypatch, capsys)
    assert (code, out) == (2, "")
    assert "nonsense" in err and "Traceback" not in err


@pytest.mark.slow
@lazy
def test_a_module_is_the_command_too_and_takes_nothing_from_where_it_runs(tmp_path: Path) -> None:
    for name in ("numpy", "yaml", "tqdm"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')\n")
    command = [sys.executable, "-m", "pyrovae", "parts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "StandardNormal" in done.stdout


@pytest.mark.slow
@lazy
def test_what_needs_no_torch_does_not_import_it() -> None:
    check = "import sys; sys.argv[1:] = ['--help']; from pyrovae.commands.app import main\n"
    check += "try: main()\nexcept SystemExit: pass\n"
    check += "heavy = {'torch', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["parts"], ["--help"], ["train", "--help"]])
def test_a_reader_that_has_seen_enough_is_no_error(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pyrovae", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (141, b"")


def test_another_broken_pipe_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def command(arguments: list[str]) -> None:
        raise BrokenPipeError("the tracker has gone")

    with pytest.raises(SystemExit) as stopped:
        run_command(command, [])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: the tracker has gone\n"
