from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrovae.runs.checkpoint import load_checkpoint, save_checkpoint
from pyrovae.runs.directory import RunDirectory
from pyrovae.utils.errors import InputError
from pyrovae.utils.files import replacing
from tests.support.tables import changed, make_vae, snapshot

STATE: dict[str, Any] = {"epoch": 3, "best": [[-12.5, 2]], "text": 'é " \\', "none": None}


def some_tensors() -> dict[str, Tensor]:
    return {
        "weights.a": torch.randn(3, 4),
        "weights.scalar": torch.tensor(2.5),
        "weights.double": torch.randn(2, dtype=torch.float64),
        "weights.half": torch.randn(2).bfloat16(),
        "weights.layout": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "weights.turned": torch.randn(3, 4).T,
        "weights.nan": torch.tensor([float("nan"), float("inf")]),
        "weights.count": torch.tensor(7),
        "weights.flag": torch.tensor([True, False]),
        "weights.empty": torch.zeros(0, 3),
        "random.cpu": torch.get_rng_state(),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "last.safetensors"


def test_a_checkpoint_comes_back_bit_for_bit(path: Path) -> None:
    tensors = some_tensors()
    save_checkpoint(path, tensors, STATE)
    found, state = load_checkpoint(path)
    assert not changed(found, tensors) and state == STATE
    assert os.listdir(path.parent) == [path.name]


def test_a_vae_comes_back_bit_for_bit(path: Path) -> None:
    vae, other = make_vae(networks="Conv-shortcut"), make_vae(networks="Conv-shortcut")
    save_checkpoint(path, vae.to(memory_format=torch.channels_last).state_dict(), {})
    other.load_state_dict(load_checkpoint(path)[0])
    assert not changed(snapshot(vae), snapshot(other))


def test_saving_leaves_tensors_alone(path: Path) -> None:
    tensors = {"p": torch.ones(3, requires_grad=True)}
    save_checkpoint(path, tensors, {})
    assert tensors["p"].requires_grad and not load_checkpoint(path)[0]["p"].requires_grad


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for missing in (tmp_path / "no.safetensors", tmp_path):
        with pytest.raises(InputError, match="no such checkpoint") as caught:
            load_checkpoint(missing)
        assert str(missing) in str(caught.value)


def refused(path: Path, content: bytes) -> bool:
    """Whether a file of that content is refused with one line that names it."""
    path.write_bytes(content)
    try:
        load_checkpoint(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        return True
    return False


def test_a_file_cut_off_anywhere_is_refused(path: Path) -> None:
    save_checkpoint(path, some_tensors(), STATE)
    whole = path.read_bytes()
    lengths = {0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1}
    for length in sorted(lengths | set(range(0, len(whole), 97))):
        assert refused(path, whole[:length]), length
    assert refused(path, whole + b"\0")
    assert not refused(path, whole)


@pytest.mark.slow
def test_a_file_changed_anywhere_is_refused(path: Path) -> None:
    save_checkpoint(path, {"a": torch.randn(5), "b": torch.tensor([1, 2])}, STATE)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for change in (1, 128):
            content = bytearray(whole)
            content[place] ^= change
            assert refused(path, bytes(content)), (place, change)


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_in_its_place_is_refused_and_not_opened(path: Path, tmp_path: Path) -> None:
    mark = tmp_path / "opened"
    path.parent.mkdir()
    assert refused(path, pickle.dumps(Trap(mark)))
    torch.save({"a": torch.ones(2), "trap": Trap(mark)}, path)
    assert refused(path, path.read_bytes()) and not mark.exists()


def test_tensors_of_another_program_are_refused(path: Path) -> None:
    from safetensors.torch import save

    path.parent.mkdir()
    tensors = {"a": torch.ones(2)}
    for note in ("{}", "[]", "1", "null", '"x"', "{", '{"state": "{}", "sha256": null}'):
        assert refused(path, save(tensors, metadata={"pyrovae": note})), note
    assert refused(path, save(tensors)) and refused(path, save(tensors, metadata={"a": "b"}))


@pytest.mark.parametrize(
    ("tensors", "state"),
    [
        ({"a": torch.ones(4)}, '{"epoch": 2}'),
        ({"b": torch.ones(4)}, '{"epoch": 1}'),
        ({"a": torch.ones(4).view(torch.int32)}, '{"epoch": 1}'),
        ({"a": torch.ones(2, 2)}, '{"epoch": 1}'),
        ({"a": torch.ones(4), "c": torch.ones(4)}, '{"epoch": 1}'),
    ],
)
def test_anothers_checksum_is_refused(path: Path, tensors: dict[str, Tensor], state: str) -> None:
    from safetensors import safe_open
    from safetensors.torch import save

    save_checkpoint(path, {"a": torch.ones(4)}, {"epoch": 1})
    with safe_open(path, framework="pt") as file:
        note = json.loads(file.metadata()["pyrovae"])
    assert note["state"] == '{"epoch": 1}'
    changed_note = json.dumps(note | {"state": state})
    assert refused(path, save(tensors, metadata={"pyrovae": changed_note}))
    assert not refused(path, save({"a": torch.ones(4)}, metadata={"pyrovae": json.dumps(note)}))


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(path, {"a": torch.ones(2)}, {"epoch": 1})

    def full(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"a": torch.zeros(2)}, {"epoch": 2})
    monkeypatch.undo()
    tensors, state = load_checkpoint(path)
    assert state == {"epoch": 1} and tensors["a"].tolist() == [1.0, 1.0]
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_a_disk_that_fails_late_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    save_checkpoint(path, {"a": torch.ones(2)}, {"epoch": 1})

    def fail(*args: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(call, fail)
    with pytest.raises(OSError, match="Input/output"):
        save_checkpoint(path, {"a": torch.zeros(2)}, {"epoch": 2})
    monkeypatch.undo()
    assert load_checkpoint(path)[1] == {"epoch": 1}
    assert os.listdir(path.parent) == [path.name]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from pyrovae.runs.checkpoint import save_checkpoint

def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)

def write_half(self, data):
    with open(self, "wb") as file:
        file.write(data[:len(data) // 2])
        file.flush()
        die()

for moment in ("half", "fsync", "replace"):
    if os.fork() == 0:
        if moment == "half":
            Path.write_bytes = write_half
        else:
            setattr(os, moment, die)
        save_checkpoint(Path(sys.argv[1]), {"a": torch.zeros(2)}, {"epoch": 2})
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_leaves_the_old_file(path: Path) -> None:
    save_checkpoint(path, {"a": torch.ones(2)}, {"epoch": 1})
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert result.stdout.split() == [str(-signal.SIGKILL)] * 3
    tensors, state = load_checkpoint(path)
    assert state == {"epoch": 1} and tensors["a"].tolist() == [1.0, 1.0]
    assert len(os.listdir(path.parent)) > 1  # what the killed processes left
    RunDirectory(path.parent).tidy([])
    assert os.listdir(path.parent) == [path.name]


def test_replacing_makes_folders_and_replaces_in_one_move(path: Path) -> None:
    for text in ("first", "second"):
        with replacing(path) as temporary:
            temporary.write_text(text)
            assert temporary.parent == path.parent
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text and not temporary.exists()


def test_replacing_keeps_the_old_after_any_error(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("old")
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), replacing(path) as temporary:
            temporary.write_text("new")
            raise error
        assert path.read_text() == "old" and os.listdir(path.parent) == [path.name]


def test_a_run_begins_once(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run", config="seed: 1\n")
    run.check_free()
    with pytest.raises(InputError, match="no such directory"):
        run.check_run()
    run.root.mkdir()
    run.check_free()
    with pytest.raises(InputError, match="holds no run"):
        run.check_run()
    run.begin()
    run.check_run()
    assert run.config.read_text() == "seed: 1\n" and not run.has_checkpoint()
    run.check_free()
    with pytest.raises(InputError, match="holds a run already, with other options"):
        RunDirectory(run.root, config="seed: 2\n").check_free()
    save_checkpoint(run.last, {}, {})
    assert run.has_checkpoint()
    with pytest.raises(InputError, match="holds a run already"):
        run.check_free()
    with pytest.raises(InputError, match="is not a directory"):
        RunDirectory(run.config).check_free()


def test_weights_without_a_configuration_are_not_replaced(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "a: 1")
    run.last.parent.mkdir()
    path = run.last.with_name("best_epoch_0001.safetensors")
    path.touch()
    message = "holds the weights of a run without its config.yaml; put that file back, or choose"
    with pytest.raises(InputError, match=message):
        run.check_free()
    path.unlink()
    run.check_free()


def test_tidying_keeps_the_best_and_the_last(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for epoch in range(1, 5):
        save_checkpoint(run.best(epoch), {}, {})
    save_checkpoint(run.last, {}, {})
    run.tidy([2, 4])
    names = ["best_epoch_0002.safetensors", "best_epoch_0004.safetensors", "last.safetensors"]
    assert sorted(os.listdir(run.last.parent)) == names
    assert run.picture("samples", 3) == tmp_path / "samples" / "epoch_0003.png"


@pytest.mark.parametrize(
    ("which", "best", "value"),
    [("best", [[-1.0, 2], [-2.0, 3]], 2.0), ("last", [[-1.0, 2]], 9.0), ("best", [], 9.0)],
)
def test_weights_of_a_run(tmp_path: Path, which: str, best: list[Any], value: float) -> None:
    run = RunDirectory(tmp_path)
    run.begin()
    save_checkpoint(run.best(2), {"weights.a.b": torch.tensor(2.0)}, {})
    last = {"weights.a.b": torch.tensor(9.0), "optimizer.0.step": torch.tensor(1.0)}
    save_checkpoint(run.last, last, {"best": best})
    assert run.weights(which) == {"a.b": torch.tensor(value)}
