from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyro
import pytest
import torch

from pyrovae.conftest import fresh_cache  # noqa: F401
from pyrovae.training.callbacks import RunPage
from tests.support.commands import TINY, run

# The tensors of the tests are small: more threads only wait for each other. Scripts that tests
# start run beside other tests.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# inductor uses distutils, and triton of torch 2.6 setuptools, which warns unless it comes first.
if sys.version_info < (3, 12):
    with suppress(ImportError):
        import setuptools  # noqa: F401
# The first backward pass of a process decides whether forks of it can have another. One within a
# tracer, whose devices count, would forbid it, whatever tests come later.
if not torch.cuda.is_available():
    torch.zeros((), requires_grad=True).backward()  # type: ignore[no-untyped-call]
# Loggers that do not propagate get handlers of pytest, and with one torch describes each tensor it
# traces, at length.
logging.getLogger("torch.__trace").propagate = True
# Some warnings torch gives once a process: they are errors in every test, whichever is first.
torch.set_warn_always(True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips the campaigns, unless they are asked for."""
    if os.environ.get("PYROVAE_CAMPAIGN") == "1" or "campaign" in config.option.markexpr:
        return
    skip = pytest.mark.skip(reason="takes an hour: PYROVAE_CAMPAIGN=1 or -m campaign")
    for item in items:
        if item.get_closest_marker("campaign"):
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Keeps what is imported and collected, which stays to the end, out of garbage collections."""
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded() -> None:
    # Without a GPU the generator of the CPU is the only one, and `torch.manual_seed` is slow.
    if torch.cuda.is_available():
        torch.manual_seed(0)
    torch.default_generator.manual_seed(0)


@pytest.fixture(autouse=True)
def fresh_store() -> Iterator[None]:
    """No test sees the parameters of another in Pyro's global store."""
    with pyro.get_param_store().scope():
        yield


@pytest.fixture
def without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs draw no curves, which follow from their rows alone and take longer than the steps."""
    monkeypatch.setattr(RunPage, "end_epoch", lambda self, epoch: None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images: `celeba/` in Kaggle's layout, and torchvision's `MNIST/`."""
    folder = os.environ.get("PYROVAE_TEST_DATA")
    if not folder:
        pytest.skip("PYROVAE_TEST_DATA names no folder of real images")
    return Path(folder)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    root = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert run("train", [*TINY, f"--run_dir={root}"], patch) == 0
    return root
