"""Export of latents: draws for ArviZ, and tables as CSV or Parquet."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.data import Split
from pyrovae.inspection.subject import Subject
from pyrovae.posterior.space import LatentSpace
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing
from pyrovae.utils.lazy import pandas
from pyrovae.utils.optional import optional_package

__all__ = ["latent_table", "to_inference_data", "write_table"]

#: Names of the dimensions of an image.
PIXELS = ("channel", "row", "column")
#: Draws decoded at once.
AT_ONCE = 10
Samples = Mapping[str, np.ndarray | Tensor] | np.ndarray | Tensor
Groups = dict[str, dict[str, np.ndarray]]


def to_inference_data(
    subject: Subject,
    samples: Samples | None = None,
    *,
    images: Split | None = None,
    num_draws: int = 500,
    num_predictive: int = 50,
) -> Any:
    r"""Draws of the latents of a few images in ArviZ's format.

    The groups with their dimensions, for each latent site `z`:

    - `posterior`: `z` (chain, draw, image, z_dim);
    - `log_likelihood`: `x`, log p(x given z) of each image, (chain, draw, image), in nats;
    - `observed_data`: `x`, what the likelihood scores, (image, channel, row, column);
    - `posterior_predictive`: `x` drawn from the likelihood, (chain, draw, image, channel, row,
      column), at the first draws of each chain;
    - `prior` and `prior_predictive`: the same of draws from the model, in one chain.

    For draws of the guide, `arviz.summary`, `plot_trace`, `plot_forest` and the like only describe
    the guide's distribution: these draws are independent, in one chain, and cannot show whether
    the guide is right. Their diagnostics are meaningful for MCMC chains.

    `arviz.loo` runs, with each image as one observation. But the latents of an image depend on
    no other image, so leaving an image out leaves only its prior. The quantity estimated is log
    p(x), by the harmonic mean of p(x given z), whose variance is large if the posterior is much
    narrower than the prior. Take its warnings of k-hat above 0.7 seriously, and prefer
    `log_evidence`.

    Args:
        subject: the programs, the shown images, and the seed of all draws.
        samples: latents from another sampler, such as MCMC: `(chains, draws, B, D)` with sites
            concatenated as in `LatentSpace`, or by site `(chains, draws, B, ...)`. By default
            they are drawn from the guide, in one chain.
        images: the images; by default the shown images.
        num_draws: latents per image to draw from the guide, and from the model.
        num_predictive: the largest number of replicates per image and chain.

    Returns:
        `arviz.InferenceData`; from ArviZ 1.0 on an `xarray.DataTree`.

    Raises:
        InputError: if ArviZ is not installed, a number is below 1, or the samples have a wrong
            shape or wrong sites.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ issues some on import.
        arviz = optional_package("arviz")
    if min(num_draws, num_predictive) < 1:
        raise InputError(
            f"num_draws and num_predictive must be at least 1, got {num_draws}, {num_predictive}"
        )
    split = images if images is not None else subject.shown
    x, inputs = subject.observed(split)
    space = subject.space
    with subject.quietly(6):
        if samples is None:
            samples = space.guide_draws(num_draws, x, **inputs)[None]
        z = _samples(space, samples, x)
        prior = torch.stack([space.prior_draws(len(x), **inputs) for _ in range(num_draws)])[None]
        groups = _groups(space, z, prior, num_predictive, x, inputs)
    return _assembled(arviz, groups, space.shapes, [str(name) for name in split.names])


def _groups(
    space: LatentSpace,
    z: Tensor,
    prior: Tensor,
    num_predictive: int,
    x: Tensor,
    inputs: dict[str, Tensor],
) -> Groups:
    """The groups of `to_inference_data` from draws of posterior and prior, `(C, S, B, D)`."""

    def scores(some: Tensor) -> Tensor:
        return space.log_joint(some, x, **inputs)[1].double()

    return {
        "posterior": _sites(space, z),
        "log_likelihood": {"x": _in_parts(z, scores)},
        "observed_data": {"x": _numpy(x)},
        "posterior_predictive": {"x": _predicted(space, z[:, :num_predictive], inputs)},
        "prior": _sites(space, prior),
        "prior_predictive": {"x": _predicted(space, prior[:, :num_predictive], inputs)},
    }


def _samples(space: LatentSpace, samples: Samples, x: Tensor) -> Tensor:
    """Samples as one vector per image, `(chains, draws, B, D)`."""
    if isinstance(samples, Mapping):
        if set(samples) != set(space.shapes):
            raise InputError(
                f"samples are of the sites {', '.join(samples)}: expected are "
                f"{', '.join(space.shapes)}"
            )
        for name, shape in space.shapes.items():
            _check(name, samples[name], (len(x), *shape))
        parts = {name: torch.as_tensor(value) for name, value in samples.items()}
        return space.flatten(parts).to(x)
    _check("all sites", samples, (len(x), space.size))
    return torch.as_tensor(samples).to(x)


def _check(name: str, values: np.ndarray | Tensor, ends: tuple[int, ...]) -> None:
    if len(values.shape) != 2 + len(ends) or tuple(values.shape[2:]) != ends:
        wanted = ", ".join(map(str, ends))
        raise InputError(
            f"samples of {name} have shape {tuple(values.shape)}: allowed is "
            f"(chains, draws, {wanted})"
        )


