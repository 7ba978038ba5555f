"""The checksum of event files is that of TensorBoard."""

from __future__ import annotations

import pytest
import torch
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from pyrovae.utils.checksums import SHORT, masked_crc32c


@pytest.mark.parametrize("length", [0, 1, 3, 4, 100, SHORT - 1, SHORT, SHORT + 1, 1600, 20_003])
def test_the_sum_is_that_of_tensorboard(length: int) -> None:
    drawn = bytes(torch.randint(256, (length,)).tolist())
    for data in (drawn, bytes(length), b"\xff" * length):
        assert masked_crc32c(data) == pywrap_tensorflow.masked_crc32c(data)
