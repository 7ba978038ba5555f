from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyrovae.data.division import divide
from pyrovae.data.values import ValueRange, memory_of, quantiles, range_of
from pyrovae.utils.errors import InputError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=10_001).astype(np.float32) * 1e-3,
        RNG.integers(0, 4096, 5000).astype(np.uint16),
        np.array([-1e30, -0.0, 0.0, 1e-38, 5, 1e30], np.float32),
        np.full(100, -7, np.int16),
        np.concatenate([np.full(990, 1.5), [1e9] * 10]).astype(np.float32),
    ],
)
def test_quantiles_are_those_of_sorted_values(values: np.ndarray) -> None:
    shares = [0.0, 0.001, 0.3, 0.5, 0.999, 1.0]
    ordered = np.sort(values.astype(np.float32))
    expected = [float(ordered[round(share * (len(values) - 1))]) for share in shares]
    assert quantiles(lambda: np.array_split(values, 7), shares) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="auto: the training split holds NaN or an infinite"):
        quantiles(lambda: [np.array([0, value])], [0.5])
    with pytest.raises(ValueError, match="allowed are finite values"):
        ValueRange(0, 1).eight_bits(np.array([0, value]))


def test_what_auto_found_is_kept_for_the_same_files(tmp_path: Path) -> None:
    reads: list[int] = []

    def blocks() -> list[np.ndarray]:
        reads.append(1)
        return [np.arange(1001)]

    kept = memory_of(["files"], str(tmp_path))
    assert range_of("auto", "auto", blocks, kept) == ValueRange(1, 999)
    assert range_of(-5.0, "auto", blocks, kept) == ValueRange(-5, 999) and len(reads) == 2
    kept.write_text("damaged")
    assert range_of("auto", "auto", blocks, kept) == ValueRange(1, 999) and len(reads) == 4
    range_of("auto", "auto", blocks, memory_of(["other files"], str(tmp_path)))
    assert len(reads) == 6


def test_a_larger_validation_share_leaves_the_test_split() -> None:
    few, many = (divide(100, {"test": 0.1, "val": val}, 0) for val in (0.1, 0.4))
    assert few["test"].tolist() == many["test"].tolist() and len(many["val"]) == 40


@pytest.mark.parametrize("counts", [(500, 50, 10), (20, 20, 20)])
def test_each_split_has_its_share_of_each_label(counts: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(3), counts)
    parts = divide(len(labels), {"test": 0.2, "val": 0.1}, 3, labels)
    for name, share in (("test", 0.2), ("val", 0.1)):
        found = np.bincount(labels[parts[name]], minlength=3)
        assert np.abs(found - share * np.array(counts)).max() <= 1.5
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
