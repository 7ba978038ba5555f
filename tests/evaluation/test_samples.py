from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from PIL import Image
from torch import Tensor

from pyrovae import Engine, InputError, Masked, SyntheticFaces
from pyrovae.evaluation import (
    Estimate,
    Pixels,
    RandomConvolutions,
    coverage,
    density,
    features_of,
    frechet_distance,
    mmd,
    sample_quality,
)
from tests.support.programs import conditional
from tests.support.small import small_data, small_vae
from tests.support.tables import FALSE_ALARM, Z_LIMIT, changed, snapshot

CPU = Engine("cpu", "fp32")
Measure = Callable[..., Estimate]
MEASURES: list[Measure] = [mmd, density, coverage, frechet_distance]
every_measure = pytest.mark.parametrize("measure", MEASURES)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def mmd_in_loops(x: np.ndarray, y: np.ndarray) -> float:
    xx = np.mean([kernel(*pair) for pair in itertools.permutations(x, 2)])
    yy = np.mean([kernel(*pair) for pair in itertools.permutations(y, 2)])
    xy = np.mean([kernel(*pair) for pair in itertools.product(x, y)])
    return float(xx + yy - 2 * xy)


def inside_in_loops(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """Whether each sample lies in the neighbourhood of each real feature, `(N, M)`."""
    found = np.zeros((len(x), len(y)), bool)
    for i, centre in enumerate(x):
        others = sorted(math.dist(centre, other) for j, other in enumerate(x) if j != i)
        for j, sample in enumerate(y):
            found[i, j] = math.dist(centre, sample) <= others[k - 1]
    return found


def density_in_loops(x: np.ndarray, y: np.ndarray, k: int = 5) -> float:
    return inside_in_loops(x, y, k).sum() / (k * len(y))


def coverage_in_loops(x: np.ndarray, y: np.ndarray, k: int = 5) -> float:
    return inside_in_loops(x, y, k).any(1).mean()


IN_LOOPS = {mmd: mmd_in_loops, density: density_in_loops, coverage: coverage_in_loops}
every_mean = pytest.mark.parametrize("measure", IN_LOOPS, ids=lambda f: f.__name__)


@every_mean
@pytest.mark.parametrize("chunk", [4, 512])
@pytest.mark.parametrize(("n", "m"), [(12, 9), (9, 14)])
def test_values_and_errors_are_those_of_naive_loops(
    measure: Measure, n: int, m: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrovae.evaluation.pairs._CHUNK", chunk)
    x, y, oracle = normal(n, 3), 0.8 * normal(m, 3, seed=1) + 0.3, IN_LOOPS[measure]
    less_x = [oracle(np.delete(x, i, 0), y) for i in range(n)]
    less_y = [oracle(x, np.delete(y, j, 0)) for j in range(m)]
    variance = (n - 1) * np.var(less_x) + (m - 1) * np.var(less_y)
    found = measure(x, y)
    assert found.value == pytest.approx(oracle(x, y), rel=1e-10)
    assert found.error == pytest.approx(math.sqrt(variance), rel=1e-8)


@pytest.mark.parametrize("k", [1, 2, 7])
@pytest.mark.parametrize(("measure", "oracle"), list(IN_LOOPS.items())[1:])
def test_other_numbers_of_neighbours(measure: Measure, oracle: Measure, k: int) -> None:
    x, y = normal(15, 2), normal(11, 2, seed=1)
    assert measure(x, y, k=k).value == pytest.approx(oracle(x, y, k))


@pytest.mark.parametrize(("measure", "oracle"), list(IN_LOOPS.items())[1:])
def test_ties_and_copies_are_inside(measure: Measure, oracle: Measure) -> None:
    """On a grid most distances are equal; far from 0 their differences round."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (30, 2)).astype(float), rng.integers(0, 4, (20, 2)).astype(float)
    assert measure(x + 1e3, y + 1e3).value == pytest.approx(oracle(x, y))
    same = np.full((8, 3), 0.1)
    assert coverage(same, same).value == 1


@every_measure
def test_order_makes_no_difference(measure: Measure) -> None:
    x, y = normal(40, 4), normal(30, 4, seed=1) + 0.5
    found, again = measure(x, y), measure(x[::-1], np.roll(y, 7, axis=0))
    assert again.value == pytest.approx(found.value, rel=1e-9)
    assert again.error == (found.error and pytest.approx(found.error, rel=1e-7))


@pytest.mark.parametrize("measure", [density, coverage, frechet_distance])
def test_where_features_lie_makes_no_difference(measure: Measure) -> None:
    x, y = normal(40, 4), normal(30, 4, seed=1) + 0.5
    rotation = np.linalg.qr(normal(4, 4, seed=2))[0]
    moved = [z @ rotation + 100 for z in (x, y)]
    assert measure(*moved).value == pytest.approx(measure(x, y).value, rel=1e-8)


@pytest.mark.parametrize("measure", [mmd, frechet_distance])
def test_distances_are_symmetric(measure: Measure) -> None:
    x, y = normal(40, 4), normal(30, 4, seed=1) + 0.5
    assert measure(x, y).value == pytest.approx(measure(y, x).value, rel=1e-9)


def draws(measure: Measure, repeats: int, shift: float = 0.0) -> list[Estimate]:
    rng = np.random.default_rng(3)
    n, m, width = 60, 40, 10
    pairs = (
        (rng.standard_normal((n, width)), rng.standard_normal((m, width))) for _ in range(repeats)
    )
    return [measure(x, y + shift) for x, y in pairs]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (mmd, 0.0),
        (density, 1.0),
        (coverage, 1 - math.prod((60 - i) / (100 - i) for i in range(1, 6))),
    ],
)
def test_means_for_equal_distributions_are_known(measure: Measure, expected: float) -> None:
    values = [found.value for found in draws(measure, 800)]
    assert scipy.stats.ttest_1samp(values, expected).pvalue > FALSE_ALARM


@pytest.mark.slow
def test_the_mean_of_mmd_is_the_closed_form_for_normals() -> None:
    """E k of independent x and y, from the moments of their product."""
    width, shift = 10, 0.5

    def mean_kernel(first: float, second: float) -> float:
        """Of Normals of unit covariance around these numbers, times a vector of ones."""
        a, b = first, second
        mean = width * a * b
        variance = width * ((a * a + 1) * (b * b + 1) - (a * b) ** 2)
        third = width * (
            (a**3 + 3 * a) * (b**3 + 3 * b)
            - 3 * a * b * (a * a + 1) * (b * b + 1)
            + 2 * (a * b) ** 3
        )
        centre = mean / width + 1
        return centre**3 + 3 * centre * variance / width**2 + third / width**3

    exact = mean_kernel(0, 0) + mean_kernel(shift, shift) - 2 * mean_kernel(0, shift)
    values = [found.value for found in draws(mmd, 800, shift)]
    assert scipy.stats.ttest_1samp(values, exact).pvalue > FALSE_ALARM


@every_mean
@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_errors_cover_the_spread_of_repeats(measure: Measure, shift: float) -> None:
    found = draws(measure, 300, shift)
    spread = np.std([estimate.value for estimate in found])
    stated = np.sqrt(np.mean([(estimate.error or 0) ** 2 for estimate in found]))
    assert 0.9 < stated / spread < 2.5


def with_moments(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """Features whose mean and covariance are exactly these."""
    drawn = normal(count, len(mean), seed=seed)
    drawn -= drawn.mean(0)
    white = drawn @ np.linalg.inv(scipy.linalg.sqrtm(np.cov(drawn.T)).real)
    return white @ scipy.linalg.sqrtm(covariance).real + mean


def test_the_frechet_distance_is_that_of_the_moments() -> None:
    a, b = normal(2, 6, 6)
    first, second = a @ a.T + np.eye(6), b @ b.T
    mean_x, mean_y = normal(2, 6, seed=5)
    x, y = with_moments(50, mean_x, first, 1), with_moments(70, mean_y, second, 2)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = ((mean_x - mean_y) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet_distance(x, y).value == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(x, y).error is None


def test_the_frechet_distance_of_diagonal_covariances_is_that_of_the_scales() -> None:
    scales = np.array([[1.0, 2.0, 0.0], [3.0, 0.5, 1.0]])
    base = with_moments(30, np.zeros(3), np.eye(3), 0)
    found = frechet_distance(base * scales[0], base * scales[1] + 2)
    assert found.value == pytest.approx(12 + ((scales[0] - scales[1]) ** 2).sum())


@pytest.mark.parametrize("count", [2, 10, 39, 40, 41, 200])
def test_the_frechet_distance_of_equal_features_is_zero(count: int) -> None:
    """Also of fewer images than features, whose covariance has no inverse."""
    x = 10 * normal(count, 40)
    assert 0 <= frechet_distance(x, x[::-1]).value < 1e-9
    shifted = frechet_distance(x, x + 1).value
    assert shifted == pytest.approx(40, rel=1e-9)


@pytest.mark.parametrize(
    ("measure", "real", "samples"),
    [(mmd, 3, 3), (density, 7, 2), (coverage, 7, 2), (frechet_distance, 2, 2)],
)
def test_too_few_images_are_one_clear_line(measure: Measure, real: int, samples: int) -> None:
    x, y = normal(real, 2), normal(samples, 2, seed=1)
    found = measure(x, y)
    assert math.isfinite(found.value) and (found.error is None or math.isfinite(found.error))
    with pytest.raises(InputError, match=f"^{real - 1} real images: this needs at least {real}$"):
        measure(x[1:], y)
    with pytest.raises(
        InputError, match=f"^{samples - 1} samples: this needs at least {samples}$"
    ):
        measure(x, y[1:])


@every_measure
@pytest.mark.parametrize("shapes", [((9, 2), (9, 3)), ((9,), (9,)), ((9, 0), (9, 0))])
def test_features_of_other_spaces_are_one_clear_line(
    measure: Measure, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    with pytest.raises(
        InputError, match=r"^features of shapes .*: must be \(N, F\) and \(M, F\)$"
    ):
        measure(normal(*shapes[0]), normal(*shapes[1]))


@every_measure
def test_features_that_are_no_numbers_are_one_clear_line(measure: Measure) -> None:
    x = normal(9, 2)
    with pytest.raises(InputError, match="^features of the samples: some are not finite numbers$"):
        measure(x, np.where(x == x[3, 1], np.nan, x))


@pytest.mark.parametrize("measure", [density, coverage])
def test_neighbours_are_counted_from_one(measure: Measure) -> None:
    with pytest.raises(InputError, match="^k must be at least 1, got 0$"):
        measure(normal(9, 2), normal(9, 2), k=0)


@pytest.mark.slow
@pytest.mark.parametrize("features", [Pixels(), RandomConvolutions()])
def test_faces_are_like_other_faces_and_noise_is_not(features: Callable[..., Tensor]) -> None:
    faces = SyntheticFaces(num_train=300, num_val=1, num_test=300, image_size=32)
    train, test = (np.array(faces.split(name).images) for name in ("train", "test"))
    noise = np.random.default_rng(0).integers(0, 256, test.shape, dtype=np.uint8)
    real, alike, other = (features_of(features, images) for images in (train, test, noise))
    found = {measure: (measure(real, alike), measure(real, other)) for measure in MEASURES}
    assert found[coverage][0].value > 0.9 and found[coverage][1].value == 0
    assert 0.7 < found[density][0].value < 1.4 and found[density][1].value == 0
    close, far = found[mmd]
    assert abs(close.value) < Z_LIMIT * (close.error or 0)
    assert far.value > Z_LIMIT * (far.error or math.inf)
    assert 0 < found[frechet_distance][0].value < found[frechet_distance][1].value / 10


@pytest.mark.slow
def test_sample_quality_compares_samples_with_images() -> None:
    vae, split = small_vae().train(), small_data(num_test=150).split("test")
    before, random = snapshot(vae), torch.get_rng_state()
    found = sample_quality(vae, split, Pixels(), CPU, 120, seed=3)
    assert torch.equal(torch.get_rng_state(), random)
    assert not changed(snapshot(vae), before) and vae.training
    assert found == sample_quality(vae, split.images, Pixels(), CPU, 120, seed=3)
    assert found != sample_quality(vae, split.images, Pixels(), CPU, 120, seed=4)
    assert list(found) == ["mmd", "density", "coverage", "frechet", "num_features"]
    seen: list[Tensor] = []

    def features(images: Tensor) -> Tensor:
        seen.append(images)
        return images.flatten(1)

    again = sample_quality(vae, split, features, CPU, 120, seed=3)
    assert [len(batch) for batch in seen] == [100, 50, 100, 20]
    real, samples = torch.cat(seen[:2]).flatten(1).numpy(), torch.cat(seen[2:]).flatten(1).numpy()
    assert np.allclose(real, split.images.reshape(150, -1) / 255)
    assert 0 <= samples.min() and samples.max() <= 1
    expected = {f.__name__.split("_")[0]: f(real, samples) for f in MEASURES}
    assert again == expected | {"num_features": Estimate(768.0)}


def test_programs_that_need_attributes_get_those_of_real_images() -> None:
    programs, split = conditional(), small_data().split("test")
    given: list[Tensor] = []
    sample = programs.sample

    def watched(num_images: int, attributes: Tensor) -> Tensor:
        assert len(attributes) == num_images
        given.append(attributes)
        return sample(num_images, attributes)

    programs.sample = watched  # type: ignore[method-assign, assignment]
    sample_quality(programs, split, Pixels(), CPU, 45)
    columns = [list(split.attribute_names).index(name) for name in programs.attributes]
    real = [tuple(row) for row in split.attributes[:, columns].tolist()]
    rows = [tuple(row) for row in torch.cat(given).tolist()]
    assert sorted(rows[:20]) == sorted(rows[20:40]) == sorted(real) and rows[:20] != real
    assert len(set(rows[40:])) == 5
    with pytest.raises(InputError, match="^the images have no attribute"):
        sample_quality(programs, split.images, Pixels(), CPU, 45)


@pytest.mark.parametrize("kind", ["mask", "missing"])
def test_missing_pixels_of_images_are_missing_in_samples(kind: str, tmp_path: Path) -> None:
    """A perfect model, whose samples are whole images, is scored as one."""
    data = small_data(num_train=150, num_test=150)
    images, others = (np.array(data.split(name).images) for name in ("test", "train"))
    hidden = np.zeros((150, 1, 16, 16), bool)
    if kind == "mask":
        hidden[..., :8] = True
        Image.fromarray(hidden[0, 0]).save(tmp_path / "mask.png")
        vae = small_vae(likelihood=Masked(mask=str(tmp_path / "mask.png")))
    else:
        hidden[:] = np.random.default_rng(0).random(hidden.shape) < 0.3
        images = np.where(hidden, 0, images.clip(1))
        vae = small_vae(likelihood=Masked(missing=0))
    vae.sample = lambda count, *_: torch.from_numpy(others[:count]) / 255  # type: ignore[method-assign, assignment]
    seen: list[Tensor] = []

    def features(images: Tensor) -> Tensor:
        seen.append(images)
        return images.flatten(1)

    found = sample_quality(vae, images, features, CPU, 100)
    real = np.where(hidden, 0.5, images / 255)
    assert np.allclose(torch.cat(seen[:2]), real)
    assert ((seen[2].numpy() == 0.5).mean((1, 2, 3)) > 0.2).all()
    assert found["coverage"].value > 0.5 and 0.5 < found["density"].value < 1.5


@pytest.mark.parametrize(("images", "samples"), [(6, 20), (20, 2)])
def test_too_few_to_compare_are_one_clear_line(images: int, samples: int) -> None:
    data = small_data(num_test=images).split("test")
    line = f"^{images} images and {samples} samples: allowed are at least 7 and 3$"
    with pytest.raises(InputError, match=line):
        sample_quality(small_vae(), data, Pixels(), CPU, samples)
