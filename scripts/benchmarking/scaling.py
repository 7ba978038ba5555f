"""Measures how the speed of training depends on the sizes of images, batches and data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarking.feeding import Given, mapped_images, paced_session
from benchmarking.loops import Setting

__all__ = ["seconds_an_image", "sizes"]

IMAGE_SIZES = (32, 64, 128)
BATCH_SIZES = (16, 64, 256)
NUM_IMAGES = (1_000, 8_000, 64_000)
USUAL_NUM_IMAGES = 4_000
IMAGES_AN_EPOCH = {"cpu": 512, "cuda": 16_384}


def sizes(usual: Setting) -> Iterator[tuple[str, int, Setting, int]]:
    """Yields variants of a setting with one size changed.

    Args:
        usual: the setting to vary; its networks must accept any image size.

    Yields:
        The name of the size, its value, the setting, and the number of training images.
    """
    channels = usual.case.image_shape[0]
    for size in IMAGE_SIZES:
        case = replace(usual.case, image_shape=(channels, size, size))
        yield "image size", size, replace(usual, case=case), USUAL_NUM_IMAGES
    for batch_size in BATCH_SIZES:
        case = replace(usual.case, batch_size=batch_size)
        yield "batch size", batch_size, replace(usual, case=case), USUAL_NUM_IMAGES
    for count in NUM_IMAGES:
        yield "number of images", count, usual, count


def seconds_an_image(
    setting: Setting, compiled: bool, rounds: int, num_images: int
) -> list[float]:
    """Times the real training loop.

    Args:
        setting: case, device and precision.
        compiled: whether the step is compiled.
        rounds: number of epochs to time.
        num_images: number of training images.

    Returns:
        Seconds per image, one number per round.
    """
    size = setting.case.batch_size
    steps = max(2, IMAGES_AN_EPOCH[setting.device.type] // size)
    with (
        mapped_images(setting.case, num_images) as images,
        paced_session(setting, images, compiled) as (batches, seconds),
    ):
        steps = min(steps, len(batches))
        given = Given(batches.labelled, steps, size)
        return [seconds(given) / (steps * size) for _ in range(rounds)]
