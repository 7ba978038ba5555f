"""Event files for TensorBoard, written in the training thread.

TensorBoard's own writer uses another thread. If it cannot write, it prints a traceback and the
run does not notice.
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
        folder: the folder of the file.
        purge_step: TensorBoard ignores this step and later steps in earlier files.

    Raises:
        OSError: if the file cannot be written; all methods except `close` raise it too.
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
        """Adds a scalar."""
        self._write(step=step, summary={"value": [{"tag": tag, "simple_value": value}]})

    def add_picture(self, tag: str, sheet: Tensor, content: bytes, step: int) -> None:
        """Adds a picture.

        Args:
            tag: the name of the picture.
            sheet: the picture `(C, H, W)`; only its shape is used.
            content: the bytes of its PNG file.
            step: the step.
        """
        channels, height, width = sheet.shape
        image = {"height": height, "width": width, "colorspace": channels}
        value = {"tag": tag, "image": image | {"encoded_image_string": content}}
        self._write(step=step, summary={"value": [value]})

    def flush(self) -> None:
        """Flushes the buffer to the operating system."""
        try:
            self._file.flush()
        except OSError as error:
            self.close()
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def close(self) -> None:
        """Closes the file; data that cannot be written is lost without an error."""
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
