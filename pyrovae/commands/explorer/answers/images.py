"""Answers on one image: its posterior, draws, scores, and directions around it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pyrovae.commands.explorer.answers.plain import covered, floats, number, pictures, stated
from pyrovae.commands.explorer.checking import text, whole
from pyrovae.commands.explorer.opening import Explorer
from pyrovae.commands.explorer.pictures import data_url
from pyrovae.commands.explorer.seeing import Seen
from pyrovae.evaluation.evidence import UNRELIABLE
from pyrovae.inspection.exploring import Evidences, principal_directions, two_sided
from pyrovae.inspection.outliers import LEAST
from pyrovae.inspection.posterior import predictive
from pyrovae.inspection.sections.traversals import SHARES
from pyrovae.utils.errors import InputError

__all__ = ["directions", "draws", "image", "scores", "sliders", "upload"]

#: Draws per question, and draws that the standard deviation is estimated from.
DRAWS, MEASURED = 24, 100
#: Seconds that a question computes more scores of reference images.
SECONDS = 0.25
#: The p-value below which an image is unlike the reference: 2% of typical images are below it.
LEVEL = 0.02
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def _seen(explorer: Explorer, given: dict[str, Any]) -> Seen:
    """The image of a question, whose `given` states attributes that are not known of it."""
    return explorer.images.seen(text(given, "name"), stated(explorer, given))


def image(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """An image, its reconstruction from the posterior mean, and its posterior."""
    return _image(explorer, _seen(explorer, given))


def upload(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """Reads an uploaded image; answers as `image` does."""
    if not isinstance(given.get("bytes"), bytes):
        raise InputError("upload: allowed are the bytes of an image")
    return _image(explorer, explorer.images.add(given["bytes"]))


def _image(explorer: Explorer, seen: Seen) -> dict[str, Any]:
    z = seen.encoded.loc
    moved, shown = explorer.decode(z, seen.given)
    picture = torch.from_numpy(np.array(seen.split.images)) / 255
    explorer.ground("PCA")
    return {
        "name": seen.name,
        "file": seen.file,
        "picture": pictures(explorer, picture)[0],
        "reconstruction": pictures(explorer, shown)[0],
        "cover": covered(explorer, moved, [seen.relative])[0],
        "loc": floats(z[0]),
        "scale": floats(seen.encoded.scale[0]),
        "place": explorer.places(seen),
        "attributes": _attributes(seen),
        "given": seen.given,
        "unknown": seen.unknown,
    }


def _attributes(seen: Seen) -> dict[str, Any]:
    """The attributes of an image: numbers, or the names of classes; None if not known."""
    row = seen.split.table().iloc[0]
    return {
        str(name): value if isinstance(value, str) else number(value)
        for name, value in row.items()
    }


def draws(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """Decoded draws of the posterior of an image, and their standard deviation per pixel."""
    seen = _seen(explorer, given)
    count = whole(given, "count", 1, DRAWS, 12)
    seed = whole(given, "seed", 0, 2**63 - 1, 0)
    with replace(explorer.subject, seed=seed).quietly(8):
        own = (explorer.subject.space, seen.x, seen.inputs)
        found = predictive(*own, num_draws=MEASURED, kept=count)
    spread = found.latent_spread[0].square().mean(0, keepdim=True).sqrt().cpu()
    most = float(spread.max())
    return {
        "images": pictures(explorer, found.decoded[:, 0]),
        "deviation": data_url(spread / max(most, 1e-12)),
        "largest": 255 * most,
        "says": (
            f"Standard deviation of each pixel over {MEASURED} decoded draws of q(z | x), without "
            f"the noise of pixels; white is {255 * most:.1f} of 255 grey levels."
        ),
    }


def scores(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """The ELBO and log p(x) of an image, and its rank among reference images."""
    seen = _seen(explorer, given)
    rate, distortion = (float(own[0]) for own in (seen.encoded.rate, seen.encoded.distortion))
    evidence = explorer.evidence(seen)
    if math.isfinite(evidence.elbo):
        distortion = -float(evidence.elbo) - rate  # From the draws of log p(x), not from one.
    elbo, pixels = -(rate + distortion), seen.split.images[0].size
    bits = explorer.subject.programs.likelihood.bits_per_dim(elbo, pixels)
    answer = {
        "rate": number(rate),
        "distortion": number(distortion),
        "elbo": number(elbo),
        "bits_per_dim": None if bits is None else number(bits),
        **{name: number(evidence[name]) for name in ("log_evidence", "error", "k_hat")},
    }
    answer["at_least"] = float(evidence.k_hat) > UNRELIABLE
    return answer | _ranked(explorer, float(evidence.log_evidence), float(evidence.k_hat))


def _ranked(explorer: Explorer, value: float, k_hat: float) -> dict[str, Any]:
    """The rank of log p(x) among the reference images scored so far."""
    answer: dict[str, Any] = {"typicality": None, "p_value": None, "unlike": False, "done": 1.0}
    if not math.isfinite(value):
        return answer | {"says": ["log p(x) is unknown: the programs have no density."]}
    try:
        usual, of = explorer.reference
    except InputError as reason:
        return answer | {"says": [f"log p(x) has no rank: {reason}."]}
    usual.work(SECONDS)
    known = usual.known.log_evidence.to_numpy()
    if len(known) < LEAST:
        scored = f"so far, {len(known)} of {len(usual.split)} {of} are scored."
        said = f"The rank of log p(x) is not known yet: {scored}"
        return answer | {"done": usual.done, "says": [said]}
    p_value = two_sided(value, known)
    return {
        "typicality": abs(value - float(known.mean())),
        "p_value": p_value,
        "unlike": p_value <= LEVEL,
        "done": usual.done,
        "says": [_rank_said(value, p_value, known, of), *_caveats(usual, len(known), k_hat)],
    }


def _rank_said(value: float, p_value: float, known: np.ndarray, of: str) -> str:
    tail = "low" if value < np.median(known) else "high"
    if p_value <= LEVEL:
        return (
            f"Unlike the training data: hardly any of {len(known)} {of} has such a {tail} log "
            f"p(x) (two-sided p = {p_value:.2g}; by chance, {LEVEL:.0%} of typical images get "
            "this label)."
        )
    return (
        f"Typical: among {len(known)} {of}, log p(x) is not unusually {tail} "
        f"(two-sided p = {p_value:.2g})."
    )


def _caveats(usual: Evidences, known: int, k_hat: float) -> Iterator[str]:
    """What limits the rank of log p(x) among the reference images known so far."""
    least, whole = 2 / (known + 1), len(usual.split)
    if least > LEVEL and usual.done < 1:
        yield f"p cannot be below {least:.2g} yet: {known} of {whole} images are scored so far."
    elif least > LEVEL:
        yield f"p cannot be below {least:.2g}: there are only {whole} images to compare with."
    yield f"log p(x) is a lower bound in expectation, from {usual.draws} importance draws."
    if k_hat > UNRELIABLE:
        yield (
            f"k-hat {k_hat:.2f} is above {UNRELIABLE}: log p(x) may be much higher, and a low "
            "rank may be due to the guide."
        )


def sliders(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """The active units by falling rate, with the posterior of an image on each."""
    seen, encoded = _seen(explorer, given), explorer.subject.encoded
    space, active = explorer.subject.space, encoded.active
    order = np.argsort(-encoded.kl.mean(0), kind="stable")
    rows = [_slider(explorer, seen, int(dim)) for dim in order if active[dim]]
    says = (
        f"{len(rows)} active of {space.size} dimensions, by their mean KL over "
        f"{explorer.subject.where()}. Quantiles are those of the aggregate posterior."
    )
    idle = [name for name, own in zip(space.names, active, strict=True) if not own]
    return {"sliders": rows, "idle": idle, "says": says}


def _slider(explorer: Explorer, seen: Seen, dim: int) -> dict[str, Any]:
    """One dimension; its ends are the 1% and the 99% quantile, or beyond this image's mark.

    No value of a discrete site lies beyond those drawn.
    """
    space, encoded = explorer.subject.space, explorer.subject.encoded
    low, *quantiles, high = np.quantile(
        encoded.draws[:, dim], (SHARES[0], *QUANTILES, SHARES[-1])
    ).tolist()
    loc, scale = float(seen.encoded.loc[0, dim]), float(seen.encoded.scale[0, dim])
    reach = 0.0 if encoded.discrete[dim] else 2 * scale
    return {
        "dim": dim,
        "name": space.names[dim],
        "site": next(name for name, own in space.slices.items() if own.start <= dim < own.stop),
        "kl": float(encoded.kl[:, dim].mean()),
        "low": min(low, loc - reach),
        "high": max(high, loc + reach),
        "quantiles": quantiles,
        "loc": loc,
        "scale": scale,
    }


def directions(explorer: Explorer, given: dict[str, Any]) -> dict[str, Any]:
    """The directions that change the decoded image most around an image.

    Their ends are the 1% and the 99% quantile of the encodings, or beyond this image's mark.
    """
    seen = _seen(explorer, given)
    found = principal_directions(explorer.subject, seen.z, seen.x, seen.inputs)
    reach = 2 * found.scale
    rows = [
        {
            "name": f"direction {row + 1}",
            "share": float(found.shares[row]),
            "vector": floats(vector),
            "low": float(min(found.low[row], -reach[row])),
            "high": float(max(found.high[row], reach[row])),
            "scale": float(found.scale[row]),
        }
        for row, vector in enumerate(found.vectors)
    ]
    says = (
        "Directions by how much they change the decoded image around this image. Those shown "
        f"account for {found.shares.sum():.0%} of the change over all directions. One step is a "
        "standard deviation of the aggregate posterior; the mark is this image's posterior."
    )
    return {"directions": rows, "says": says}
