"""Random draws that restore torch's generators afterwards."""

from __future__ import annotations

import pytest
import torch

from pyrovae.utils.randomness import private_randomness


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_a_private_seed_is_that_of_torch(seed: int) -> None:
    torch.manual_seed(seed)
    expected = torch.rand(3)
    with private_randomness(seed, torch.device("cpu")):
        assert torch.equal(torch.rand(3), expected)


def test_other_devices_keep_their_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start of CUDA after the block must not get the private seed."""
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    with private_randomness(5, torch.device("cpu")):
        pass
    assert seeds == []
