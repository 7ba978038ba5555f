"""A file that TensorBoard reads, written by the thread that trains.

TensorBoard's own writer has a thread, which prints tracebacks when it cannot write, and nobody
hears of it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EventFile"]


class EventFile:
    """Appends scalars and pictures to a new event file.

    Args:
        folder: where the file goes.
        purge_step: TensorBoard leaves out what earlier files say of this step and later ones.

    Raises:
        OSError: here and in every method but `close`, if the file cannot be written.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        self._file = open(self.path, "ab")
        self._write(file_version="brain.Event:2")
        self._write(step=purge_step, session_log={"status": "START"})
        self.flush()

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Adds a number."""
        self._write(step=step, summary={"value": [{"tag": tag, "simple_value": value}]})

    def add_picture(self, tag: str, sheet: Tensor, content: bytes, step: int) -> None:
        """Adds a picture `(C, H, W)` whose PNG file is known."""
        channels, height, width = sheet.shape
        image = {"height": height, "width": width, "colorspace": channels}
        value = {"tag": tag, "image": image | {"encoded_image_string": content}}
        self._write(step=step, summary={"value": [value]})

    def flush(self) -> None:
        """Hands everything to the operating system."""
        try:
            self._file.flush()
        except OSError as error:
            self.close()
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def close(self) -> None:
        """Closes the file; what cannot be written any more is lost."""
        with suppress(OSError):
            self._file.close()

    def _write(self, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import (  # type: ignore[import-untyped]
            masked_crc32c,
        )

        data = Event(wall_time=time.time(), **event).SerializeToString()
        size = struct.pack("<Q", len(data))
        sums = (struct.pack("<I", masked_crc32c(part)) for part in (size, data))
        try:
            self._file.write(size + next(sums) + data + next(sums))
        except OSError as error:
            self.close()
            raise OSError(error.errno, error.strerror, str(self.path)) from error
