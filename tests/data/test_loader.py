from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrovae.data import Batches, Split, gather, to_device
from pyrovae.data.loader import ahead
from tests.support.resident import most_resident


def numbered(count: int) -> np.ndarray:
    """Images that tell their number and whether they were mirrored."""
    images = np.zeros((count, 1, 2, 4), np.uint8)
    images[:, 0, 0, :] = np.arange(count)[:, None]
    images[:, 0, 1, 0] = 1
    return images


def test_an_epoch_is_a_permutation() -> None:
    batches = Batches(numbered(60), 7, seed=3)
    seen = torch.cat(list(batches.epoch(0)))[:, 0, 0, 0].tolist()
    assert len(batches) == 8 and len(seen) == len(set(seen)) == 56
    assert seen != sorted(seen)
    assert seen != torch.cat(list(batches.epoch(1)))[:, 0, 0, 0].tolist()
    other = Batches(numbered(60), 7, seed=4)
    assert seen != torch.cat(list(other.epoch(0)))[:, 0, 0, 0].tolist()


def test_without_shuffling_every_image_comes_in_order() -> None:
    batches = Batches(numbered(60), 7, seed=3, shuffle=False)
    seen = torch.cat(list(batches.epoch(5)))
    assert len(batches) == 9 and seen[:, 0, 0, 0].tolist() == list(range(60))
    assert seen.dtype == torch.uint8


def test_fewer_images_than_a_batch() -> None:
    batches = Batches(numbered(5), 7, seed=0)
    assert len(batches) == 1 and [len(batch) for batch in batches.epoch(0)] == [5]


@pytest.mark.parametrize("start", [0, 1, 5, 8, 9])
@pytest.mark.parametrize("shuffle", [True, False])
def test_resumed_epoch_continues_identically(start: int, shuffle: bool) -> None:
    whole = list(Batches(numbered(60), 7, seed=3, flip=True, shuffle=shuffle).epoch(2))
    again = Batches(numbered(60), 7, seed=3, flip=True, shuffle=shuffle)
    rest = list(again.epoch(2, start))
    assert len(rest) == max(0, len(whole) - start)
    for expected, batch in zip(whole[start:], rest, strict=True):
        assert torch.equal(expected, batch)


def test_flips_are_a_fair_coin_for_each_image() -> None:
    batches = Batches(np.tile(numbered(1), (4000, 1, 1, 1)), 100, seed=0, flip=True)
    mirrored = [batch[:, 0, 1, 3].float().mean().item() for batch in batches.epoch(0)]
    assert abs(np.mean(mirrored) - 0.5) < 0.03
    assert len(set(mirrored)) > 5  # not whole batches at once


def test_global_random_state_is_left_alone() -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = [batch.clone() for batch in Batches(numbered(20), 4, seed=1, flip=True).epoch(0)]
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])
    torch.manual_seed(99)
    for batch, again in zip(
        first, Batches(numbered(20), 4, seed=1, flip=True).epoch(0), strict=True
    ):
        assert torch.equal(batch, again)


def test_arrays_tensors_and_splits_give_the_same() -> None:
    images = numbered(20)
    split = Split(images, [str(i) for i in range(20)], np.empty((20, 0), np.float32))
    kinds = (images, torch.from_numpy(images), to_device(images, "cpu"), split)
    results = [torch.cat(list(Batches(k, 3, seed=5, flip=True).epoch(0))) for k in kinds]
    assert all(torch.equal(results[0], result) for result in results)


def test_batches_are_copies(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", numbered(20))
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    for batch in Batches(images, 5, seed=0, shuffle=False).epoch(0):
        batch.zero_()
    np.testing.assert_array_equal(images, numbered(20))


@pytest.mark.parametrize(("size", "count"), [(0, 5), (-1, 5), (3, 0)])
def test_impossible_sizes(size: int, count: int) -> None:
    with pytest.raises(ValueError, match="allowed is 1 or more"):
        Batches(numbered(count), size, seed=0)


def test_gather_equals_indexing(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", numbered(50))
    for mode in ("r", "r+", "c"):
        images = np.load(tmp_path / "images.npy", mmap_mode=mode)
        rows = np.array([7, 7, 0, 49, -1])
        np.testing.assert_array_equal(gather(images, rows), numbered(50)[rows])
        np.testing.assert_array_equal(gather(images[10:], rows[:3]), numbered(50)[10:][rows[:3]])
        assert type(gather(images, rows)) is np.ndarray


def test_gather_keeps_changes_in_a_private_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.data.rows.RESIDENT_BYTES", 1)
    np.save(tmp_path / "images.npy", numbered(50))
    images = np.load(tmp_path / "images.npy", mmap_mode="c")
    images[3] = 200
    gather(images, np.arange(10))
    assert (images[3] == 200).all()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_gather_bounds_resident_memory(tmp_path: Path) -> None:
    """A gigabyte passes through; without dropping pages all of it would be resident."""
    before = """
from pyrovae.data import gather
images = np.load(path, mmap_mode="r")
order = np.random.default_rng(0).permutation(len(images))
"""
    loop = """
for start in range(0, len(order), 128):
    gather(images, order[start:start + 128])
"""
    assert most_resident(tmp_path / "images.npy", (85_000, 3, 64, 64), before, loop) < 400


@pytest.mark.slow
def test_importing_the_package_is_light() -> None:
    program = """
import sys
import torch, pyro
before = set(sys.modules)
import pyrovae.data
heavy = {"pandas", "torchvision", "matplotlib", "tqdm", "PIL"}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_thread_reads_ahead_in_order_and_stops_with_its_reader() -> None:
    read: list[int] = []

    def work(item: int) -> int:
        read.append(item)
        return 10 * item

    results = ahead(work, range(100))
    assert [next(results) for _ in range(3)] == [0, 10, 20]
    results.close()
    assert read == list(range(len(read))) and 3 <= len(read) <= 6


def test_what_a_thread_meets_reaches_the_reader() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda item: 1 / item, [1, 0]))
