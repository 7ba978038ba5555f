"""CelebA's lists: rows, columns, names, numbers and encodings that are others."""

from __future__ import annotations

import csv
import io
import random
import shutil
from pathlib import Path

from PIL import Image

from pyrovae import CelebA
from pyrovae.data import SPLITS
from tests.fuzzing.base import Campaign, Wrong, check_nothing_left, refusal
from tests.fuzzing.mutations import mutated

NAMES = [f"{i:06}.jpg" for i in range(1, 10)]
COLUMNS = ["Smiling", "Male", "Young"]
Table = list[list[str]]
#: By name, whose split and attributes it has.
Truth = dict[str, tuple[int, tuple[int, ...]]]


class Lists(Campaign):
    name, count, quick = "lists", 400, 10

    def prepare(self, shared: Path) -> None:
        images = shared / "img_align_celeba"
        images.mkdir()
        for i, name in enumerate(NAMES):
            Image.new("L", (20, 24), 25 * i).convert("RGB").save(images / name)
        Image.new("RGB", (20, 24)).save(shared / "outside.jpg")

    def attempt(self, shared: Path, folder: Path, rng: random.Random) -> None:
        root, kaggle = folder / "celeba", rng.random() < 0.5
        shutil.copytree(shared, root)
        tables = {"list_eval_partition": partitions(rng), "list_attr_celeba": attributes(rng)}
        encoded = {stem: table_text(stem, table, kaggle) for stem, table in tables.items()}
        truth = strict_truth(*encoded.values(), kaggle)
        if truth is None:
            raise Wrong("the strict reader does not read what is right")
        stem, kind = rng.choice(list(encoded)), rng.choice(KINDS)
        encoded[stem] = change(kind, stem, tables[stem], encoded[stem], kaggle, rng)
        for name, content in encoded.items():
            (root / f"{name}{'.csv' if kaggle else '.txt'}").write_bytes(content)
        if kind not in HARMLESS:
            truth = strict_truth(*encoded.values(), kaggle)
        judge(root, kind, truth)
        check_nothing_left(folder)


def judge(root: Path, kind: str, truth: Truth | None) -> None:
    """Raises `Wrong` unless the images are as listed, or a line says what is wrong."""
    found: Truth = {}
    data = CelebA(str(root), 8, 16)

    def collect() -> None:
        for number, name in enumerate(SPLITS):
            split = data.split(name)
            for each, image, row in zip(split.names, split.images, split.attributes, strict=True):
                found[each] = (number, tuple(row.astype(int).tolist()))
                if each in NAMES and abs(int(image[0, 0, 0]) - 25 * NAMES.index(each)) > 1:
                    raise Wrong(f"{each} is another image")

    line = refusal(collect)
    if line and kind in HARMLESS:
        raise Wrong(f"{kind}: refused: {line}")
    if line and str(root) not in line:
        raise Wrong(f"{kind}: names no file: {line}")
    if not line and truth is None:
        raise Wrong(f"{kind}: a damaged list passes")
    if not line and found != truth:
        raise Wrong(f"{kind}: {found} are read, {truth} are listed")


def partitions(rng: random.Random) -> Table:
    order = [0, 0, 0, 0, 1, 1, 2, 2, 0]
    rng.shuffle(order)
    rows = [[name, str(part)] for name, part in zip(NAMES, order, strict=True)]
    return [["image_id", "partition"], *rows]


def attributes(rng: random.Random) -> Table:
    rows = [[name, *(rng.choice(("1", "-1")) for _ in COLUMNS)] for name in NAMES]
    return [["image_id", *COLUMNS], *rows]


def table_text(stem: str, table: Table, kaggle: bool) -> bytes:
    """A list in one of the two layouts."""
    if kaggle:
        return "".join(",".join(row) + "\n" for row in table).encode()
    lines = ["  ".join(row) for row in table[1:]]
    head = [str(len(lines)), " ".join(table[0][1:])] if stem == "list_attr_celeba" else []
    return "".join(f"{line}\n" for line in [*head, *lines]).encode()


HARMLESS = ("none", "crlf", "bom", "blank end", "trailing spaces")
CELLS = [
    "", "3", "-1", "7", "1.5", "1.0", "x", "nan", "inf", "1e0", "²", "\0", "0x1",
    "999999999999999999999",
    "../outside.jpg", "..\\outside.jpg", "/etc/passwd", ".", "..", "000099.jpg", NAMES[0], "é.jpg",
    "a\"b", "a,b", "#", "True", "-", "--1", "+1", "01", "1 ", "\x1b[31m.jpg", "x" * 10_000,
]  # fmt: skip
KINDS = [
    *HARMLESS, "cell", "cell", "cell", "cell", "cell", "row lost", "row twice", "column lost",
    "column added", "column renamed", "columns swapped", "cell lost", "cell added", "header lost",
    "latin", "utf16", "bytes", "bytes", "bytes", "cr",
]  # fmt: skip


