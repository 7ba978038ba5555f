"""A section of the report: sentences, tables and figures."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import wrap

from pyrovae.inspection.html import render
from pyrovae.utils.errors import InputError
from pyrovae.utils.lazy import Figure, pandas
from pyrovae.utils.palette import PAPER, SOFT
from pyrovae.utils.text import legible

__all__ = ["Drawing", "Inapplicable", "Section"]

DOTS = 120  # per inch
FONT = 14  # height of captions in files, in dots
SHOWN = 10  # rows of a table in a notebook
FAST = 1  # zlib's level: figures are flat, so higher ones are slow and hardly smaller


class Inapplicable(InputError):
    """A section's question does not arise for these programs or images."""


@dataclass(frozen=True)
class Drawing:
    """A figure with its caption.

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

    def _repr_png_(self) -> bytes:
        """What a notebook shows."""
        return self.captioned

    @property
    def captioned(self) -> bytes:
        """The figure with its caption below, as the content of a PNG file."""
        import matplotlib
        from PIL import Image, ImageDraw, ImageFont

        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        font = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), FONT)
        picture = Image.open(io.BytesIO(self.png)).convert("RGB")
        lines = wrap(self.caption, int(picture.width / (0.6 * FONT)))
        height = int(1.4 * FONT)
        top = picture.height + FONT // 2
        size = (picture.width, top + height * len(lines) + FONT // 2)
        whole = Image.new("RGB", size, PAPER)
        whole.paste(picture, (0, 0))
        for number, line in enumerate(lines):
            ImageDraw.Draw(whole).text((FONT, top + number * height), line, SOFT, font)
        buffer = io.BytesIO()
        whole.save(buffer, format="png", compress_level=FAST)
        return buffer.getvalue()


@dataclass(frozen=True)
class Section:
    """The answer to one question.

    Attributes:
        title: the question.
        says: the answer in sentences, the most important first.
        tables: data frames by name; each becomes a CSV file, short ones are shown.
        figures: by name; each becomes a PNG file.
        texts: other files by name.
        symptoms: fields of `Evidence` that the section has measured, for the judge.
        captions: what a table shows, by its name; by default the name itself.
    """

    title: str
    says: list[str]
    tables: dict[str, pandas.DataFrame] = field(default_factory=dict)
    figures: dict[str, Drawing] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    symptoms: dict[str, float] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """What a notebook shows: sentences, figures, and the first rows of the tables."""
        return render("notebook_section.html.j2", rows=SHOWN, **vars(self))
