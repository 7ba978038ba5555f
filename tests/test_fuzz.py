"""Campaigns of damaged input: a quick part always, the whole with `PYROVAE_CAMPAIGN=1`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.processes import run_script

FUZZ = Path(__file__).parent / "fuzz.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks a process for each case"),
]


def check(limit: float, *options: str) -> None:
    found = run_script(FUZZ, *options, limit=limit)
    assert (found.returncode, found.stderr) == (0, ""), found.stdout + found.stderr


def test_some_damaged_inputs_are_read_right_or_refused_in_a_line() -> None:
    check(300, "--quick")


@pytest.mark.campaign
def test_damaged_inputs_are_read_right_or_refused_in_a_line() -> None:
    check(3600)
