"""Files of runs: checkpoints, tables, and the journal of an evaluation."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path
from typing import Any

from pyrovae import RunDirectory, load
from pyrovae.runs.checkpoint import checksum, load_checkpoint, save_checkpoint
from tests.fuzzing.base import (
    Answer,
    Campaign,
    Wrong,
    changed,
    check_no_code,
    check_nothing_left,
    command,
    contents,
    copy_run,
    refusal,
)
from tests.fuzzing.mutations import VALUES, mutated, places
from tests.support.commands import TINY
from tests.support.small import VARYING

GO_ON = "--trainer.epochs=2"
#: What a run writes anew or leaves alone whatever becomes of it: pictures, and lines for people.
UNREAD = (".png", ".txt")


def succeed(name: str, *arguments: str) -> Answer:
    """Runs a command that nothing is wrong with."""
    answer = command(name, *arguments)
    if answer.code:
        raise Wrong(f"ends with {answer.code}: {answer.error}")
    return answer


def results(run: Path) -> dict[str, Any]:
    """What a run came to: weights, and its table without times."""
    directory, found = RunDirectory(run), {}
    for which in ("best", "last"):
        weights, epoch = directory.weights_of(which)
        found[which] = (checksum(weights), epoch)
    tensors, state = load_checkpoint(directory.last)
    kept = ("epoch", "batch", "step", "loss", "elbo", "rate", "best", "images", "num_images")
    found["tensors"] = checksum(tensors)
    found["state"] = {name: state.get(name) for name in kept}
    found["metrics"] = timeless(directory.metrics)
    found["evaluation"] = json.loads((run / "evaluation.json").read_text())
    return found


def timeless(path: Path) -> list[dict[str, str]]:
    """A table of metrics without what a clock decides."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in r.items() if k not in VARYING} for r in rows]


def check_results(run: Path, truth: dict[str, Any], *but: str) -> None:
    """Raises `Wrong` unless a run came to the same as the unbroken one, but for some results."""
    found = json.loads(json.dumps(results(run)))
    for name, value in truth.items():
        if name not in but and found[name] != value:
            raise Wrong(f"other {name}: {str(found[name])[:100]}, not {str(value)[:100]}")


def note_truth(run: Path, path: Path) -> None:
    """Writes what a run came to."""
    path.write_text(json.dumps(results(run)))


class Checkpoints(Campaign):
    name, count, quick = "checkpoints", 200, 2

    def prepare(self, shared: Path) -> None:
        copy_run(shared, shared / "first")
        succeed("train", *TINY, f"--run_dir={shared / 'second'}", "--trainer.seed=5")
        shutil.copytree(shared / "first", shared / "whole")
        succeed("train", f"--resume={shared / 'whole'}", GO_ON)
        note_truth(shared / "whole", shared / "truth.json")

    def attempt(self, shared: Path, folder: Path, rng: random.Random) -> None:
        run = folder / "run"
        shutil.copytree(shared / "first", run)
        path, kind = damage_run(run, shared / "second", rng)
        whole_of_another = (path, kind) == ("checkpoints/last.safetensors", "another run's")
        source = shared / ("second" if whole_of_another else "first")
        check_loading(run, source, f"{kind} of {path}")
        before = contents(run)
        answer = command("train", f"--resume={run}", GO_ON)
        check_no_code()
        if answer.refused:
            if lost := changed(before, contents(run)):
                raise Wrong(f"{kind} of {path}: refused, but changes {lost}: {answer.error}")
        else:
            # A table for people has no checksum: its rows are kept as they are.
            but = ["metrics"] if path == "metrics.csv" else []
            check_results(run, json.loads((shared / "truth.json").read_text()), *but)
        check_nothing_left(folder)


def check_loading(run: Path, source: Path, kind: str) -> None:
    """Raises `Wrong` unless weights are refused in a line, or are those of the last checkpoint's.

    The last checkpoint decides whose they are: a whole one of another run is that run's.
    """
    for which in ("best", "last"):
        truth = checksum(RunDirectory(source).weights(which))
        found: dict[str, str] = {}

        def weights(which: str = which, found: dict[str, str] = found) -> None:
            found["state"] = checksum(dict(load(run, which).state_dict()))

        if not refusal(weights) and found["state"] != truth:
            raise Wrong(f"{kind}: as {which}, loads other weights")


