from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Restart = Callable[[], None]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Restart:
    """Gives every image, and particles in turn and at once, the same Normal draws.

    The fixture is called to begin again from the first draw.
    """
    noise = torch.randn(64, 1, 8, dtype=torch.float64)
    used = 0

    def draw(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
        nonlocal used
        count = shape[:-2].numel()
        used += count
        found = noise[used - count : used, :, : shape[-1]].expand(-1, shape[-2], -1)
        return found.reshape(shape).to(device, dtype)

    def restart() -> None:
        nonlocal used
        used = 0
        torch.manual_seed(7)

    monkeypatch.setattr(torch.distributions.normal, "_standard_normal", draw)
    restart()
    return restart
