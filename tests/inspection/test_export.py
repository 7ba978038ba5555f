"""What other tools get: the same numbers, with names."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from pyrovae import Engine, InputError
from pyrovae.inspection.export import latent_table, to_inference_data, write_table
from pyrovae.inspection.subject import Subject
from tests.support.programs import MAKERS
from tests.support.small import small_data, small_vae
from tests.support.tables import changed, snapshot

CPU = Engine("cpu", "fp32")
EVERY = {"a VAE": small_vae, **MAKERS}
every = pytest.mark.parametrize("name", EVERY)


def subject(name: str = "a VAE", **kwargs: Any) -> Subject:
    torch.manual_seed(0)
    split = small_data().split("test")
    return Subject(EVERY[name](), split, CPU, shown=split.take([3, 5]), **kwargs)


@pytest.fixture
def arviz() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("arviz")


@every
def test_groups_have_named_dimensions_and_coordinates(name: str, arviz: Any) -> None:
    own = subject(name)
    before, state = snapshot(own.programs), torch.get_rng_state()
    found = to_inference_data(own, num_draws=30, num_predictive=4)
    assert not changed(snapshot(own.programs), before)
    assert torch.equal(torch.get_rng_state(), state)
    site = next(iter(own.space.shapes))
    pixels = ("image", "channel", "row", "column")
    dims = {
        "posterior": (site, ("chain", "draw", "image", f"{site}_dim"), (1, 30, 2)),
        "prior": (site, ("chain", "draw", "image", f"{site}_dim"), (1, 30, 2)),
        "log_likelihood": ("x", ("chain", "draw", "image"), (1, 30, 2)),
        "observed_data": ("x", pixels, (2, 3, 16, 16)),
        "posterior_predictive": ("x", ("chain", "draw", *pixels), (1, 4, 2, 3, 16, 16)),
        "prior_predictive": ("x", ("chain", "draw", *pixels), (1, 4, 2, 3, 16, 16)),
    }
    for group, (variable, expected, shape) in dims.items():
        array = found[group][variable]
        assert array.dims == expected and array.shape[: len(shape)] == shape
        assert list(array["image"].values) == [str(n) for n in own.shown.names]
    assert set(found["posterior"].data_vars) == set(own.space.shapes)


@every
def test_the_log_likelihood_is_of_the_draws_that_are_given(name: str, arviz: Any) -> None:
    own = subject(name)
    found = to_inference_data(own, num_draws=12, num_predictive=1)
    x, inputs = own.observed(own.shown)
    draws = {site: torch.tensor(found["posterior"][site].values) for site in own.space.shapes}
    with own.quietly():
        expected = own.space.log_joint(own.space.flatten(draws), x, **inputs)[1]
    assert found["log_likelihood"]["x"].values == pytest.approx(expected.numpy(), rel=1e-5)
    assert np.array_equal(found["observed_data"]["x"].values, x.numpy())


@every
def test_samples_of_others_are_taken_whole_or_by_site(name: str, arviz: Any) -> None:
    own = subject(name)
    z = np.random.default_rng(0).normal(size=(3, 20, 2, own.space.size)).astype(np.float32)
    parts = {site: value.numpy() for site, value in own.space.unflatten(torch.tensor(z)).items()}
    whole, by_site = (to_inference_data(own, given, num_draws=5) for given in (z, parts))
    for site in own.space.shapes:
        assert np.array_equal(whole["posterior"][site].values, parts[site])
        assert np.array_equal(by_site["posterior"][site].values, parts[site])
    assert whole["log_likelihood"]["x"].shape == (3, 20, 2)
    assert whole["posterior_predictive"]["x"].shape == (3, 20, 2, 3, 16, 16)


@pytest.mark.filterwarnings("ignore")
def test_its_summaries_and_loo_run(arviz: Any) -> None:
    own = subject()
    found = to_inference_data(own, num_draws=200, num_predictive=5)
    assert len(arviz.summary(found, var_names=["z"])) == 2 * own.space.size
    loo = arviz.loo(found)
    assert loo.n_data_points == 2
    score = getattr(loo, "elpd_loo", None) or loo.elpd
    best = found["log_likelihood"]["x"].values.max((0, 1)).sum()
    assert np.isfinite(score) and score < best


def test_seeds_and_images_change_the_draws(arviz: Any) -> None:
    first = to_inference_data(subject(), num_draws=5)["posterior"]["z"].values
    again = to_inference_data(subject(), num_draws=5)["posterior"]["z"].values
    other = to_inference_data(subject(seed=1), num_draws=5)["posterior"]["z"].values
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    own = subject()
    three = to_inference_data(own, images=own.split.take([0, 1, 2]), num_draws=5)
    assert three["posterior"]["z"].shape[:3] == (1, 5, 3)


def test_wrong_samples_are_refused(arviz: Any) -> None:
    own = subject()
    with pytest.raises(InputError, match=r"have shape \(2, 4\): allowed is \(chains, draws, 2, 4"):
        to_inference_data(own, np.zeros((2, 4)))
    with pytest.raises(InputError, match="samples are of the sites y: expected are z"):
        to_inference_data(own, {"y": np.zeros((1, 5, 2, 4))})
    with pytest.raises(InputError, match=r"samples of z have shape \(1, 5, 3, 4\)"):
        to_inference_data(own, {"z": np.zeros((1, 5, 3, 4))})
    with pytest.raises(InputError, match="at least 1, got 0, 50"):
        to_inference_data(own, num_draws=0)


@pytest.mark.parametrize(("package", "extra"), [("arviz", "arviz"), ("pyarrow", "parquet")])
def test_a_missing_package_is_told_its_extra(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    own = subject()
    with pytest.raises(
        InputError, match=rf"^{package} is not installed; pip install 'pyrovae\[{extra}\]'$"
    ):
        if package == "arviz":
            to_inference_data(own)
        else:
            write_table(latent_table(own), tmp_path / "table.parquet")
    assert not list(tmp_path.iterdir())


def test_the_table_holds_latents_beside_attributes() -> None:
    own = subject()
    found = latent_table(own)
    assert list(found.index) == [str(name) for name in own.split.names]
    assert list(found)[:4] == ["z[0].loc", "z[0].scale", "z[1].loc", "z[1].scale"]
    assert np.array_equal(found["z[2].loc"], own.encoded.loc[:, 2])
    assert np.array_equal(found["z[2].scale"], own.encoded.scale[:, 2])
    assert np.array_equal(found["tilt"], own.split.table()["tilt"])
    some = latent_table(subject("two latents", sites=("z2",), attributes=("yaw",)))
    assert list(some) == ["z2[0].loc", "z2[0].scale", "z2[1].loc", "z2[1].scale", "yaw"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_come_back_from_files(suffix: str, tmp_path: Path) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    table, path = latent_table(subject()), tmp_path / f"new/latents{suffix}"
    write_table(table, path)
    read = pandas.read_csv(path, index_col=0) if suffix == ".csv" else pandas.read_parquet(path)
    assert list(read) == list(table) and len(list(path.parent.iterdir())) == 1
    assert read.to_numpy() == pytest.approx(table.to_numpy())
    assert list(read.index) == list(table.index)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"table\.xlsx: allowed endings of a table are \.csv and "
    ):
        write_table(pandas.DataFrame(), tmp_path / "table.xlsx")
