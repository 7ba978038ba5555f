"""A part of the report: what it says in words, its tables, its figures."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from pyrovae.utils.text import legible

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["Drawing", "Section"]

DOTS = 120  # an inch
FONT = 14  # dots high, of captions in files


@dataclass(frozen=True)
class Drawing:
    """A figure, and what one must know to read it.

    Attributes:
        figure: the figure.
        caption: what it shows, of how many images of which split, in which units.
    """

    figure: Figure
    caption: str

    @cached_property
    def png(self) -> bytes:
        """The figure as the content of a PNG file."""
        buffer = io.BytesIO()
        with legible(self.figure):
            self.figure.savefig(buffer, dpi=DOTS, format="png", metadata={"Software": None})
        return buffer.getvalue()

    @property
    def captioned(self) -> bytes:
        """The same with its caption below, for a file that is looked at alone."""
        import matplotlib
        from PIL import Image, ImageDraw, ImageFont

        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        font = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), FONT)
        picture = Image.open(io.BytesIO(self.png)).convert("RGB")
        lines = wrap(self.caption, int(picture.width / (0.6 * FONT)))
        height = int(1.4 * FONT)
        size = (picture.width, picture.height + height * len(lines) + FONT)
        whole = Image.new("RGB", size, "white")
        whole.paste(picture, (0, 0))
        for number, line in enumerate(lines):
            at = (FONT, picture.height + number * height)
            ImageDraw.Draw(whole).text(at, line, "#555555", font)
        buffer = io.BytesIO()
        whole.save(buffer, format="png")
        return buffer.getvalue()


@dataclass(frozen=True)
class Section:
    """What one question came to.

    Attributes:
        title: the question.
        says: the answer in sentences, the most important first.
        advice: what to try, where something is wrong.
        tables: data frames by name; each becomes a CSV file, short ones are shown.
        figures: by name; each becomes a PNG file.
        texts: other files by name.
    """

    title: str
    says: list[str]
    advice: list[str] = field(default_factory=list)
    tables: dict[str, pandas.DataFrame] = field(default_factory=dict)
    figures: dict[str, Drawing] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
