"""How the speed of training depends on the size of images, of batches and of the data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pyrovae.benchmarking.feeding import Given, mapped_images, paced_session
from pyrovae.benchmarking.loops import Setting

__all__ = ["scale"]

IMAGE_SIZES = (32, 64, 128)
BATCH_SIZES = (16, 64, 256)
NUM_IMAGES = (1_000, 8_000, 64_000)
USUAL_NUM_IMAGES = 4_000
IMAGES_AN_EPOCH = {"cpu": 512, "cuda": 16_384}


def scale(setting: Setting, compiled: bool, rounds: int) -> Iterator[tuple[str, int, list[float]]]:
    """Runs the real training loop at a few sizes, all else being as it was.

    Args:
        setting: what to start from; its case must be one of any image size.
        compiled: whether the step is compiled.
        rounds: how many epochs are timed.

    Yields:
        What was changed, to what number, and seconds an image, a number a round.
    """
    usual = setting.case
    for size in IMAGE_SIZES:
        case = replace(usual, image_shape=(usual.image_shape[0], size, size))
        found = _seconds_an_image(replace(setting, case=case), compiled, rounds, USUAL_NUM_IMAGES)
        yield "image size", size, found
    for batch_size in BATCH_SIZES:
        case = replace(usual, batch_size=batch_size)
        found = _seconds_an_image(replace(setting, case=case), compiled, rounds, USUAL_NUM_IMAGES)
        yield "batch size", batch_size, found
    for count in NUM_IMAGES:
        yield "number of images", count, _seconds_an_image(setting, compiled, rounds, count)


def _seconds_an_image(
    setting: Setting, compiled: bool, rounds: int, num_images: int
) -> list[float]:
    size = setting.case.batch_size
    steps = max(2, IMAGES_AN_EPOCH[setting.device.type] // size)
    with (
        mapped_images(setting.case, num_images) as images,
        paced_session(setting, images, compiled) as (batches, seconds),
    ):
        steps = min(steps, len(batches))
        given = Given(batches.labelled, steps, size)
        return [seconds(given) / (steps * size) for _ in range(rounds)]
