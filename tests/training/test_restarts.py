"""`torchrun --max-restarts` goes on by itself when a process is lost."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from pyrovae import RunDirectory
from pyrovae.commands.running import run_command
from pyrovae.utils.process_group import _of_this_start, processes
from tests.support.commands import FORKING_TORCHRUN, SCRIPTS, TINY, script
from tests.support.connected import connected
from tests.support.processes import FORKS, Script
from tests.support.small import rows

pytestmark = pytest.mark.slow


def test_processes_find_each_other_where_earlier_ones_have_met() -> None:
    store: Any = dist.HashStore()  # type: ignore[attr-defined]
    store.set_timeout(timedelta(seconds=10))
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):  # The main process comes last, so that the others find what is stale.
            others = [pool.submit(_of_this_start, store, rank, 3) for rank in (1, 2)]
            time.sleep(0.1)
            main = _of_this_start(store, 0, 3)
            parts = [main, *(other.result(timeout=20) for other in others)]
            for number, part in enumerate(parts):
                assert not part.check([f"address of {number}"])
                part.set(f"address of {number}", "here")
            assert all(part.check([f"address of {i}" for i in range(3)]) for part in parts)


def scripted(root: Path, epochs: int, opposite: int | None) -> None:
    """The training script, in a process that may find the opposite of what is in a directory."""
    with pytest.MonkeyPatch.context() as patch:
        if processes().rank == opposite:
            found = RunDirectory.has_checkpoint
            patch.setattr(RunDirectory, "has_checkpoint", lambda run: not found(run))
        options = [f"--run_dir={root}", "--resume=auto", f"--trainer.epochs={epochs}"]
        script("train").main([*TINY, *options])


@pytest.mark.usefixtures("without_pages")
def test_processes_start_or_go_on_together_in_any_number(tmp_path: Path) -> None:
    root = tmp_path / "run"
    assert connected(2, scripted, root, 1, 1) == [None, None]
    assert connected(2, scripted, root, 2, 1) == [None, None]
    assert connected(1, scripted, root, 3, None) == [None]
    assert [row["step"] for row in rows(root)] == ["2", "4", "8"]


def refused(root: Path) -> None:
    processes().from_main(RunDirectory(root).check_run)


def test_a_mistake_that_the_main_process_finds_is_that_of_all(tmp_path: Path) -> None:
    expected = ("InputError", f"{tmp_path}: holds no run (there is no config.yaml in it)")
    assert connected(2, refused, tmp_path) == [expected, expected]


def test_a_command_that_has_ended_handles_no_signals() -> None:
    with pytest.raises(SystemExit):
        run_command(lambda arguments: None)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def child(parent: int, rank: int) -> int:
    """The process of a rank among those that `torchrun`, a child of this process, started."""
    tasks = Path(f"/proc/{parent}/task").glob("*/children")  # A thread may have started it.
    for number in " ".join(task.read_text() for task in tasks).split():
        if Path(f"/proc/{number}/comm").read_text().strip() == f"rank {rank}":
            return int(number)
    raise ProcessLookupError(f"rank {rank}")


@pytest.mark.skipif(not FORKS, reason="reads /proc")
def test_a_job_goes_on_by_itself_when_a_process_is_killed(tmp_path: Path) -> None:
    arguments = ["--standalone", "--max-restarts=2", "--nproc-per-node=2", "--"]
    arguments += [str(SCRIPTS / "train.py"), *TINY, "--trainer.epochs=4", "--run_dir=run"]
    job = Script(FORKING_TORCHRUN, *arguments, "--resume=auto", folder=tmp_path)
    try:
        limit = time.monotonic() + 120
        while not (tmp_path / "run" / "metrics.csv").exists():
            assert job.runs and time.monotonic() < limit, job.end(0).stderr
            time.sleep(0.05)
        os.kill(child(job.pid, 0), signal.SIGKILL)  # The one that writes and has the lock.
        done = job.end(120)
    finally:
        if job.runs:
            job.signal(signal.SIGTERM)  # Its processes too.
            job.end(60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("starts from") == done.stdout.count("continues after step ") == 1
    # None where `torchrun` stops the other process before that one finds its peer gone.
    complaints = done.stderr
    assert complaints.count("error: ") == complaints.count("error: another process failed") <= 1
    assert "Exception ignored" not in complaints
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [str(i + 1) for i in range(4)]
