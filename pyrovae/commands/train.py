"""`pyrovae train [--config NAME] [options]`: trains a VAE with Pyro's SVI.

On several GPUs or machines: `torchrun --nproc-per-node N -m pyrovae train ...`. For a job that may
be restarted: `--run_dir RUN --resume auto` starts the run, or resumes it if it exists.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrovae.config.building import build_vae, instantiate, recipe
from pyrovae.config.options import parse_run, train_parser, without_preset
from pyrovae.config.resuming import config_text
from pyrovae.data import SPLITS, ImageData, Split
from pyrovae.engine import Engine
from pyrovae.evaluation.baselines import (
    WITHOUT_LATENT,
    as_evaluation,
    shortfall,
    simpler_models,
)
from pyrovae.evaluation.earlier import estimates, scores_of, set_aside
from pyrovae.posterior import Evaluation, image_terms
from pyrovae.posterior.classification import classify
from pyrovae.posterior.elbo import summarise
from pyrovae.posterior.view import PosteriorView
from pyrovae.programs import ModelGuidePair
from pyrovae.runs import RunDirectory, checksum
from pyrovae.training.overview import refresh_index
from pyrovae.utils.files import replacing
from pyrovae.utils.plain import to_json
from pyrovae.utils.process_group import Group, processes
from pyrovae.utils.signals import Diverged
from pyrovae.utils.text import counted, of_groups

__all__ = ["describe", "final_report", "main"]

#: The scores of a baseline, whose ELBO is log p(x), in `evaluation.json`.
OF_BASELINES = {"elbo": "log_evidence", "bits_per_dim": "evidence_bits_per_dim"}


def main(arguments: list[str]) -> None:
    """Trains a VAE; prints the scores of its best weights on the test split."""
    parser = train_parser()
    config, run, resume = parse_run(parser, arguments, "default")
    torch.manual_seed(config.trainer.seed % 2**63)  # The trainer refuses what is out of range.
    objects = instantiate(parser, config)
    vae, engine, group = build_vae(objects), objects.engine, processes()
    if group.main:
        print(*without_preset(parser), describe(run, vae, engine), sep="\n", flush=True)
    if found := _read_images(objects.data, group):
        for name, value in found.items():
            config.data.init_args[name] = value
        run.config_text = config_text(parser, config)  # With what the images have determined.
    objects.trainer.fit(
        vae,
        objects.data,
        recipe(objects),
        engine,
        run=run,
        resume=resume,
        progress=True,
        callbacks=objects.callbacks,
        loggers=objects.loggers,
    )
    if group.main:
        print(final_report(run, vae, objects.data, engine))


def _read_images(data: ImageData, group: Group) -> dict[str, Any]:
    """Reads all splits, in one process per machine first; returns what they have determined."""
    with group.first_on_machine():
        for name in SPLITS:
            data.split(name)  # An unreadable image stops the run here, not at its end.
    return data.found()


def describe(run: RunDirectory, vae: ModelGuidePair, engine: Engine) -> str:
    """One line before training: run directory, number of parameters, device, precision."""
    size = sum(p.numel() for p in vae.parameters())
    return f"{run.root}: {size:,} parameters, {engine.device}, networks in {engine.precision}"


def final_report(run: RunDirectory, vae: ModelGuidePair, data: ImageData, engine: Engine) -> str:
    """Scores the best weights on the test split, and two baselines."""
    weights, epoch = run.weights_of("best")
    vae.load_state_dict(weights)
    test = data.split("test")
    with engine.running(vae, vae.networks()):
        engine.lay_out(vae)
        terms = image_terms(vae, test, engine)
        latent_dim = PosteriorView(vae, test.spread(2), engine).space.continuous_size
        classes = classify(vae, test, engine)
    found = summarise(terms, vae.likelihood, math.prod(data.image_shape), test.groups)
    both, elbo = (data.split("train").images, test.images), -(terms["rate"] + terms["distortion"])
    simpler = simpler_models(vae.likelihood, *both, latent_dim, flip=data.flip)
    others = {
        n: as_evaluation(own, vae.likelihood, both[1], test.groups) for n, own in simpler.items()
    }
    moved = _store(run, weights, found, others)
    refresh_index(run.root)
    _check_finite(found, epoch, moved)
    lines = [
        f"  {found}",
        *([] if classes is None else [f"  {vae.optional[0]}: {classes}"]),
        *(f"  {name}: {other.headline('log p(x)')}" for name, other in others.items()),
        *_below(run, elbo, simpler, vae.attributes, test.groups),
        *moved,
    ]
    return "\n".join([_head(test, epoch, vae.likelihood.leaves_out), *lines, *_places(run, epoch)])


def _head(test: Split, epoch: int, leaves_out: bool) -> str:
    """The line above the scores: what is scored."""
    images = counted(len(test), "image") + of_groups(test.groups)
    seen = ", of seen pixels only" if leaves_out else ""
    return f"test, {images}, weights of epoch {epoch} (the best), nats per image{seen}:"


def _places(run: RunDirectory, epoch: int) -> list[str]:
    """Where the samples and the page of the run are."""
    picture = run.picture("samples", epoch)
    shown = picture if picture.exists() else run.root / "samples"
    return [f"samples: {shown}", f"page of the run: {run.index}"]


def _below(
    run: RunDirectory,
    elbo: Tensor,
    simpler: Mapping[str, Tensor],
    given: Sequence[str] = (),
    groups: np.ndarray | None = None,
) -> list[str]:
    """A warning if the ELBO of the images is surely below log p(x) of a simpler model.

    It holds for programs that are given attributes, too: to know more should raise the score.
    """
    name, found = shortfall(elbo, simpler, groups)
    without = f" (not given {', '.join(given)})" if given else ""
    if not found.sure:
        return []
    return [
        f"warning: the ELBO is {found.value:,.0f} nats (standard error {found.error:,.1f}) below "
        f"log p(x) of a simpler model, {name}{without}; to find the cause: "
        + run.with_trust(f"pyrovae inspect {run.root} --quick")
    ]


def _store(
    run: RunDirectory,
    weights: dict[str, Tensor],
    found: Evaluation,
    others: Mapping[str, Evaluation],
) -> list[str]:
    """Writes `evaluation.json`, unless it holds a full evaluation of these weights.

    Returns:
        One line if a full evaluation of other weights had to move.
    """
    columns = {"vae": estimates(found.numbers())}
    for name, other in others.items():
        own = estimates(other.numbers())
        column = "without_latent" if name == WITHOUT_LATENT else "ppca"
        columns[column] = {new: own[old] for old, new in OF_BASELINES.items() if old in own}
    about = {"split": "test", "num_images": found.num_images}
    scores = {n: {name: asdict(own) for name, own in of.items()} for n, of in columns.items()}
    earlier = scores_of(run.root)
    evaluated = earlier.get("weights")
    if evaluated == checksum(weights):
        return []
    moved = [] if evaluated is None else [set_aside(run.root, earlier, ["weights"])]
    with replacing(run.root / "evaluation.json") as temporary:
        temporary.write_text(to_json({**about, **scores}, indent=2) + "\n")
    return moved


def _check_finite(found: Evaluation, epoch: int, moved: list[str]) -> None:
    """Raises `Diverged` if a result is not finite; the error also says which scores moved."""
    for name in ("elbo", "rate", "distortion"):
        if not math.isfinite(value := getattr(found, name)):
            said = (
                f"the result on the test split is not finite: the {name} of the weights of epoch "
                f"{epoch} is {value}. Try a lower --optimizer.lr or a smaller --trainer.clip_norm"
            )
            raise Diverged("; ".join([said, *moved]))