def damage_run(run: Path, other: Path, rng: random.Random) -> tuple[str, str]:
    """Changes a file of a run; returns which, and how."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    tensors = [path for path in files if path.suffix == ".safetensors"]
    path = rng.choice([*files, *tensors, *tensors, *tensors, run / "metrics.csv"])
    name, kind = str(path.relative_to(run)), rng.random()
    if kind < 0.08:
        path.unlink()
        return name, "loss"
    if kind < 0.2 and (other / name).exists():
        shutil.copy(other / name, path)
        return name, "another run's"
    if kind < 0.25:
        path.write_bytes(rng.choice(files).read_bytes()) if rng.random() < 0.5 else become_folder(
            path
        )
        return name, "another file's, or a folder"
    if path.suffix == ".safetensors" and kind < 0.6:
        forge(path, rng)
        return name, "forgery"
    if path.suffix == ".json" and kind < 0.6:
        change_json(path, rng)
        return name, "a value"
    path.write_bytes(mutated(path.read_bytes(), rng))
    return name, "bytes"


def become_folder(path: Path) -> None:
    """A folder takes the place of a file."""
    path.unlink()
    path.mkdir()


def forge(path: Path, rng: random.Random) -> None:
    """Writes a checkpoint with a right checksum, and a value of another type or none."""
    tensors, state = load_checkpoint(path)
    wrong_type = [v for v in VALUES if isinstance(v, (dict, str, type(None))) and v != "\ud800"]
    if rng.random() < 0.4:
        del tensors[rng.choice(sorted(tensors))]
    elif rng.random() < 0.4 and state:
        del state[rng.choice(sorted(state))]
    else:
        state[rng.choice([*sorted(state), "nonsense"])] = rng.choice(wrong_type)
    save_checkpoint(path, tensors, state)


def change_json(path: Path, rng: random.Random) -> None:
    """A value in a JSON file is another, or gone."""
    content = json.loads(path.read_text())
    holder, key = rng.choice(places(content))
    if rng.random() < 0.3:
        del holder[key]
    else:
        holder[key] = rng.choice(VALUES)
    path.write_text(json.dumps(content if rng.random() < 0.9 else rng.choice(VALUES)))


SCORED = ("--num_samples=20", "--sections", "elbo", "evidence", "latents", "--device=cpu")


class Journals(Campaign):
    name, count, quick = "journals", 150, 3

    def prepare(self, shared: Path) -> None:
        copy_run(shared, shared / "run")
        succeed("evaluate", str(shared / "run"), *SCORED)

    def attempt(self, shared: Path, folder: Path, rng: random.Random) -> None:
        run = folder / "run"
        shutil.copytree(shared / "run", run)
        truth = tables(run)
        pieces = sorted((run / "evaluation").iterdir())
        pieces += [run / "evaluation.json", run / "evaluation_images.csv"]
        for _ in range(rng.choice((1, 1, 2))):
            path = rng.choice(pieces)
            if path.is_file():
                damage_piece(path, rng.choice(pieces), rng)
        answer = command("evaluate", str(run), *SCORED)
        if answer.refused:
            return
        found = tables(run)
        if wrong := [name for name in truth | found if truth.get(name) != found.get(name)]:
            raise Wrong(f"other {wrong} after {path.name} was damaged")
        check_nothing_left(folder)


def tables(run: Path) -> dict[str, Any]:
    """What an evaluation wrote, whatever the order and the spaces."""
    paths = [
        *(run / "evaluation").iterdir(),
        run / "evaluation.json",
        run / "evaluation_images.csv",
    ]
    return {
        path.name: json.loads(path.read_text()) if path.suffix == ".json" else path.read_text()
        for path in paths
    }


def damage_piece(path: Path, other: Path, rng: random.Random) -> None:
    """Changes a file that an evaluation wrote."""
    kind = rng.random()
    if kind < 0.1:
        path.unlink()
    elif kind < 0.15:
        become_folder(path)
    elif kind < 0.25 and other.is_file():
        path.write_bytes(other.read_bytes())
    elif kind < 0.5 and path.suffix == ".json":
        change_json(path, rng)
    else:
        path.write_bytes(mutated(path.read_bytes(), rng))
