"""Small settings of the benchmark."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from benchmarking.cases import CASES
from benchmarking.loops import LoopKind, Setting

SMALL = {"conv": replace(CASES["conv"], batch_size=4), "mlp": replace(CASES["mlp"], batch_size=8)}


def setting(case: str) -> Setting:
    return Setting(SMALL[case], torch.device("cpu"), "fp32")


def kind(open_loop: Any, *arguments: Any) -> LoopKind:
    """A loop that a process of its own can find: a function of a module, with its arguments."""
    return LoopKind("own", partial(open_loop, *arguments))
