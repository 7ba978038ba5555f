"""`pyrovae train [--config NAME] [options]`: trains a VAE with Pyro's SVI.

On several GPUs or machines: `torchrun --nproc-per-node N -m pyrovae train ...`. For a job that may
be restarted: `--run_dir RUN --resume auto` starts the run, or resumes it if it exists.
"""

from __future__ import annotations

import math
from contextlib import suppress

import torch
from torch import Tensor

from pyrovae.config.building import build_vae, instantiate, recipe
from pyrovae.config.options import parse_run, train_parser
from pyrovae.config.resuming import config_text
from pyrovae.data import SPLITS, ImageData, spread
from pyrovae.engine import Engine
from pyrovae.evaluation.baselines import (
    as_evaluation,
    evaluate_without_latent,
    log_evidence_of_ppca,
    most_dimensions,
)
from pyrovae.evaluation.earlier import scores_of, set_aside
from pyrovae.posterior import Evaluation, evaluate
from pyrovae.posterior.classification import classify
from pyrovae.posterior.view import PosteriorView
from pyrovae.programs import ModelGuidePair
from pyrovae.runs import RunDirectory, checksum
from pyrovae.training.overview import refresh_index
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing
from pyrovae.utils.plain import to_json
from pyrovae.utils.process_group import processes
from pyrovae.utils.signals import Diverged
from pyrovae.utils.text import counted

__all__ = ["describe", "final_report", "main"]


def main(arguments: list[str]) -> None:
    """Trains a VAE; prints the scores of its best weights on the test split."""
    parser = train_parser()
    config, run, resume = parse_run(parser, arguments, "default")
    torch.manual_seed(config.trainer.seed % 2**63)  # The trainer refuses what is out of range.
    objects = instantiate(parser, config)
    vae, engine, group = build_vae(objects), objects.engine, processes()
    if group.main:
        print(describe(run, vae, engine), flush=True)
    with group.first_on_machine():
        for name in SPLITS:
            objects.data.split(name)  # An unreadable image stops the run here, not at its end.
    if found := objects.data.found():
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
        found = evaluate(vae, test, engine)
        latent_dim = PosteriorView(vae, test.spread(2), engine).space.continuous_size
        classes = classify(vae, test, engine)
    others = _baselines(vae, data, latent_dim)
    moved = _store(run, weights, found, others[WITHOUT_LATENT])
    refresh_index(run.root)
    _check_finite(found, epoch, moved)
    images = counted(found.num_images, "image")
    seen = ", of seen pixels alone" if vae.likelihood.leaves_out else ""
    picture = run.picture("samples", epoch)
    lines = [
        f"test, {images}, weights of epoch {epoch} (the best), nats per image{seen}:",
        f"  {found}",
        *([] if classes is None else [f"  {vae.optional[0]}: {classes}"]),
        *(f"  {name}: {other.headline('log p(x)')}" for name, other in others.items()),
        *_below(run, found, others),
        *moved,
        f"samples: {picture if picture.exists() else run.root / 'samples'}",
        f"page of the run: {run.index}",
    ]
    return "\n".join(lines)


#: The names of the baselines in the report.
WITHOUT_LATENT = "without latents (the likelihood alone)"
PPCA = "probabilistic PCA of {:,} training images, latent dimensions: {:,}"
#: Images that probabilistic PCA is fitted to: a few seconds of computation.
PPCA_IMAGES = 1000


def _baselines(vae: ModelGuidePair, data: ImageData, latent_dim: int) -> dict[str, Evaluation]:
    """The scores of the baselines on the test split; without PCA if there are too few images.

    PCA has fewer dimensions than the VAE if there are few images per dimension: they would give it
    too small a noise, and a bad score.
    """
    train, test = data.split("train").images, data.split("test").images
    some, found = spread(train, PPCA_IMAGES), {}
    if dim := most_dimensions(latent_dim, some):
        with suppress(InputError):
            linear = log_evidence_of_ppca(vae.likelihood, some, test, dim, flip=data.flip)
            name = PPCA.format(len(some), dim)
            found[name] = as_evaluation(linear, vae.likelihood, test)
    return found | {WITHOUT_LATENT: evaluate_without_latent(vae.likelihood, train, test)}


def _below(run: RunDirectory, found: Evaluation, others: dict[str, Evaluation]) -> list[str]:
    """A warning if the ELBO is below log p(x) of a baseline; it names the best of them."""
    name, best = max(others.items(), key=lambda item: item[1].elbo)
    if found.elbo >= best.elbo:
        return []
    line = f"warning: the ELBO is below log p(x) of a simpler model, {name}; for the cause: "
    return [f"{line}pyrovae inspect {run.root} --quick"]


def _store(
    run: RunDirectory, weights: dict[str, Tensor], found: Evaluation, without: Evaluation
) -> list[str]:
    """Writes `evaluation.json`, unless it holds a full evaluation of these weights.

    Returns:
        One line if a full evaluation of other weights had to move.
    """
    scores = {"split": "test", "vae": found.numbers(), "without_latent": without.numbers()}
    earlier = scores_of(run.root)
    evaluated = earlier.get("weights")
    if evaluated == checksum(weights):
        return []
    moved = [] if evaluated is None else [set_aside(run.root, earlier, ["weights"])]
    with replacing(run.root / "evaluation.json") as temporary:
        temporary.write_text(to_json(scores, indent=2))
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
