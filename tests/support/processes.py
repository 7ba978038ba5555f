"""Scripts in processes of their own, which do not wait for imports.

Each is forked from a process that has imported what all scripts need and done nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

FORKS = sys.platform == "linux"  # Elsewhere forks of a process that has imported torch may fail.
LIMIT = 300  # seconds


def run_script(
    script: Path, *arguments: str, folder: Path | None = None, limit: float = LIMIT
) -> subprocess.CompletedProcess[str]:
    """Runs a script to its end, as `subprocess.run` would."""
    if not FORKS:
        command = [sys.executable, str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=limit)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pyrovae.config.options", "pyrovae.utils.grids", "tqdm"])
    with tempfile.TemporaryDirectory() as place:
        texts = [Path(place) / name for name in ("stdout", "stderr")]
        given = (str(script), arguments, folder or Path.cwd(), texts, dict(os.environ))
        process = context.Process(target=_run, args=given)
        process.start()
        process.join(limit)
        if process.is_alive():
            process.kill()
            process.join()
            raise TimeoutError(f"{script.name} {' '.join(arguments)}")
        code = process.exitcode
        process.close()
        assert code is not None
        return subprocess.CompletedProcess([script], code, *(text.read_text() for text in texts))


def _run(
    script: str,
    arguments: tuple[str, ...],
    folder: Path,
    texts: list[Path],
    environment: dict[str, str],
) -> None:
    """What the new process does."""
    os.environ.update(environment)
    os.chdir(folder)
    for number, text in enumerate(texts, start=1):
        os.dup2(os.open(text, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