def _sites(space: LatentSpace, z: Tensor) -> dict[str, np.ndarray]:
    return {name: _numpy(value) for name, value in space.unflatten(z).items()}


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _predicted(space: LatentSpace, z: Tensor, inputs: dict[str, Tensor]) -> np.ndarray:
    """Images drawn from the likelihood, `(chains, draws, B, C, H, W)`."""
    return _in_parts(z, lambda some: space.decode(some, **inputs).sample())


def _in_parts(z: Tensor, compute: Callable[[Tensor], Tensor]) -> np.ndarray:
    """A function of latents `(chains, draws, *)`, computed for some draws at once."""
    found = [compute(some) for some in z.flatten(0, 1).split(AT_ONCE)]
    return _numpy(torch.cat(found).unflatten(0, z.shape[:2]))


def _assembled(
    arviz: Any, groups: Groups, shapes: Mapping[str, tuple[int, ...]], names: list[str]
) -> Any:
    """The groups with named dimensions and coordinates, in the installed ArviZ's data type."""
    dims = {name: ["image", *_dims_of(name, shape)] for name, shape in shapes.items()}
    every = {**dims, "x": ["image", *PIXELS]}
    sizes = {**shapes, "x": groups["observed_data"]["x"].shape[1:]}
    coords: dict[str, Any] = {"image": names}
    for name, own in every.items():
        coords |= dict(zip(own[1:], map(np.arange, sizes[name]), strict=True))
    scores = {"log_likelihood": groups["log_likelihood"]}
    rest = {name: group for name, group in groups.items() if name not in scores}
    with warnings.catch_warnings():
        # Ignores warnings on groups with more dimensions than draws, and on future versions.
        warnings.simplefilter("ignore")
        found = _from_dict(arviz, rest, coords, every)
        # Converted separately, since `x` has other dimensions in this group.
        scored = _from_dict(arviz, scores, {"image": names}, {"x": ["image"]})
        if hasattr(found, "extend"):
            found.extend(scored)
        else:
            found["log_likelihood"] = scored["log_likelihood"]
    return found


def _dims_of(name: str, shape: tuple[int, ...]) -> list[str]:
    """`z_dim`; for sites with several dimensions `z_dim_0`, `z_dim_1`, ..."""
    if len(shape) == 1:
        return [f"{name}_dim"]
    return [f"{name}_dim_{place}" for place in range(len(shape))]


def _from_dict(
    arviz: Any, groups: dict[str, Any], coords: dict[str, Any], dims: dict[str, list[str]]
) -> Any:
    if "posterior" in inspect.signature(arviz.from_dict).parameters:  # Before 1.0.
        return arviz.from_dict(**groups, coords=coords, dims=dims)
    return arviz.from_dict(groups, coords=coords, dims=dims)


def latent_table(subject: Subject) -> pandas.DataFrame:
    """The posterior moments and the attributes of every image of the split.

    Returns:
        One row per image, indexed by name: `z[0].loc`, `z[0].scale` and so on for each selected
        dimension, then the attributes.
    """
    encoded = subject.encoded.only(subject.columns)
    columns = {
        f"{name}.{what}": getattr(encoded, what)[:, place]
        for place, name in enumerate(encoded.names)
        for what in ("loc", "scale")
    }
    attributes = subject.split.table()[subject.known_attributes]
    index = pandas.Index([str(name) for name in subject.split.names], name="image")
    latents = pandas.DataFrame(columns, index=index)
    return pandas.concat([latents, attributes.set_axis(index)], axis=1)


def write_table(table: pandas.DataFrame, path: str | Path) -> None:
    """Writes a table with its index, atomically.

    Args:
        table: the table.
        path: ends in `.csv` or `.parquet`.

    Raises:
        InputError: if the path has another ending, or pyarrow is not installed, which Parquet
            needs.
    """
    check_export(path, None)
    with replacing(Path(path)) as temporary:
        if Path(path).suffix.lower() == ".csv":
            table.to_csv(temporary)
        else:
            table.to_parquet(temporary, engine="pyarrow")


def write_inference_data(found: Any, path: str | Path) -> None:
    """Writes the result of `to_inference_data` as NetCDF, atomically.

    Args:
        found: the draws.
        path: ends in `.nc`.

    Raises:
        InputError: if the path has another ending.
    """
    check_export(None, path)
    with replacing(Path(path)) as temporary:
        found.to_netcdf(str(temporary))


def check_export(table: str | Path | None, inference_data: str | Path | None) -> None:
    """Raises `InputError` if a path has a wrong ending, or a package to write it is missing.

    Args:
        table: the path of a table, if any.
        inference_data: the path of draws for ArviZ, if any.
    """
    if table is not None:
        suffix = Path(table).suffix.lower()
        if suffix == ".parquet":
            optional_package("pyarrow", "parquet")
        elif suffix != ".csv":
            raise InputError(f"{table}: allowed endings of a table are .csv and .parquet")
    if inference_data is not None:
        if Path(inference_data).suffix.lower() != ".nc":
            raise InputError(f"{inference_data}: the allowed ending of draws for ArviZ is .nc")
        optional_package("arviz")
