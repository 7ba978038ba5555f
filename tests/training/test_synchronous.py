"""Batch normalisation over all processes is that of one process with the whole batch."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pyrovae import Engine, Trainer
from pyrovae.training.callbacks import Console
from pyrovae.training.loggers import CSVLogger
from pyrovae.training.sync_batch_norm import coupled_parts, synchronous, synchronous_norms
from pyrovae.utils.process_group import Group, processes
from tests.support.connected import connected, place_noise, same
from tests.support.small import adam, rows, small_data, small_vae

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pages")]

Numbers = dict[str, np.ndarray]

NORMS: dict[str, nn.Module] = {
    "2d": nn.BatchNorm2d(3),
    "1d": nn.BatchNorm1d(3),
    "sequence": nn.BatchNorm1d(3, momentum=None),
    "3d": nn.BatchNorm3d(3, affine=False),
    "no statistics": nn.BatchNorm2d(3, track_running_stats=False, eps=0.1),
}
SHAPES = {"1d": (), "sequence": (5,), "3d": (2, 3, 4)}


def values(name: str, dtype: torch.dtype) -> Tensor:
    """A batch of seven images, whose mean is large beside its deviation."""
    shape = (7, 3, *SHAPES.get(name, (4, 5)))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (1000 + noise * torch.arange(1, 8).view(7, *[1] * (noise.dim() - 1))).to(dtype)


def normalised(name: str, dtype: torch.dtype, share: list[int]) -> tuple[Numbers, Numbers]:
    """Output and gradients of this process's share of a batch, and what all processes share.

    Gradients of parameters are added up over the processes.
    """
    group, norm = processes(), copy.deepcopy(NORMS[name]).to(dtype)
    cut = slice(sum(share[: group.rank]), sum(share[: group.rank + 1]))
    whole = values(name, dtype)
    x = whole[cut].requires_grad_()
    torch.manual_seed(2)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    with synchronous(norm, group):
        for _ in range(3):
            y = norm(x)
        loss = y * torch.linspace(1, 9, whole.numel(), dtype=dtype).sin().view(whole.shape)[cut]
        loss.sum().backward()
    sums = [p.grad * group.size for p in norm.parameters() if p.grad is not None]
    shared = dict(enumerate(group.average(sums) if sums else [])) | dict(norm.named_buffers())
    own = {"y": y.detach(), "gradient": x.grad}
    return {n: v.numpy() for n, v in own.items() if v is not None}, {
        str(n): v.numpy() for n, v in shared.items()
    }


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_two_processes_normalise_as_one(name: str, dtype: torch.dtype, rtol: float) -> None:
    ((whole, shared),) = connected(1, normalised, name, dtype, [7])
    found = connected(2, normalised, name, dtype, [3, 4])
    joined = {n: np.concatenate([own[n] for own, _ in found]) for n in whole}
    assert same(whole, joined, rtol) and np.abs(whole["gradient"]).max() > 0.01
    for _, others in found:
        assert same(shared, others, rtol)


def mixed() -> Tensor:
    """What a norm under autocast gives of values in bf16, and their gradients."""
    x = values("2d", torch.bfloat16)[processes().rank :: 2].requires_grad_()
    norm = nn.BatchNorm2d(3)
    with synchronous(norm, processes()), torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
        y.float().square().mean().backward()
    assert y.dtype == x.grad.dtype == torch.bfloat16  # type: ignore[union-attr]
    assert all(p.grad.dtype == torch.float32 for p in norm.parameters())  # type: ignore[union-attr]
    return norm.running_mean.numpy()  # type: ignore[return-value, union-attr]


def test_statistics_of_bf16_are_in_fp32() -> None:
    first, second = connected(2, mixed)
    expected = 0.1 * values("2d", torch.bfloat16).double().mean((0, 2, 3)).numpy()
    assert np.array_equal(first, second) and np.allclose(first, expected, rtol=1e-6)


def lost() -> None:
    norm, x = nn.BatchNorm2d(3), values("2d", torch.float32).requires_grad_()
    with synchronous(norm, processes()):
        y = norm(x)
        if processes().rank == 0:
            y.sum().backward()


def test_a_process_that_is_lost_in_the_backward_pass_ends_the_others() -> None:
    expected = ("PeerFailed", "another process failed, and this one cannot continue alone")
    assert connected(2, lost) == [expected, None]


class Centred(nn.BatchNorm2d):
    """A batch norm that does something else."""

    def forward(self, input: Tensor) -> Tensor:
        return input - input.mean((0, 2, 3), keepdim=True)


def test_other_modules_are_left_alone_and_all_are_put_back() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), Centred(3), nn.InstanceNorm2d(3))
    before = [dict(vars(module)) for module in net]
    with synchronous(net, Group(0, 2)):
        assert "forward" in vars(net[0]) and synchronous_norms(net)
        assert [dict(vars(module)) for module in net[1:]] == before[1:]
        assert list(net.state_dict()) == list(nn.Sequential(*net).state_dict())
        about = Group(0, 2).about(8, coupled_parts(net))
        assert about[1:] == ["computed per process, over its own 8 images: Centred"]
    with synchronous(net, Group()):
        assert not synchronous_norms(net)
    assert [dict(vars(module)) for module in net] == before


def test_evaluation_takes_the_running_statistics() -> None:
    norm, x = nn.BatchNorm2d(3).eval(), values("2d", torch.float32)
    with synchronous(norm, Group(0, 2)):
        assert torch.equal(norm(x), copy.deepcopy(norm).train(False)(x))


def of_main() -> tuple[Numbers, list[int]]:
    norm, x = nn.BatchNorm2d(3), values("2d", torch.float32)
    with synchronous(norm, processes()):
        y = processes().from_main(lambda: norm(x).detach())
    return {"y": y.numpy()}, processes().gather(processes().size)


def test_what_the_main_process_computes_alone_waits_for_nobody() -> None:
    y = nn.BatchNorm2d(3)(values("2d", torch.float32)).detach().numpy()
    for found, sizes in connected(2, of_main):
        assert same({"y": y}, found, rtol=2e-4) and sizes == [2, 2]


def trained(
    batch_size: int, sync: bool, root: Path, epochs: int = 2, resume: bool = False
) -> tuple[Numbers, list[str]]:
    """Weights and buffers after a run of convolutions in float64, and the lines it prints."""
    torch.set_default_dtype(torch.float64)
    place_noise()
    lines: list[str] = []
    vae = small_vae(processes().rank)
    trainer = Trainer(epochs, batch_size, sync_batch_norm=sync)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Console, "message", lambda self, text: lines.append(text))
        engine = Engine("cpu", "fp32", "on" if sync and processes().size > 1 else "off")
        trainer.fit(
            vae,
            small_data(),
            adam(1e-3),
            engine,
            run=root,
            resume=resume,
            progress=True,
            loggers=[CSVLogger()],
        )
    assert not synchronous_norms(vae)
    return {name: value.numpy() for name, value in vae.state_dict().items()}, lines


def test_training_is_that_of_one_process_with_the_whole_batch(tmp_path: Path) -> None:
    ((whole, alone),) = connected(1, trained, 16, True, tmp_path / "one")
    (first, lines), (second, _) = connected(2, trained, 8, True, tmp_path / "two")
    assert same(first, second) and same(whole, first, rtol=1e-9)
    reason = (
        "the step is not compiled (--trainer.sync_batch_norm: processes communicate in a step)"
    )
    assert reason in lines and not any("own 8 images" in line for line in lines)
    assert not any("batch norm" in line for line in alone)
    (apart, lines), _ = connected(2, trained, 8, False, tmp_path / "apart")
    assert not same(whole, apart, rtol=1e-3)
    assert "computed per process, over its own 8 images: BatchNorm2d" in lines


def test_a_synchronous_run_goes_on(tmp_path: Path) -> None:
    connected(2, trained, 8, True, tmp_path, 1)
    (first, _), (second, _) = connected(2, trained, 8, True, tmp_path, 2, True)
    assert same(first, second) and all(np.isfinite(value).all() for value in first.values())
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2"]
