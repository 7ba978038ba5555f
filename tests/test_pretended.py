"""The pretended device itself: it computes as the CPU does, and refuses each kind of fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.pretended import DEVICE, NotNumPy, Pretended, Refused, pretending, strictly


@pytest.fixture(autouse=True)
def pretended() -> Iterator[None]:
    with pretending():
        yield


#: What a GPU refuses of a tensor `(3,)` of its own.
FAULTS: dict[str, Callable[[Tensor], object]] = {
    "a sum of tensors on two devices": lambda x: x + torch.ones(3),
    "a stack with a scalar of the CPU": lambda x: torch.stack([x[0], torch.zeros(())]),
    "a cat with a tensor of the CPU": lambda x: torch.cat([x, torch.zeros(1)]),
    "an index of the CPU": lambda x: x[torch.tensor([0, 2])],
    "a product of matrices": lambda x: torch.eye(3) @ x,
    "a scalar of the CPU in a product": lambda x: torch.zeros(1, 3).squeeze(0).dot(x),
    "a result of the CPU": lambda x: torch.zeros(()).add_(x[0]),
    "a gradient": lambda x: (torch.ones(3, requires_grad=True) * x).sum().backward(),
    "an array": lambda x: x.numpy(),
    "an array by NumPy": lambda x: np.asarray(x),
    "a generator of the CPU": lambda x: x.normal_(generator=torch.Generator()),
    "a factory's generator": lambda x: torch.randn(
        3, device=x.device, generator=torch.Generator()
    ),
}

#: What it only refuses to record.
UNRECORDED: dict[str, Callable[[Tensor], object]] = {
    "a scalar of the CPU": lambda x: x + torch.zeros(()),
    "a number made a tensor": lambda x: torch.tensor(1.0, device=x.device),
    "a number as a tensor": lambda x: torch.as_tensor(1.0, device=x.device),
    "a number made like a tensor": lambda x: x.new_tensor(1.0),
    "a copy to the device": lambda x: torch.zeros(3).to(x.device),
    "a copy into a tensor": lambda x: x.copy_(torch.zeros(3)),
    "a copy to the CPU": lambda x: x.cpu(),
    "a number that is read": lambda x: x.sum().item(),
    "a branch": lambda x: bool((x > 0).all()),
    "a list as an index": lambda x: x[[0, 2]],
    "a mask as an index": lambda x: x[x > 0],
    "a Cholesky factor that is checked": lambda x: torch.linalg.cholesky(torch.diag(x.exp())),
}

#: What can be recorded.
ALLOWED: dict[str, Callable[[Tensor], object]] = {
    "Python's numbers": lambda x: torch.where(x > 0, 2 * x + 1, 0.0).clamp(min=0.5),
    "filling": lambda x: x.fill_(2.0),
    "factories": lambda x: torch.full((), 2.0, device=x.device) + x.new_full((), 3.0) * x,
    "noise": lambda x: x + torch.randn_like(x) + torch.rand(3, device=x.device),
    "a tensor of the device as a tensor": lambda x: torch.as_tensor(x, device=x.device) + x,
    "the CPU by itself": lambda x: torch.ones(3).sum().item(),
    "a Cholesky factor that is not checked": lambda x: (
        torch.linalg.cholesky_ex(torch.diag(x.exp())).L
    ),
}


def three() -> Tensor:
    return torch.tensor([1.0, 2.0, 3.0], device=DEVICE)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_a_gpu_refuses_is_refused(fault: Callable[[Tensor], object]) -> None:
    with pytest.raises(Refused):
        fault(three())


@pytest.mark.parametrize("fault", UNRECORDED.values(), ids=UNRECORDED)
def test_what_cannot_be_recorded_is_refused_within_a_step(
    fault: Callable[[Tensor], object],
) -> None:
    x = three()
    fault(x)
    with strictly(), pytest.raises(Refused):
        fault(x)
    fault(x)


@pytest.mark.parametrize("use", ALLOWED.values(), ids=ALLOWED)
def test_what_can_be_recorded_is_allowed(use: Callable[[Tensor], object]) -> None:
    x = three()
    with strictly():
        use(x)


def test_values_are_those_of_the_cpu() -> None:
    x = three()
    assert x.device == DEVICE and x.tolist() == [1, 2, 3] and float(x.sum()) == 6
    first = x[1:]
    first.mul_(10)  # A view shares its memory.
    assert torch.equal(x.cpu(), torch.tensor([1.0, 20.0, 30.0]))
    assert first.unsqueeze(0).T.contiguous().shape == (2, 1)
    assert x[[0, 2]].tolist() == [1, 30] and x[x > 5].tolist() == [20, 30]
    with pytest.raises(NotNumPy, match="call .cpu"):
        np.asarray(x)
    assert np.asarray(x.cpu()).tolist() == [1, 20, 30]


@pytest.mark.parametrize("options", [{}, {"fused": True}], ids=["plain", "fused"])
def test_a_module_learns_the_same(options: dict[str, bool]) -> None:
    found = []
    for device in (torch.device("cpu"), DEVICE):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 1))
        net.to(device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.1, **options)
        x = torch.randn(5, 2, 4, 4).to(device)
        for _ in range(3):
            loss = net(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        state = net.state_dict().values()
        assert all(isinstance(value, Pretended) == (device == DEVICE) for value in state)
        found.append([loss.item(), *(value.double().sum().item() for value in state)])
    assert found[1] == pytest.approx(found[0], rel=1e-5)
