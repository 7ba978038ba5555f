"""Ctrl-C before training has begun."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import pyrovae
from pyrovae.commands.running import run_command
from pyrovae.utils.signals import Interrupted, signals, take_over_interrupts
from tests.support.commands import SCRIPTS, TINY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="sends signals"),
]


def interrupted_at(module: str, arguments: list[str]) -> tuple[int, str]:
    """Runs a script, sends SIGINT once a module is imported; its exit code and what it said."""
    # A shell in the background ignores SIGINT, and so would its children.
    command = [sys.executable, "-X", "importtime", *arguments]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    with process:
        try:
            said = []
            for line in process.stderr:
                if line.startswith("import time:"):
                    if line.split("|")[-1].strip() == module:
                        process.send_signal(signal.SIGINT)
                else:
                    said.append(line)
            return process.wait(100), "".join(said)
        finally:
            process.kill()


CONSOLE = "from pyrovae.commands.app import main; main()"  # As a console script has it.
WAYS = {
    "numpy": [str(SCRIPTS / "train.py")],
    "torch.functional": ["-m", "pyrovae", "train"],
    "pyro.distributions.torch": ["-c", CONSOLE, "train"],
}


@pytest.mark.skipif(not hasattr(pyrovae, "__getattr__"), reason="import pyrovae imports torch")
@pytest.mark.parametrize("module", WAYS)
def test_ctrl_c_during_the_imports_is_silent(module: str, tmp_path: Path) -> None:
    arguments = [*WAYS[module], *TINY, f"--run_dir={tmp_path / 'run'}"]
    assert interrupted_at(module, arguments) == (130, "")
    assert not (tmp_path / "run").exists()


def test_every_script_guards_its_imports() -> None:
    for path in SCRIPTS.glob("*.py"):
        text = path.read_text()
        if path.stem in ("benchmark", "gallery"):  # They are no commands of the package.
            assert text.index("exit_on_interrupts()") < text.index("\nimport torch")
        elif path.stem != "list_results":  # It reads a table, and is no command either.
            imported = re.findall("^ *(?:from|import) .*", text, re.M)
            assert imported[1:] == ["from pyrovae.commands.app import run"]


def send() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


def test_a_swallowed_interrupt_still_counts(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def swallow(arguments: list[str]) -> None:
        with suppress(KeyboardInterrupt):
            send()

    def train(arguments: list[str]) -> None:
        swallow(arguments)
        with signals() as seen:
            assert seen == [signal.SIGINT]
            raise Interrupted(seen[0], "step 1", None)

    def stop(arguments: list[str]) -> None:
        send()

    def go_on(arguments: list[str]) -> None:
        with signals() as seen:
            assert not seen

    try:
        for command in (swallow, train, stop):
            with pytest.raises(SystemExit) as stopped:
                run_command(command)
            assert stopped.value.code == 130
            assert capsys.readouterr().err.startswith("stopped by SIGINT")
        with pytest.raises(SystemExit) as stopped:
            run_command(go_on)
        assert stopped.value.code == 0
    finally:
        take_over_interrupts()
        signal.signal(signal.SIGINT, before)
