from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyro
import pytest
import torch

# The tensors of the tests are small: more threads only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def fresh_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYROVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def fresh_store() -> Iterator[None]:
    """No test sees the parameters of another in Pyro's global store."""
    with pyro.get_param_store().scope():
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images: `celeba/` in Kaggle's layout, and torchvision's `MNIST/`."""
    folder = os.environ.get("PYROVAE_TEST_DATA")
    if not folder:
        pytest.skip("PYROVAE_TEST_DATA names no folder of real images")
    return Path(folder)