def change(
    kind: str, stem: str, table: Table, data: bytes, kaggle: bool, rng: random.Random
) -> bytes:
    """The content of a list with a change of that kind."""
    if kind in ENCODED:
        return ENCODED[kind](data)
    if kind == "bytes":
        return mutated(data, rng)
    found = [list(row) for row in table]
    row = rng.randrange(1, len(found))
    column = rng.randrange(len(found[0]))
    edit(kind, found, row, column, rng)
    return table_text(stem, found, kaggle)


ENCODED = {
    "none": lambda data: data,
    "crlf": lambda data: data.replace(b"\n", b"\r\n"),
    "cr": lambda data: data.replace(b"\n", b"\r"),
    "bom": lambda data: b"\xef\xbb\xbf" + data,
    "blank end": lambda data: data + b"\n\n",
    "trailing spaces": lambda data: data.replace(b"\n", b"  \n"),
    "latin": lambda data: data.replace(b".jpg", b"\xe9.jpg", 1),
    "utf16": lambda data: data.decode().encode("utf-16"),
}


def edit(kind: str, table: Table, row: int, column: int, rng: random.Random) -> None:
    """Changes a table in place."""
    if kind == "cell":
        table[row][column] = rng.choice(CELLS)
    elif kind == "row lost":
        del table[row]
    elif kind == "row twice":
        table.insert(rng.randrange(1, len(table) + 1), list(table[row]))
    elif kind == "column lost":
        for line in table:
            del line[column]
    elif kind == "column added":
        for line in table:
            line.append("1")
        table[0][-1] = rng.choice(("Extra", "Smiling", "partition", ""))
    elif kind == "column renamed":
        table[0][column] = rng.choice(("", "Other", "Smiling", "image_id"))
    elif kind == "columns swapped":
        for line in table:
            line[0], line[1] = line[1], line[0]
    elif kind == "cell lost":
        del table[row][column]
    elif kind == "cell added":
        table[row].append("1")
    else:
        del table[0]


def strict_truth(partition: bytes, attribute: bytes, kaggle: bool) -> Truth | None:
    """What two lists say, by a reader that takes nothing amiss; None if it does."""
    try:
        parts = strict_table(partition, kaggle, ["image_id", "partition"])
        header = None if kaggle else attribute.decode("utf-8-sig").splitlines()[1].split()
        rest = attribute if kaggle else b"\n".join(attribute.splitlines()[2:])
        kept = strict_table(rest, kaggle, header and ["image_id", *header])
        if "partition" not in next(iter(parts.values())):
            return None
        return {
            name: (number(row["partition"], (0, 1, 2)), signs(kept[name]))
            for name, row in parts.items()
            if check_name(name)
        }
    except (ValueError, KeyError, IndexError, StopIteration, csv.Error):
        return None


def strict_table(
    data: bytes, kaggle: bool, columns: list[str] | None
) -> dict[str, dict[str, str]]:
    """Rows by the name of their image."""
    text = data.decode("utf-8-sig")
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) if kaggle else []
    lines = lines or [line.split() for line in text.splitlines()]
    rows = [[cell.strip() for cell in line] for line in lines if any(map(str.strip, line))]
    head = rows.pop(0) if kaggle else columns or []
    if "image_id" not in head or len(set(head)) < len(head) or "\0" in text:
        raise ValueError(head)
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        line = dict(zip(head, row, strict=True))
        name = line.pop("image_id")
        if name in found:
            raise ValueError(name)
        found[name] = line
    return found


def check_name(name: str) -> bool:
    """Whether an image is in the folder; raises `KeyError` if not."""
    if name not in NAMES:
        raise KeyError(name)
    return True


def number(text: str, allowed: tuple[int, ...]) -> int:
    """A cell's number."""
    value = float(text)
    if value not in allowed:
        raise ValueError(text)
    return int(value)


def signs(row: dict[str, str]) -> tuple[int, ...]:
    """Attributes: 1 where the list says 1, and 0 where it says -1."""
    return tuple(int(number(text, (-1, 0, 1)) > 0) for text in row.values())
