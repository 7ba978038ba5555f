"""Event files for TensorBoard, written in the training thread.

TensorBoard's own writer uses another thread. If it cannot write, it prints a traceback and the
run does not notice.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["EventFile"]


class EventFile:
    """Appends scalars, histograms, pictures and options to a new event file.

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

    def add_picture(self, tag: str, picture: Image, content: bytes, step: int) -> None:
        """Adds a picture.

        Args:
            tag: the name of the picture.
            picture: only its size and mode are used.
            content: the bytes of its PNG file.
            step: the step.
        """
        (width, height), channels = picture.size, len(picture.getbands())
        image = {"height": height, "width": width, "colorspace": channels}
        value = {"tag": tag, "image": image | {"encoded_image_string": content}}
        self._write(step=step, summary={"value": [value]})

    def add_histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        """Adds a histogram of numbers; those that are not finite are left out."""
        from torch.utils.tensorboard.summary import histogram

        finite = values[np.isfinite(values)]
        if finite.size:
            self._write(step=step, summary=histogram(tag, finite, "auto"))

    def add_options(
        self, options: Mapping[str, Any], text: str, metrics: Sequence[str], step: int
    ) -> None:
        """Adds the options of a run, as a text and for the tab of hyperparameters.

        Args:
            options: numbers, truth values and texts by name.
            text: the same options in YAML.
            metrics: the tags of the scalars that the tab shows.
            step: the step.
        """
        from torch.utils.tensorboard import summary

        # Markdown shows lines with four spaces in front as they are.
        shown = "\n".join(f"    {line}" for line in text.splitlines())
        self._write(step=step, summary=summary.text("config", shown))
        experiment, start, _ = summary.hparams(dict(options), dict.fromkeys(metrics, 0.0))
        self._write(step=step, summary=experiment)
        self._write(step=step, summary=start)

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
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        data = Event(wall_time=time.time(), **event).SerializeToString()
        try:
            RecordWriter(self._file).write(data)
        except OSError as error:
            self.close()
            raise OSError(error.errno, error.strerror, str(self.path)) from error
