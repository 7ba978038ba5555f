"""Pythae's VAE and trainer with the networks of pyrovae; needs `pip install pythae`."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import CallbackHandler
from torch import Tensor, nn

from benchmarking.cases import Case

__all__ = ["trainer_step"]


class Encoder(BaseEncoder):
    """An encoder of pyrovae with pythae's interface."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        """Location and log variance, with the bounds of pyrovae."""
        loc, raw = self.network(x).chunk(2, dim=-1)
        log_covariance = 14 * torch.tanh(raw / 7)
        return ModelOutput(embedding=loc.clamp(-1e4, 1e4), log_covariance=log_covariance)


class Decoder(BaseDecoder):
    """A decoder of pyrovae with pythae's interface.

    Args:
        network: maps latents to pixels, or to log odds of binary pixels.
        binary: whether pixels are binary.
    """

    def __init__(self, network: nn.Module, binary: bool) -> None:
        super().__init__()
        self.network, self.binary = network, binary

    def forward(self, z: Tensor) -> Any:
        """Pixels, or probabilities of binary pixels."""
        h = self.network(z)
        return ModelOutput(reconstruction=h.sigmoid() if self.binary else h)


class OneBatch:
    """A loader of one batch on the device.

    Args:
        observe: returns the observations to score, with new noise at each call.
        dataset: the data set whose length pythae's trainer reads.
    """

    def __init__(self, observe: Callable[[], Tensor], dataset: BaseDataset) -> None:
        self.observe, self.dataset = observe, dataset

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[DatasetOutput]:
        yield DatasetOutput(data=self.observe())


@contextmanager
def _silence() -> Iterator[None]:
    """Silences log messages below errors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def trainer_step(case: Case, device: torch.device, rate: float) -> Iterator[Callable[[], float]]:
    """Yields a step: an epoch of one batch of pythae's trainer, without loader and callbacks."""
    vae = case.vae().to(device)
    images = case.batch(device)
    x = vae.observe(images).cpu()
    config = VAEConfig(
        input_dim=case.image_shape,
        latent_dim=case.latent_dim,
        reconstruction_loss="bce" if case.binary else "mse",
    )
    model = VAE(config, Encoder(vae.guide.encoder), Decoder(vae.model.decoder, case.binary))
    dataset = BaseDataset(x, torch.zeros(len(x)))
    with tempfile.TemporaryDirectory() as folder:
        options = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=len(x),
            learning_rate=rate,
            no_cuda=device.type != "cuda",
        )
        with torch.random.fork_rng(devices=[]), _silence():
            trainer = BaseTrainer(model, dataset, training_config=options)
            trainer.prepare_training()
        trainer.callback_handler = CallbackHandler([], model)  # These draw progress bars.
        trainer.train_loader = OneBatch(lambda: vae.scored(images), dataset)
        yield lambda: trainer.train_step(epoch=1)
